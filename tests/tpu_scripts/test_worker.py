"""worker.sh in earnest, in the homes of two workers, also by way of launch.sh."""

import contextlib
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.tpu_scripts.bench import answer
from tests.tpu_scripts.test_launch import POD

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="workers run Linux")


class Worker:
  def __init__(self, home, scripts):
    self.place = home / "skilljax"
    shutil.copytree(scripts, self.place / "tpu_scripts")
    (self.place / ".installed").write_text("commit")
    self.notes = self.place / "runs" / "worker"

  def __call__(self, *words):
    return subprocess.run(
      (self.place / "tpu_scripts" / "worker.sh", *words),
      capture_output=True,
      text=True,
      timeout=60,
    )

  def state(self, *command):
    return self("state", *command).stdout.strip().split(": ")[1]

  def log(self):
    return (self.place / "runs" / "log.txt").read_text()

  def wait_for(self, state):
    end = time.time() + 30
    while self.state() != state and time.time() < end:
      time.sleep(0.1)
    assert self.state() == state, self.log()


@pytest.fixture
def worker(tmp_path, repo_root):
  one = Worker(tmp_path / "home", repo_root / "tpu_scripts")
  yield one
  one("stop")


def test_a_run_leaves_its_exit_status_and_its_log(worker):
  assert worker.state() == "idle"
  hostile = ("sh", "-c", 'echo "$0|$1|$2"; exit 3', "it's", "a  b\nc", "$HOME;*")
  assert worker("start", "id-1", *hostile).returncode == 0
  worker.wait_for("failed 3")
  assert worker.log().endswith("it's|a  b\nc|$HOME;*\n")
  assert worker("start", "id-2", "true").returncode == 0
  worker.wait_for("finished")


def test_only_one_run_at_a_time(worker):
  worker("start", "id-1", "sleep", "60")
  worker.wait_for("running")
  again = worker("start", "id-2", "true")
  assert again.returncode == 9 and "already going" in again.stderr
  assert worker("busy").returncode == 0
  worker("stop")
  assert worker.state() == "idle" and worker("busy").returncode == 1
  assert worker("start", "id-3", "true").returncode == 0


def test_the_same_start_told_twice_starts_once(worker):
  """launch.sh repeats the call where ssh broke after the worker had heard it."""
  for _ in range(2):
    assert worker("start", "id-1", "echo", "once").returncode == 0
  worker.wait_for("finished")
  assert worker("start", "id-1", "echo", "once").returncode == 0
  assert worker.log().count("\nonce\n") == 1


def test_stop_ends_all_processes_of_the_run(worker):
  worker("start", "id-1", "sh", "-c", "sleep 61.5 & sleep 61.5")
  worker.wait_for("running")
  group = (worker.notes / "pid").read_text().split()[0]
  worker("stop", "another-id")
  assert worker.state() == "running"
  worker("stop", "id-1")
  left = []
  for stat in Path("/proc").glob("[0-9]*/stat"):
    with contextlib.suppress(OSError):  # gone meanwhile
      state, _, number = stat.read_text().rpartition(") ")[2].split()[:3]
      left += [stat] if number == group and state != "Z" else []
  assert left == []


def test_a_run_without_exit_status_is_lost(worker):
  worker("start", "id-1", "sleep", "60")
  worker.wait_for("running")
  pid, boot, name = (worker.notes / "pid").read_text().split()
  (worker.notes / "pid").write_text(f"{pid} another-boot {name}\n")
  assert worker.state() == "lost"
  (worker.notes / "pid").write_text(f"{pid} {boot} {name}\n")
  assert worker.state() == "running"


def test_state_knows_its_command(worker):
  worker("start", "id-1", "sleep", "60")
  worker.wait_for("running")
  assert worker.state("sleep", "60") == "running"
  assert worker.state("sleep", "61") == "other"
  worker("stop")
  worker("start", "id-2", "true")
  worker.wait_for("finished")
  assert worker.state("true") == "finished" and worker.state("false") == "idle"


def test_a_worker_that_is_half_set_up_is_bare(worker):
  (worker.place / ".installed").unlink()
  assert worker.state() == "bare"


VENV = """#!/bin/sh
[ "$1" = -c ] && exit
mkdir -p "$3/bin"
printf '#!/bin/sh\\nexit %s\\n' "${BROKEN-0}" >"$3/bin/pip"
cp "$0" "$3/bin/python"
chmod +x "$3/bin/pip"
"""


def test_setup_in_earnest(bench):
  """A home with the bundle that scp would have brought, and an interpreter that poses."""
  bench.env.update(POD)
  bench.on("ssh", answer(workers=1))
  home = bench.folder / "worker-0"
  home.mkdir()
  (home / "python").write_text(VENV)
  (home / "python").chmod(0o755)
  place = home / "skilljax"
  env = {"TPU_PYTHON": str(home / "python")}
  bench.fails(1, "setup failed on worker 0", "launch.sh", "setup", **env)  # no bundle
  subprocess.run(
    ("git", "-C", bench.repo, "bundle", "create", "-q", home / "skilljax.bundle", "HEAD"),
    check=True,
  )
  bench.fails(1, "setup failed on worker 0", "launch.sh", "setup", **env, BROKEN="1")
  assert not (place / ".installed").exists()
  shutil.rmtree(place / ".venv")
  assert bench("launch.sh", "setup", **env).returncode == 0
  assert len((place / ".installed").read_text()) == 41
  assert (place / "tpu_scripts" / "worker.sh").stat().st_mode & 0o100


def test_from_launch_to_two_workers_and_back(bench, repo_root):
  """`gcloud ssh` runs the text it gets, in two homes."""
  bench.env.update(POD)
  pair = [Worker(bench.folder / f"worker-{i}", bench.scripts) for i in range(2)]
  bench.on("describe", "READY")
  bench.on("ssh", answer(workers=2))
  command = ("sh", "-c", 'echo "$A it\'s $0"; sleep 60', "two  words")
  assert bench("launch.sh", "run", *command, TPU_ENV="A=1").returncode == 0
  try:
    for one in pair:
      one.wait_for("running")
    status = bench("launch.sh", "status")
    assert status.stdout.splitlines()[-1] == "run: running"
    bench.fails(2, "a run is already going", "launch.sh", "run", "true")
    assert [one.state() for one in pair] == ["running", "running"]
    assert bench("launch.sh", "logs", "all").stdout.count(": 1 it's two  words") == 2
    assert bench("launch.sh", "stop").returncode == 0
    assert [one.state() for one in pair] == ["idle", "idle"]
    assert bench("launch.sh", "keep", "true").returncode == 0
    assert "run: finished" in bench("launch.sh", "status").stdout
    (pair[1].place / "tpu_scripts" / "worker.sh").unlink()
    assert "run: bare" in bench("launch.sh", "status").stdout
    bench.fails(2, "'setup' brings it", "launch.sh", "run", "true")
    assert pair[0].state() == "idle"  # started, and stopped again
  finally:
    for one in pair:
      one("stop") if (one.place / "tpu_scripts" / "worker.sh").exists() else None
