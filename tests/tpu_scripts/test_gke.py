"""gke.sh: the manifest, read back by a YAML parser, and kubectl's part."""

import pytest
import yaml

from tests.tpu_scripts.bench import fails

SETTINGS = {
  "GKE_NAME": "first",
  "GKE_IMAGE": "registry.example/skilljax:1",
  "GKE_PVC": "v",
}
SELECT = "cloud.google.com/gke-"
GET = ["--namespace", "default", "get", "jobset", "first", "--ignore-not-found"]


@pytest.fixture
def gke(bench):
  bench.env.update(SETTINGS)
  return bench


def manifest(gke, *command, **env):
  done = gke("gke.sh", "render", *(command or ("x",)), **env)
  assert done.returncode == 0, done.stderr
  assert command or not any(x in done.stdout for x in ("@", "#slice#", "#spot#"))
  return yaml.safe_load(done.stdout)


def slice_of(document):
  """The Job of a slice, and what its pods are."""
  (job,) = document["spec"]["replicatedJobs"]
  job = job["template"]["spec"]
  return job, job["template"]["spec"]


def state_is(gke, text):
  gke.on("get jobset", text)


def verbs(gke):
  return [words[2] for words in gke.calls("kubectl")]


# the manifest


@pytest.mark.parametrize(
  ("accelerator", "topology", "chips", "hosts", "of_host"),
  [
    ("tpu-v5-lite-podslice", "1x1", "", 1, 1),
    ("tpu-v5-lite-podslice", "2x2", "", 1, 4),
    ("tpu-v5-lite-podslice", "2x4", "", 2, 4),
    ("tpu-v6e-slice", "2x4", "8", 1, 8),
    ("tpu-v6e-slice", "16x16", "4", 64, 4),
    ("tpu-v5p-slice", "2x2x1", "", 1, 4),
    ("tpu-v4-podslice", "2x4x4", "", 8, 4),
    ("tpu7x", "4x8x12", "", 96, 4),
  ],
)
def test_hosts_follow_from_the_topology(
  gke, accelerator, topology, chips, hosts, of_host
):
  env = {"GKE_ACCELERATOR": accelerator, "GKE_TOPOLOGY": topology, "GKE_CHIPS": chips}
  document = manifest(gke, **env)
  job, pod = slice_of(document)
  assert (document["apiVersion"], document["kind"]) == (
    "jobset.x-k8s.io/v1alpha2",
    "JobSet",
  )
  assert job["completions"] == job["parallelism"] == hosts
  assert job["completionMode"] == "Indexed"  # GKE numbers the hosts by it
  assert pod["nodeSelector"] == {
    f"{SELECT}tpu-accelerator": accelerator,
    f"{SELECT}tpu-topology": topology,
  }
  (container,) = pod["containers"]
  tpus = {"google.com/tpu": of_host}
  assert container["resources"] == {"limits": tpus, "requests": tpus}
  alone = "alpha.jobset.sigs.k8s.io/exclusive-topology"
  assert (alone in document["metadata"].get("annotations", {})) == (hosts > 1)


def test_a_preempted_slice_starts_again_and_a_failing_command_only_so_often(gke):
  document = manifest(gke, GKE_MAX_RESTARTS="7")
  policy = document["spec"]["failurePolicy"]
  assert policy["maxRestarts"] == 7
  (rule,) = policy["rules"]
  assert rule["action"] == "RestartJobSetAndIgnoreMaxRestarts"
  assert rule["onJobFailureReasons"] == ["PodFailurePolicy"]
  job, pod = slice_of(document)
  assert job["backoffLimit"] == 0 and pod["restartPolicy"] == "Never"
  rules = job["podFailurePolicy"]["rules"]
  assert [rule.pop("action") for rule in rules] == ["FailJob"] * 2
  preempted, left = rules
  assert preempted["onPodConditions"] == [{"type": "DisruptionTarget", "status": "True"}]
  # Left because of another host; a status of the command's own counts as a restart.
  (container,) = pod["containers"]
  name = container["name"]
  assert left["onExitCodes"] == {"containerName": name, "operator": "In", "values": [42]}


