"""launch.sh, one verb at a time, against a fake `gcloud`."""

import shlex

import pytest

from tests.tpu_scripts.bench import answer, fails

POD = {"TPU_NAME": "pod", "TPU_ZONE": "zone-a"}
NOT_FOUND = fails("ERROR: (gcloud.x) NOT_FOUND: Resource 'nodes/pod' was not found")
UNAVAILABLE = fails("ERROR: (gcloud.x) UNAVAILABLE: try later")
WORKER_1 = fails(
  "no space left\n##### Command execution on worker 1 failed with exit status 7. Go on.",
  code=7,
)
NO_SSH = fails(
  "ERROR: (gcloud.x) [/usr/bin/ssh] exited with return code [255].", code=255
)


@pytest.fixture
def launch(bench):
  bench.env.update(POD)
  return bench


def steps(bench):
  """(group, verb) of each call, and of ssh what it is for."""
  return [step(words) for words in bench.calls("gcloud")]


def step(words):
  kind = words[3]
  if words[2] == "queued-resources":
    return f"queue {kind}"
  if kind != "ssh":
    return kind
  text = words[words.index("--command") + 1]
  called = text.rsplit("skilljax/tpu_scripts/worker.sh ", 1)[-1].split()[0]
  return called


# create, wait, delete


def test_create_passes_every_setting(launch):
  done = launch(
    "launch.sh", "create", TPU_TYPE="v6e-16", TPU_PROJECT="p", TPU_SPOT="1", TPU_IMAGE="i"
  )
  assert done.returncode == 0, done.stderr
  words = "compute tpus tpu-vm create pod --accelerator-type v6e-16 --version i --spot"
  assert launch.calls() == [[*words.split(), "--zone", "zone-a", "--project", "p"]]


@pytest.mark.parametrize(
  ("kind", "image"),
  [
    ("v6e-16", "v2-alpha-tpuv6e"),
    ("v5p-8", "v2-alpha-tpuv5"),
    ("v5litepod-4", "v2-alpha-tpuv5-lite"),
    ("v4-8", "tpu-ubuntu2204-base"),
  ],
)
def test_the_image_fits_the_type(launch, kind, image):
  launch("launch.sh", "create", TPU_TYPE=kind)
  words = launch.calls()[0]
  assert words[words.index("--version") + 1] == image


def test_queued_create_waits_until_the_machine_is_ready(launch):
  launch.on(
    "queued-resources describe", "WAITING_FOR_RESOURCES", "PROVISIONING", "ACTIVE"
  )
  launch.on("tpu-vm describe", "CREATING", "READY")
  done = launch("launch.sh", "create", TPU_QUEUED="1", TPU_SPOT="1", TPU_WAIT="600")
  assert done.returncode == 0, done.stderr
  words = "compute tpus queued-resources create pod --node-id pod --accelerator-type"
  words += (
    " v5litepod-8 --runtime-version v2-alpha-tpuv5-lite --valid-until-duration 600s"
  )
  assert launch.calls("gcloud")[0] == [*words.split(), "--spot", "--zone", "zone-a"]
  queue = ["queue describe"]
  assert steps(launch)[1:] == [*queue * 3, "describe", *queue, "describe"]
  assert launch.pauses() == [60, 60, 60]


def test_waiting_is_bounded(launch):
  launch.on("queued-resources describe", "WAITING_FOR_RESOURCES")
  launch.fails(
    1,
    "still WAITING_FOR_RESOURCES after 180 s; 'wait' goes on",
    *("launch.sh", "wait"),
    **{"TPU_QUEUED": "1", "TPU_WAIT": "150"},
  )
  assert launch.pauses() == [60, 60, 60]


def test_a_refused_request_says_why(launch):
  launch.on("state.failedData", "no such type in this zone")
  launch.on("queued-resources describe.*state.state", "FAILED")
  done = launch.fails(1, "is FAILED", "launch.sh", "wait", TPU_QUEUED="1")
  assert "no such type in this zone" in done.stderr


def test_wait_without_a_machine(launch):
  launch.on("describe", NOT_FOUND)
  launch.fails(1, "'create' makes it", "launch.sh", "wait")


