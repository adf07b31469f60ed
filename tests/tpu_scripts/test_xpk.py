"""xpk.sh against a fake `xpk`."""

import shlex
import subprocess

import pytest

from tests.tpu_scripts.bench import answer, fails

SETTINGS = {"XPK_NAME": "first", "XPK_CLUSTER": "pool", "XPK_IMAGE": "r.example/s:1"}

HOST = "/skilljax/tpu_scripts/host.sh"


@pytest.fixture
def xpk(bench):
  bench.env.update(SETTINGS)
  return bench


def verbs(bench):
  return [words[1] for words in bench.calls("xpk")]


def test_create_passes_every_setting(xpk):
  env = {"XPK_TYPE": "v6e-16", "XPK_PROJECT": "p", "XPK_ZONE": "z", "XPK_STORAGE": "s"}
  done = xpk("xpk.sh", "create", "x", **env, XPK_MAX_RESTARTS="9", XPK_ENV="A=1 B=*")
  assert done.returncode == 0, done.stderr
  words = "workload create --workload first --command COMMAND --tpu-type v6e-16"
  words += " --docker-image r.example/s:1 --max-restarts 9 --storage s"
  words += " --env A=1 --env B=* --cluster pool --project p --zone z"
  command = f"{HOST} x"
  assert xpk.calls() == [
    [command if word == "COMMAND" else word for word in words.split()]
  ]


def test_the_image_has_extras(xpk):
  assert xpk("xpk.sh", "setup", XPK_EXTRAS="webshop").returncode == 0
  build = xpk.calls("docker")[0]
  assert build[build.index("--build-arg") + 1] == "EXTRAS=tpu,webshop"


def test_the_command_is_a_line_of_shell(xpk):
  """As xpk's manifest runs it, after Kubernetes has read $$ and $(A) in it."""
  hostile = ["printf", "%s|", "$HOME $(A) a$$b", "it's", "", "; x & y | z", '"', "*", "é"]
  xpk("xpk.sh", "create", *hostile)
  words = xpk.calls()[0]
  line = words[words.index("--command") + 1]
  assert "$$" not in line and "$(" not in line and "\n" not in line
  assert line.startswith(f"{HOST} ")
  line = line.replace(HOST, shlex.quote(str(xpk.scripts / "host.sh")), 1)
  shell = f"({line}) & PID=$!; wait $PID"
  done = subprocess.run(("bash", "-c", shell), capture_output=True, text=True)
  assert done.stdout == "".join(f"{word}|" for word in hostile[2:])
  assert shlex.split(line)[1] == "printf"


@pytest.mark.parametrize("word", ["a\nb", "a\tb", "a\x01b"])
def test_what_the_manifest_cannot_hold_is_refused(xpk, word):
  xpk.fails(2, "xpk cannot hold", "xpk.sh", "create", "x", word)
  assert xpk.calls() == []


@pytest.mark.parametrize(
  ("code", "steps"),
  [
    (0, ["list"]),
    (124, ["list"]),
    (125, ["list", "delete", "create"]),
    (1, ["list", "list", "create"]),
  ],
)
def test_resume_goes_by_what_xpk_says(xpk, code, steps):
  xpk.on("wait-for-job-completion", answer(code=code))
  xpk.on("filter-by-job", "Jobset Name  Created\nfirst-of-all  now")
  assert xpk("xpk.sh", "resume", "x").returncode == 0
  assert verbs(xpk) == steps
  assert xpk.calls()[0][-4:] == ["--timeout", "0", "--cluster", "pool"]


def test_resume_does_not_mistake_trouble_for_absence(xpk):
  xpk.on("wait-for-job-completion", answer(code=1))
  xpk.on("filter-by-job", "first  now")
  xpk.fails(1, "resume failed", "xpk.sh", "resume", "x")
  xpk.on("filter-by-job", answer(code=1))
  xpk.fails(1, "status failed", "xpk.sh", "resume", "x")
  assert "create" not in verbs(xpk)


def test_wait_fails_where_the_workload_does(xpk):
  assert xpk("xpk.sh", "wait").returncode == 0
  xpk.on("wait-for", answer(code=125))
  xpk.fails(1, "'first' has failed", "xpk.sh", "wait")


@pytest.mark.parametrize("verb", ["create", "status", "delete", "wait"])
def test_failures_are_failures(xpk, verb):
  xpk.on("xpk", fails("no"))
  xpk.fails(1, f"{verb} failed", "xpk.sh", verb, *(["x"] if verb == "create" else []))
  assert len(xpk.calls()) == 1


def test_logs_come_from_kubectl(xpk):
  xpk("xpk.sh", "logs", "1")
  (words,) = xpk.calls("kubectl")
  assert words[0] == "logs" and words[2].endswith(
    "jobset-name=first,batch.kubernetes.io/job-completion-index=1"
  )


@pytest.mark.parametrize(
  ("env", "message"),
  [
    ({"XPK_NAME": ""}, "XPK_NAME is not set"),
    ({"XPK_NAME": "a" * 41}, "needed: a-z, 0-9 and -, at most 40"),
    ({"XPK_CLUSTER": ""}, "XPK_CLUSTER is not set"),
    ({"XPK_IMAGE": ""}, "XPK_IMAGE is not set"),
    ({"XPK_TYPE": "v5e"}, "XPK_TYPE is 'v5e'; needed: what xpk calls a type"),
    ({"XPK_MAX_RESTARTS": "x"}, "XPK_MAX_RESTARTS is 'x'; a whole number from 0"),
    ({"XPK_ENV": "x"}, "XPK_ENV is 'x'; needed: NAME=VALUE"),
  ],
)
def test_bad_settings_start_nothing(xpk, env, message):
  xpk.fails(2, message, "xpk.sh", "create", "x", **env)
  assert xpk.calls() == []


def test_without_xpk(xpk):
  xpk.remove("xpk")
  xpk.fails(2, "'xpk' is not installed", "xpk.sh", "status")


@pytest.mark.parametrize(
  ("command", "printed"),
  [
    (("setup",), ["git", "docker", "docker"]),
    (("create", "x"), ["create"]),
    (("status",), ["list"]),
    (("wait",), ["list"]),
    (("logs",), ["kubectl"]),
    (("resume", "x"), ["list", "delete", "create"]),
    (("delete",), ["delete"]),
  ],
)
def test_a_dry_run_prints_every_command_and_calls_nothing(xpk, command, printed):
  words = [row["words"] for row in xpk.dry("xpk.sh", *command)]
  assert [x[2] if x[0] == "xpk" else x[0] for x in words] == printed