@pytest.mark.parametrize(("code", "pauses"), [(0, []), (1, []), (42, [15]), (143, [])])
def test_a_pod_that_left_waits_for_the_one_that_failed(gke, code, pauses):
  """Kubernetes takes the reason from the pod that it hears of first."""
  done = gke(
    "host.sh", "bash", "-c", 'printf "%s|" "$@"; exit "$1"', "x", str(code), "a b"
  )
  assert (done.returncode, done.stdout) == (code, f"{code}|a b|")
  assert gke.pauses() == pauses


def test_pods_find_each_other_and_the_work_folder(gke):
  document = manifest(gke, GKE_PVC="claim", GKE_MOUNT="/work")
  network = {"enableDNSHostnames": True, "subdomain": "first"}
  assert (
    document["metadata"]["name"] == "first" and document["spec"]["network"] == network
  )
  _, pod = slice_of(document)
  claims = [x.get("persistentVolumeClaim") for x in pod["volumes"]]
  assert {"claimName": "claim"} in claims
  mounts = {x["name"]: x["mountPath"] for x in pod["containers"][0]["volumeMounts"]}
  assert mounts == {"work": "/work", "shared-memory": "/dev/shm"}
  assert {x["name"] for x in pod["volumes"]} == set(mounts)


def test_spot_nodes_are_asked_for_and_tolerated(gke):
  _, pod = slice_of(manifest(gke, GKE_SPOT="1"))
  assert pod["nodeSelector"][f"{SELECT}spot"] == "true"
  (toleration,) = pod["tolerations"]
  assert toleration["key"] == f"{SELECT}spot" and toleration["value"] == "true"
  _, pod = slice_of(manifest(gke))
  assert "tolerations" not in pod


def test_the_command_comes_through_whole(gke):
  hostile = ["sh", "-c", "$HOME `id` $(A) a$$b; x & y | z", "it's", "", "a\n\tb\\c"]
  hostile += ['"', "*", "é", "@NAME@ @ENV@", "#slice# x", "{a: [b]}", " - c: d ", "&&"]
  document = manifest(gke, *hostile, GKE_ENV="A=$(B) C=* D=")
  (container,) = slice_of(document)[1]["containers"]
  command = [as_kubernetes_reads(word) for word in container["command"]]
  assert command == ["/skilljax/tpu_scripts/host.sh", *hostile]
  env = {row["name"]: as_kubernetes_reads(row["value"]) for row in container["env"]}
  assert env == {"A": "$(B)", "C": "*", "D": ""}
  assert manifest(gke)["metadata"]["name"] == "first"


def as_kubernetes_reads(text):
  """$$ is a dollar; a variable in $(…) would be one that a pair of dollars guards not."""
  assert "$(" not in text.replace("$$", "")
  return text.replace("$$", "$")


@pytest.mark.parametrize("name", ["true", "null", "on", "e1"])
def test_names_stay_names(gke, name):
  assert manifest(gke, GKE_NAME=name, GKE_PVC=name)["metadata"]["name"] == name