@pytest.mark.parametrize(
  ("queued", "words"),
  [
    ("0", "compute tpus tpu-vm delete pod --quiet --zone zone-a"),
    ("1", "compute tpus queued-resources delete pod --force --quiet --zone zone-a"),
  ],
)
def test_delete(launch, queued, words):
  assert launch("launch.sh", "delete", TPU_QUEUED=queued).returncode == 0
  assert launch.calls() == [words.split()]


def test_delete_of_nothing_is_no_failure(launch):
  launch.on("delete", NOT_FOUND)
  done = launch("launch.sh", "delete")
  assert done.returncode == 0 and "nothing to delete" in done.stderr


# setup


def test_setup_sends_the_commit_to_all_workers(launch):
  done = launch("launch.sh", "setup")
  assert done.returncode == 0, done.stderr
  scp, ssh = launch.calls()
  assert scp[3] == "scp" and scp[5] == "pod:skilljax.bundle"
  assert scp[6:8] == ["--worker", "all"] and ssh[5:7] == ["--worker", "all"]
  assert shlex.split(ssh[8])[-6:] == ["install", "python3.11", "tpu", "", "/mnt/runs", ""]


def test_setup_brings_what_a_published_config_needs(launch):
  hook = launch.folder / "my hook"
  hook.write_text("true")
  env = {"TPU_EXTRAS": "alfworld,webshop", "TPU_BUCKET": "my-runs", "TPU_MOUNT": "/m"}
  env |= {"TPU_HOOK": str(hook), "TPU_ENV": "A=1 B=*"}
  assert launch("launch.sh", "setup", **env).returncode == 0
  assert steps(launch) == ["scp", "scp", "install"]
  assert launch.calls()[1][4:6] == [str(hook), "pod:skilljax.hook"]
  words = shlex.split(launch.calls()[2][8])
  after = words[words.index("install") + 1 :]
  place = ["python3.11", "tpu,alfworld,webshop", "my-runs", "/m", "../skilljax.hook"]
  assert after == [*place, "A=1", "B=*"]


def test_setup_refuses_uncommitted_changes(launch):
  script = launch.scripts / "launch.sh"
  script.write_text(script.read_text() + "\n")
  launch.fails(2, "commit your changes first", "launch.sh", "setup")
  assert launch.calls() == []


def test_setup_needs_a_checkout(launch):
  (launch.repo / ".git").rename(launch.folder / "gone")
  launch.fails(2, "is no git checkout", "launch.sh", "setup")


def test_setup_that_fails_on_one_worker_names_it(launch):
  launch.on("worker.sh install", WORKER_1)
  launch.fails(1, "setup failed on worker 1;", "launch.sh", "setup")
  assert steps(launch) == ["scp", "install"]  # not a passing failure: not repeated


# run, status, logs, stop


def test_run_quotes_the_command_for_the_workers(launch, tmp_path):
  """The text that a worker gets is executed here, with an echo for worker.sh."""
  hostile = ["sh", "-c", "$HOME; `id` | x > y & z", "it's", "", "a\nb\\", '"', "*", "é"]
  assert launch("launch.sh", "run", *hostile, TPU_ENV="A=1 B=*").returncode == 0
  worker = tmp_path / "skilljax" / "tpu_scripts" / "worker.sh"
  worker.parent.mkdir(parents=True)
  worker.write_text('#!/bin/sh\nprintf "%s\\0" "$@"\n')
  worker.chmod(0o755)
  launch.on("ssh", answer(workers=1))
  (tmp_path / "worker-0").symlink_to(tmp_path)
  done = launch("launch.sh", "run", *hostile, TPU_ENV="A=1 B=*")
  verb, _, *words = done.stdout.split("\0")[:-1]
  assert (verb, words) == ("start", ["env", "A=1", "B=*", *hostile])


def test_run_that_starts_on_some_workers_only_is_stopped_on_all(launch):
  launch.on("worker.sh start", WORKER_1)
  launch.fails(1, "run failed on worker 1", "launch.sh", "run", "x")
  start, stop = (words[8].split() for words in launch.calls())
  assert start[-3:-1] == ["start", stop[-1]] and stop[-2] == "stop"


