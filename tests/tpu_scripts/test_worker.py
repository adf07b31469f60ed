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

LINUX = sys.platform == "linux"
pytestmark = pytest.mark.skipif(not LINUX, reason="workers run Linux")


BOOT = Path("/proc/sys/kernel/random/boot_id").read_text().strip() if LINUX else ""


class Worker:
  def __init__(self, home, scripts):
    self.place = home / "skilljax"
    shutil.copytree(scripts, self.place / "tpu_scripts")
    (self.place / ".installed").write_text(f"commit {BOOT}\n")
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


def test_a_host_that_left_because_of_another_has_not_failed(worker):
  worker("start", "id-1", "sh", "-c", "exit 42")
  worker.wait_for("left")
  assert worker.state("true") == "idle"  # of another command


def test_a_worker_knows_what_the_watch_of_the_hosts_ends_with(worker, repo_root):
  code = "from skilljax import watch; watch.end_because('host 1 is gone')"
  worker("start", "id-1", "env", f"PYTHONPATH={repo_root}", sys.executable, "-c", code)
  worker.wait_for("left")
  assert "host 1 is gone" in worker.log()


def reboot(worker):
  """The machine was restarted: what was noted before is of another life of it."""
  for note in (worker.notes / "pid", worker.place / ".installed"):
    first, _, *rest = note.read_text().split()
    note.write_text(" ".join([first, "another-boot", *rest]) + "\n")


def test_after_a_restart_of_the_machine_it_is_set_up_again(worker):
  """Nothing is mounted there, so a run would find an empty work folder."""
  worker("start", "id-1", "sleep", "60")
  worker.wait_for("running")
  worker("stop", "id-1")
  worker("start", "id-2", "true")
  worker.wait_for("finished")
  reboot(worker)
  assert worker.state("true") == "finished"  # which needs nothing any more
  done = worker("start", "id-3", "true")
  assert done.returncode == 8 and "is not set up" in done.stderr
  worker("stop")
  assert worker.state() == "bare"


def test_what_a_run_died_of_when_its_machine_went_down_is_no_failure(worker):
  worker("start", "id-1", "sh", "-c", "exit 143")
  worker.wait_for("failed 143")
  reboot(worker)
  assert worker.state() == "bare"
  (worker.place / ".installed").write_text(f"commit {BOOT}\n")
  assert worker.state() == "lost"


def test_a_worker_that_is_half_set_up_is_bare(worker):
  (worker.place / ".installed").unlink()
  assert worker.state() == "bare"


VENV = """#!/bin/sh
[ "$1" = -c ] && exit
mkdir -p "$3/bin"
echo "#!/bin/sh
echo pip \\$* >>$HOME/said
exit ${BROKEN-0}" >"$3/bin/pip"
cp "$0" "$3/bin/python"
chmod +x "$3/bin/pip"
"""
# What a worker has, without a compiler, and what is faked there.
HAS = ("bash", "cat", "chmod", "cp", "cut", "dirname", "env", "git", "grep", "hostname")
HAS += ("id", "mkdir", "rm", "sed", "seq", "sh", "sleep", "tee")
FAKES = {
  "sudo": '"$@"',
  "apt-get": 'case "$*" in *gcsfuse) mv "$FAKES/off" "$FAKES/gcsfuse" ;; esac',
  "off": 'echo "$8 $9" >"$HOME/mounted"',
  "findmnt": 'cat "$HOME/mounted" | cut -d " " -f 1',
  "curl": "echo key",
  "lsb_release": "echo jammy",
  "umount": "exit 32",
  "chown": "",
  "tee": "cat >/dev/null",
  "mv": '/bin/mv "$@"',
}