@pytest.mark.parametrize(
  ("command", "env", "message"),
  [
    ("render", {"GKE_ACCELERATOR": "tpu-v9"}, "GKE_ACCELERATOR is 'tpu-v9'; one of: tpu"),
    ("render", {"GKE_TOPOLOGY": "3x3"}, "GKE_TOPOLOGY is '3x3'; one of: 1x1 2x2"),
    ("render", {"GKE_TOPOLOGY": "2x2x1"}, "GKE_TOPOLOGY is '2x2x1'; one of: 1x1"),
    ("render", {"GKE_TOPOLOGY": "2x2x1; id"}, "GKE_TOPOLOGY is '2x2x1; id'"),
    ("render", {"GKE_CHIPS": "3"}, "GKE_CHIPS is '3'; one of: 4 8"),
    ("create", {"GKE_TOPOLOGY": "4x4", "GKE_CHIPS": "8"}, "GKE_CHIPS is '8'; one of: 4"),
    ("create", {"GKE_NAME": ""}, "GKE_NAME is not set"),
    ("create", {"GKE_NAME": "A b"}, "GKE_NAME is 'A b'; needed: a-z"),
    ("create", {"GKE_IMAGE": ""}, "GKE_IMAGE is not set"),
    ("create", {"GKE_PVC": ""}, "GKE_PVC is not set"),
    ("create", {"GKE_MOUNT": "data"}, "GKE_MOUNT is 'data'; needed: a path"),
    ("resume", {"GKE_SPOT": "yes"}, "GKE_SPOT is 'yes'; one of: 0 1"),
    ("create", {"GKE_MAX_RESTARTS": "-1"}, "GKE_MAX_RESTARTS is '-1'; a whole number"),
    ("create", {"GKE_ENV": "A"}, "GKE_ENV is 'A'; needed: NAME=VALUE"),
    ("status", {"GKE_NAME": ""}, "GKE_NAME is not set"),
    ("setup", {"GKE_IMAGE": ""}, "GKE_IMAGE is not set"),
    ("apply", {}, "unknown action 'apply'"),
  ],
)
def test_bad_settings_start_nothing(gke, command, env, message):
  gke.fails(2, message, "gke.sh", command, "x", **env)
  assert gke.calls() == []


@pytest.mark.parametrize("topology", ["4x4x6", "1x4x4", "4x4"])
def test_deep_slices_are_checked_too(gke, topology):
  env = {"GKE_ACCELERATOR": "tpu-v5p-slice", "GKE_TOPOLOGY": topology}
  gke.fails(
    2, f"GKE_TOPOLOGY is '{topology}'; needed: 2x2x1", "gke.sh", "render", "x", **env
  )


def test_a_control_character_is_refused(gke):
  gke.fails(2, "control character", "gke.sh", "create", "a\x01b")
  gke.fails(2, "create needs a command", "gke.sh", "create")


# kubectl and docker


def test_create_hands_the_manifest_to_kubectl(gke):
  done = gke("gke.sh", "create", "x", GKE_NAMESPACE="ml", GKE_CONTEXT="here")
  assert done.returncode == 0, done.stderr
  (row,) = gke.records()
  place = ["kubectl", "--namespace", "ml", "--context", "here"]
  assert row["words"] == [*place, "create", "--filename", "-"]
  assert yaml.safe_load(row["input"])["metadata"]["name"] == "first"


def test_setup_builds_the_commit_and_pushes(gke):
  assert gke("gke.sh", "setup").returncode == 0
  build, push = gke.calls("docker")
  assert build[0] == "build" and SETTINGS["GKE_IMAGE"] in build
  assert "EXTRAS=tpu" in build
  assert push == ["push", SETTINGS["GKE_IMAGE"]]
  gke.on("docker push", fails("denied: no token"))
  gke.fails(1, "denied: no token; see gcloud auth", "gke.sh", "setup")
  gke.on("docker build", fails("no such host"))
  gke.fails(1, "docker build failed: no such host", "gke.sh", "setup")
  (gke.scripts / "README.md").write_text("changed")
  gke.fails(2, "commit your changes", "gke.sh", "setup")


def test_setup_builds_with_extras(gke):
  assert gke("gke.sh", "setup", GKE_EXTRAS="alfworld,webshop").returncode == 0
  build = gke.calls("docker")[0]
  assert build[build.index("--build-arg") + 1] == "EXTRAS=tpu,alfworld,webshop"
  gke.fails(2, "GKE_EXTRAS is 'a;b'; needed", "gke.sh", "setup", GKE_EXTRAS="a;b")


@pytest.mark.parametrize(
  ("text", "word", "pods"),
  [
    ("", "absent", False),
    ("JobSet//", "running", True),
    ("JobSet//3", "running", True),
    ("JobSet/Completed/1", "finished", True),
    ("JobSet/Failed/11", "failed", True),
  ],
)
def test_status(gke, text, word, pods):
  state_is(gke, text)
  done = gke("gke.sh", "status")
  restarts = text.rpartition("/")[2] or "0"
  assert done.stdout == f"run: {word}, restarts: {restarts}\n"
  assert gke.calls()[0][:6] == GET
  assert verbs(gke) == ["get", "get"][: 1 + pods]