def test_run_on_bare_workers_asks_for_setup(launch):
  launch.on("worker.sh start", fails("w-0 is not set up", code=8))
  launch.fails(2, "'setup' brings it", "launch.sh", "run", "x")


@pytest.mark.parametrize(
  ("states", "summary"),
  [
    ("w-0: running\nw-1: running", "running"),
    ("w-0: finished\nw-1: finished", "finished"),
    ("w-0: running\nw-1: finished", "running"),
    ("w-0: running\nw-1: failed 3", "failed 3"),
    ("w-1: lost\nw-0: running", "lost"),
    ("w-1: lost\nw-0: failed 1", "lost"),
    ("w-0: left\nw-1: failed 1", "failed 1"),
    ("w-0: left\nw-1: lost", "lost"),
    ("w-0: left\nw-1: running", "left"),
    ("w-0: left\nw-1: bare", "bare"),
    ("w-0: idle\nw-1: idle", "idle"),
    ("w-0: bare", "bare"),
  ],
)
def test_status_shows_the_machine_every_worker_and_the_run(launch, states, summary):
  launch.on("describe", "READY")
  launch.on("worker.sh state", states)
  done = launch("launch.sh", "status")
  assert done.returncode == 0, done.stderr
  lines = sorted(states.splitlines())
  assert done.stdout.splitlines() == ["machine: READY", *lines, f"run: {summary}"]


@pytest.mark.parametrize(
  ("reply", "state"), [("PREEMPTED", "PREEMPTED"), (NOT_FOUND, "ABSENT")]
)
def test_status_of_a_machine_that_has_gone(launch, reply, state):
  launch.on("describe", reply)
  assert launch("launch.sh", "status").stdout == f"machine: {state}\n"
  assert steps(launch) == ["describe"]


def test_logs_of_one_worker_and_of_all(launch):
  launch("launch.sh", "logs")
  launch("launch.sh", "logs", "3")
  launch("launch.sh", "logs", "all")
  assert [words[6] for words in launch.calls()] == ["0", "3", "all"]
  assert steps(launch) == ["follow", "follow", "tail"]
  launch.fails(2, "logs of a worker's number", "launch.sh", "logs", "3;id")


# failures


@pytest.mark.parametrize(
  ("verb", "error", "code", "message"),
  [
    ("create", "You do not currently have an active account selected.", 2, "auth login"),
    ("create", "Failed to find attribute [project].", 2, "set TPU_PROJECT"),
    (
      "create",
      "Cloud TPU API has not been used in project p before",
      2,
      "services enable",
    ),
    ("create", "PERMISSION_DENIED: Permission 'tpu.nodes.create' denied", 2, "tpu.admin"),
    ("create", 'There is no more capacity in the zone "z"', 1, "TPU_QUEUED=1 waits"),
    ("create", "Quota limit 'TPUV6E' has been exceeded. Limit: 0", 1, "no quota for"),
    ("create", "ALREADY_EXISTS: Resource nodes/pod already exists", 2, "'pod' exists"),
    ("setup", "NOT_FOUND: Resource 'nodes/pod' was not found", 2, "'create' makes it"),
    ("stop", "SSH Key is not present in the SSH agent.", 2, "ssh-add"),
    ("stop", 'This TPU has terminal state "PREEMPTED"', 1, "'resume' makes it again"),
    ("status", "something new", 1, "describe failed: ERROR: (gcloud.x) something new"),
  ],
)
def test_every_failure_says_what_to_do(launch, verb, error, code, message):
  launch.on(".", fails(f"ERROR: (gcloud.x) {error}\nmore"))
  launch.fails(code, message, "launch.sh", verb)
  assert len(launch.calls("gcloud")) == 1


def test_without_gcloud(launch):
  launch.remove("gcloud")
  launch.fails(2, "'gcloud' is not installed", "launch.sh", "status")
  assert len(launch.dry("launch.sh", "delete")) == 1


@pytest.mark.parametrize("trouble", [UNAVAILABLE, NO_SSH], ids=["service", "ssh"])
def test_passing_trouble_is_tried_again_with_growing_pauses(launch, trouble):
  launch.on("ssh", trouble, trouble, answer())
  assert launch("launch.sh", "stop").returncode == 0
  assert steps(launch) == ["stop"] * 3 and launch.pauses() == [5, 10]
  launch.on("scp", trouble, answer())
  assert launch("launch.sh", "setup").returncode == 0
  assert steps(launch)[3:] == ["scp", "scp", "install"]