@pytest.fixture
def home(bench):
  """The home of a worker with a bundle, an interpreter that poses, and fakes."""
  home, tools = bench.folder / "worker-0", bench.folder / "tools"
  for folder in (home, tools):
    folder.mkdir()
  for tool in HAS:
    (tools / tool).symlink_to(shutil.which(tool))
  for tool, body in FAKES.items():
    (tools / tool).unlink(missing_ok=True)
    text = f'#!/bin/sh\necho "{tool} $*" >>"$HOME/said"\n{body}\n'
    (tools / tool).write_text(text.replace("off $*", "gcsfuse $*"))
    (tools / tool).chmod(0o755)
  (home / "python").write_text(VENV)
  (home / "python").chmod(0o755)
  bench.env.update(POD, REAL_PATH=str(tools), FAKES=str(tools))
  bench.env["TPU_PYTHON"] = str(home / "python")
  bench.on("ssh", answer(workers=1))
  bundle = ("bundle", "create", "-q", home / "skilljax.bundle", "HEAD")
  subprocess.run(("git", "-C", bench.repo, *bundle), check=True)
  return home


def test_setup_in_earnest(bench, home):
  place = home / "skilljax"
  bundle = (home / "skilljax.bundle").rename(home / "kept")
  bench.fails(1, "setup failed on worker 0", "launch.sh", "setup")  # no bundle
  bundle.rename(home / "skilljax.bundle")
  bench.fails(1, "setup failed on worker 0", "launch.sh", "setup", BROKEN="1")
  assert not (place / ".installed").exists()
  shutil.rmtree(place / ".venv")
  done = bench("launch.sh", "setup")
  assert done.returncode == 0, done.stderr
  commit, boot = (place / ".installed").read_text().split()
  assert len(commit) == 40 and boot == BOOT
  assert (place / "tpu_scripts" / "worker.sh").stat().st_mode & 0o100
  said = (home / "said").read_text()
  assert "pip install -q -e .[tpu]\n" in said and "gcsfuse" not in said
  assert "install -y build-essential" in said  # no cc here


def test_a_new_machine_gets_all_that_a_published_config_needs(bench, home):
  """Extras, the bucket, and a hook that finds both and the variables of the command."""
  hook = home / "skilljax.hook"
  hook.write_text('echo "hook $A $PWD $(cat ~/mounted) $(command -v pip)" >>~/said\n')
  env = {"TPU_EXTRAS": "alfworld", "TPU_BUCKET": "my-runs", "TPU_ENV": "A=1"}
  env |= {"TPU_HOOK": str(hook), "TPU_MOUNT": str(home / "mnt")}
  done = bench("launch.sh", "setup", **env)
  assert done.returncode == 0, done.stderr
  said = (home / "said").read_text()
  assert "pip install -q -e .[tpu,alfworld]\n" in said
  (mounted,) = [line for line in said.splitlines() if line.startswith("gcsfuse ")]
  assert "--rename-dir-limit 1000000" in mounted
  assert mounted.endswith(f" 0 my-runs {home}/mnt") and (home / "mnt").is_dir()
  place = home / "skilljax"
  pip = place / ".venv" / "bin" / "pip"
  assert said.endswith(f"hook 1 {place} my-runs {home}/mnt {pip}\n")
  assert bench("launch.sh", "setup", **env).returncode == 0
  again = (home / "said").read_text().removeprefix(said)
  assert "hook 1" in again and "gcsfuse" not in again  # it is mounted already
  env["TPU_BUCKET"] = "other-runs"
  assert bench("launch.sh", "setup", **env).returncode == 0
  again = (home / "said").read_text().removeprefix(said + again)
  assert f"umount -l {home}/mnt" in again and "other-runs" in again


def test_a_hook_that_fails_leaves_the_machine_bare(bench, home):
  hook = home / "skilljax.hook"
  hook.write_text("exit 5\n")
  env = {"TPU_HOOK": str(hook)}
  done = bench.fails(1, "setup failed on worker 0", "launch.sh", "setup", **env)
  assert "exit status 5" in done.stderr
  assert not (home / "skilljax" / ".installed").exists()
  bench.fails(2, "'setup' brings it", "launch.sh", "run", "true")


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