@pytest.mark.parametrize(
  ("text", "done"),
  [
    ("", ["get", "create"]),
    ("JobSet//3", ["get"]),
    ("JobSet/Completed/1", ["get"]),
    ("JobSet/Failed/11", ["get", "delete", "create"]),
  ],
)
def test_resume_starts_only_what_does_not_start_by_itself(gke, text, done):
  state_is(gke, text)
  assert gke("gke.sh", "resume", "x").returncode == 0
  assert verbs(gke) == done


def test_logs_of_one_host_and_of_all(gke):
  gke("gke.sh", "logs")
  gke("gke.sh", "logs", "2")
  gke("gke.sh", "logs", "all")
  one, two, every = (" ".join(words) for words in gke.calls())
  assert "jobset-name=first,batch.kubernetes.io/job-completion-index=0 " in one
  assert "completion-index=2 " in two and one.endswith("--follow")
  assert "completion-index" not in every and "--prefix" in every
  gke.fails(2, "logs of a host's number", "gke.sh", "logs", "x")


@pytest.mark.parametrize(
  ("verb", "error", "code", "message"),
  [
    ("create", 'no matches for kind "JobSet" in version', 2, "needs a newer JobSet"),
    ("create", "Error from server (AlreadyExists): jobsets", 2, "'first' exists"),
    ("create", "Error from server (Forbidden): no", 2, "in the namespace 'default'"),
    ("create", 'Error (NotFound): namespaces "x" not found', 2, "set GKE_NAMESPACE"),
    ("delete", "You must be logged in to the server", 2, "gcloud auth login"),
    ("status", "Unable to connect to the server: no route", 2, "get-credentials"),
    ("logs", "something new", 1, "logs failed: something new"),
  ],
)
def test_every_failure_says_what_to_do(gke, verb, error, code, message):
  gke.on("kubectl", fails(error))
  gke.fails(code, message, "gke.sh", verb, *(["x"] if verb == "create" else []))
  assert len(gke.calls("kubectl")) == 1


def test_only_questions_are_asked_again(gke):
  gke.on("get jobset", fails("net/http: TLS handshake timeout"), "JobSet//")
  assert gke("gke.sh", "status").returncode == 0 and gke.pauses() == [5]
  gke.on("create", fails("net/http: TLS handshake timeout"))
  assert gke("gke.sh", "create", "x").returncode == 1
  assert verbs(gke).count("create") == 1


def test_without_the_tools(gke):
  gke.remove("kubectl")
  gke.remove("docker")
  gke.fails(2, "'kubectl' is not installed", "gke.sh", "create", "x")
  gke.fails(2, "'docker' is not installed", "gke.sh", "setup")
  assert gke("gke.sh", "render", "x").returncode == 0


@pytest.mark.parametrize(
  ("command", "printed"),
  [
    (("setup",), ["git", "docker build", "docker push"]),
    (("render", "x"), None),
    (("create", "x"), ["kubectl create"]),
    (("status",), ["kubectl get", "kubectl get"]),
    (("logs",), ["kubectl logs"]),
    (("resume", "x"), ["kubectl get", "kubectl delete", "kubectl create"]),
    (("delete",), ["kubectl delete"]),
  ],
)
def test_a_dry_run_prints_every_command_and_calls_nothing(gke, command, printed):
  if printed is None:  # prints in any case, and calls nothing
    assert gke("gke.sh", "--dry-run", *command).returncode == 0
    assert gke.calls() == []
    return
  rows = gke.dry("gke.sh", *command)
  verb = {"kubectl": 3, "docker": 1}
  words = [row["words"] for row in rows]
  assert [" ".join([x[0], *x[verb.get(x[0], 99) :][:1]]) for x in words] == printed
  if "create" in printed[-1]:
    assert yaml.safe_load(rows[-1]["input"])["kind"] == "JobSet"