def test_tries_are_bounded(launch):
  launch.on("ssh", NO_SSH)
  launch.fails(1, "no ssh to a worker", "launch.sh", "stop")
  assert len(steps(launch)) == 4 and launch.pauses() == [5, 10, 20]


@pytest.mark.parametrize("verb", ["create", "delete"])
def test_what_must_not_happen_twice_is_asked_for_once(launch, verb):
  launch.on(".", UNAVAILABLE)
  assert launch("launch.sh", verb).returncode == 1
  assert steps(launch) == [verb] and launch.pauses() == []


@pytest.mark.parametrize(
  ("command", "env", "message"),
  [
    (("creat",), {}, "unknown action 'creat'"),
    (("run",), {}, "run needs a command"),
    (("resume",), {}, "resume needs a command"),
    (("keep",), {}, "keep needs a command"),
    (("create",), {"TPU_NAME": ""}, "TPU_NAME is not set"),
    (("create",), {"TPU_ZONE": ""}, "TPU_ZONE is not set"),
    (("create",), {"TPU_NAME": "My pod"}, "TPU_NAME is 'My pod'; needed: a small letter"),
    (("create",), {"TPU_TYPE": "v5e"}, "TPU_TYPE is 'v5e'; needed: an accelerator"),
    (("create",), {"TPU_TYPE": "v9-8"}, "TPU_IMAGE is not set: the runtime version"),
    (("create",), {"TPU_SPOT": "yes"}, "TPU_SPOT is 'yes'; one of: 0 1"),
    (("create",), {"TPU_WAIT": "1h"}, "TPU_WAIT is '1h'; a whole number from 1"),
    (("keep", "x"), {"TPU_POLL": "0"}, "TPU_POLL is '0'; a whole number from 1"),
    (("run", "x"), {"TPU_ENV": "A"}, "TPU_ENV is 'A'; needed: NAME=VALUE"),
    (("setup",), {"TPU_PYTHON": "x; rm y"}, "TPU_PYTHON is 'x; rm y'"),
    (("setup",), {"TPU_EXTRAS": "a b"}, "TPU_EXTRAS is 'a b'; needed: extras of setup"),
    (("setup",), {"TPU_BUCKET": "gs://b"}, "TPU_BUCKET is 'gs://b'; needed: the name of"),
    (("setup",), {"TPU_MOUNT": "runs"}, "TPU_MOUNT is 'runs'; needed: a path"),
    (("setup",), {"TPU_HOOK": "/no/hook"}, "TPU_HOOK is '/no/hook'; no such file"),
  ],
)
def test_bad_calls_say_what_is_wrong_before_anything_starts(
  launch, command, env, message
):
  launch.fails(2, message, "launch.sh", *command, **env)
  assert launch.calls() == []


# dry runs


@pytest.mark.parametrize(
  ("command", "verbs"),
  [
    (("create",), ["create"]),
    (("wait",), ["describe"]),
    (("setup",), ["git", "scp", "install"]),
    (("run", "x"), ["start"]),
    (("resume", "x"), ["describe", "git", "delete", "create", "scp", "install", "start"]),
    (("keep", "x"), ["git", "describe", "delete", "create", "scp", "install", "start"]),
    (("status",), ["describe", "state"]),
    (("logs",), ["follow"]),
    (("logs", "all"), ["tail"]),
    (("stop",), ["stop"]),
    (("delete",), ["delete"]),
  ],
)
def test_a_dry_run_prints_every_command_and_calls_nothing(launch, command, verbs):
  printed = launch.dry("launch.sh", *command)
  words = [row["words"] for row in printed]
  assert [x[0] if x[0] == "git" else step(x[1:]) for x in words] == verbs


def test_a_dry_run_prints_just_what_a_run_does(launch):
  printed = launch.dry("launch.sh", "create", TPU_QUEUED="1")
  launch.on("queued-resources describe", "ACTIVE")
  launch.on("tpu-vm describe", "READY")
  launch("launch.sh", "create", TPU_QUEUED="1")
  assert printed == launch.records()
