"""launch.sh against a fake `gcloud` that records its arguments."""

import json
import os
import shutil
import subprocess

import pytest

FAKE_GCLOUD = """#!/usr/bin/env python3
import json, os, sys
with open(os.environ["GCLOUD_CALLS"], "a") as file:
  file.write(json.dumps(sys.argv[1:]) + "\\n")
if "describe" in sys.argv:
  state = os.environ.get("GCLOUD_STATE", "READY")
  print(state) if state else sys.exit(1)
"""


class Launcher:
  """A committed copy of the script in a small repository, with the fake on PATH."""

  def __init__(self, folder, script):
    self.repo = folder / "repo"
    (self.repo / "tpu_scripts").mkdir(parents=True)
    self.script = self.repo / "tpu_scripts" / "launch.sh"
    shutil.copy(script, self.script)
    self.git("init", "-q")
    self.git("add", ".")
    identity = ("-c", "user.name=t", "-c", "user.email=t@example.org")
    self.git(*identity, "commit", "-q", "-m", "all")
    fake = folder / "bin" / "gcloud"
    fake.parent.mkdir()
    fake.write_text(FAKE_GCLOUD)
    fake.chmod(0o755)
    self.calls_file = folder / "calls.jsonl"
    self.env = {
      "PATH": f"{fake.parent}:{os.environ['PATH']}",
      "HOME": str(folder),
      "GCLOUD_CALLS": str(self.calls_file),
      "TPU_NAME": "pod",
      "TPU_ZONE": "zone-a",
    }

  def git(self, *command):
    subprocess.run(("git", "-C", self.repo, *command), check=True)

  def __call__(self, *command, **env):
    return subprocess.run(
      (self.script, *command),
      env=self.env | env,
      capture_output=True,
      text=True,
      timeout=60,
    )

  def calls(self):
    if not self.calls_file.exists():
      return []
    return [json.loads(line) for line in self.calls_file.read_text().splitlines()]

  def verbs(self):
    return [call[3] for call in self.calls()]


@pytest.fixture
def launch(tmp_path, repo_root):
  return Launcher(tmp_path, repo_root / "tpu_scripts" / "launch.sh")


def test_create_passes_every_setting(launch):
  done = launch("create", TPU_TYPE="v6e-16", TPU_PROJECT="p", TPU_SPOT="1")
  assert done.returncode == 0, done.stderr
  words = "compute tpus tpu-vm create pod --accelerator-type v6e-16"
  words += " --version v2-alpha-tpuv5-lite --spot --zone zone-a --project p"
  assert launch.calls() == [words.split()]


def test_setup_sends_the_commit_to_all_workers(launch):
  done = launch("setup")
  assert done.returncode == 0, done.stderr
  scp, ssh = launch.calls()
  assert scp[3] == "scp" and scp[5] == "pod:skilljax.bundle"
  assert scp[6:8] == ["--worker", "all"] and ssh[5:7] == ["--worker", "all"]
  assert ".[tpu]" in ssh[8]


def test_setup_refuses_uncommitted_changes(launch):
  launch.script.write_text(launch.script.read_text() + "\n")
  done = launch("setup")
  assert done.returncode == 2 and "commit your changes" in done.stderr
  assert launch.calls() == []


def test_run_starts_the_command_detached_and_only_once(launch, tmp_path):
  """The text that each worker gets is executed here, in a fake home."""
  command = ("sh", "-c", 'echo "$A it\'s $0"; sleep 30', "two words")
  done = launch("run", *command, TPU_ENV="A=1")
  assert done.returncode == 0, done.stderr
  (call,) = launch.calls()
  assert call[3:7] == ["ssh", "pod", "--worker", "all"]
  (tmp_path / "skilljax").mkdir()

  def on_worker(text):
    return subprocess.run(
      ("bash", "-c", text), cwd=tmp_path, capture_output=True, text=True, timeout=20
    )

  assert on_worker(call[8]).returncode == 0
  again = on_worker(call[8])
  assert again.returncode == 1 and "already going" in again.stderr
  launch("stop")
  assert on_worker(launch.calls()[-1][8]).returncode == 0
  log = tmp_path / "skilljax" / "runs" / "log.txt"
  assert log.read_text() == "1 it's two words\n"
  assert on_worker(call[8]).returncode == 0  # after stop it may start again
  assert on_worker(launch.calls()[-1][8]).returncode == 0


@pytest.mark.parametrize(
  ("state", "verbs"),
  [
    ("READY", ["describe", "ssh"]),
    ("PREEMPTED", ["describe", "delete", "create", "scp", "ssh", "ssh"]),
    ("", ["describe", "create", "scp", "ssh", "ssh"]),
  ],
)
def test_resume_makes_machines_again_where_needed(launch, state, verbs):
  done = launch("resume", "python", "-m", "x", GCLOUD_STATE=state)
  assert done.returncode == 0, done.stderr
  assert launch.verbs() == verbs


def test_dry_run_prints_and_calls_nothing(launch):
  for action in ("create", "setup", "status", "logs", "stop", "delete"):
    done = launch("--dry-run", action)
    assert done.returncode == 0 and "gcloud compute tpus tpu-vm" in done.stdout
  done = launch("--dry-run", "resume", "python", "-m", "x y")
  printed = [line for line in done.stdout.splitlines() if line.startswith("gcloud")]
  assert [line.split()[4] for line in printed][:4] == [
    "describe",
    "delete",
    "create",
    "scp",
  ]
  assert launch.calls() == []


@pytest.mark.parametrize(
  ("command", "env", "message"),
  [
    (("creat",), {}, "unknown action 'creat'"),
    (("run",), {}, "run needs a command"),
    (("create",), {"TPU_NAME": ""}, "TPU_NAME is not set"),
    (("create",), {"TPU_ZONE": ""}, "TPU_ZONE is not set"),
  ],
)
def test_bad_calls_say_what_is_missing(launch, command, env, message):
  done = launch(*command, **env)
  assert done.returncode == 2 and message in done.stderr
  assert launch.calls() == []


def test_help_lists_actions_and_settings(launch):
  done = launch("help")
  assert done.returncode == 0
  assert "resume COMMAND" in done.stdout and "TPU_SPOT" in done.stdout
