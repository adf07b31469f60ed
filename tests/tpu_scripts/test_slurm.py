"""slurm.sh against fakes of Slurm's tools, and slurm.sbatch in earnest."""

import os
import shutil
import signal
import subprocess
import time

import pytest

from tests.tpu_scripts.bench import fails


@pytest.fixture
def slurm(bench):
  bench.env["JOB_NAME"] = "first"
  return bench


def notes(bench):
  folder = bench.repo / "runs" / "slurm"
  folder.mkdir(parents=True, exist_ok=True)
  return folder


def tools(bench):
  return [row["words"][0] for row in bench.records()]


# slurm.sh


def test_submit_passes_every_setting_and_the_command(slurm):
  slurm.on("sbatch", "4711")
  hostile = ["python", "-c", "a b'$HOME;*\n", ""]
  env = {"JOB_NODES": "2", "JOB_GPUS": "8", "JOB_CPUS": "4", "JOB_TIME": "1-00:00:00"}
  more = {"JOB_PARTITION": "gpu", "JOB_ACCOUNT": "me", "JOB_OPTIONS": "--mem=0 --qos=q"}
  done = slurm("slurm.sh", "submit", *hostile, **env, **more)
  assert done.returncode == 0 and done.stdout == "4711\n"
  (words,) = slurm.calls("sbatch")
  options = "--parsable --export ALL --job-name first --chdir"
  assert words[:8] == [*options.split(), str(slurm.repo), "--output"]
  rest = "--nodes 2 --gpus-per-node 8 --ntasks-per-node 8 --cpus-per-task 4"
  rest += " --time 1-00:00:00 --partition gpu --account me --mem=0 --qos=q"
  assert words[9:-5] == rest.split()
  assert words[-5:] == [str(slurm.scripts / "slurm.sbatch"), *hostile]
  assert (notes(slurm) / "first.job").read_text() == "4711\n"


def test_one_process_a_node(slurm):
  slurm("slurm.sh", "submit", "x", JOB_GPUS="8", JOB_TASKS="node")
  words = slurm.calls("sbatch")[0]
  assert words[words.index("--ntasks-per-node") + 1] == "1"


def test_the_job_gets_the_settings_that_are_no_options(slurm):
  slurm.remove("sbatch")
  names = ["JOB_NAME", "JOB_DIR", "JOB_VENV", "JOB_TASKS", "JOB_MAX_RESTARTS"]
  text = "\n".join(f'echo "${name}"' for name in names)
  (slurm.fakes / "sbatch").write_text(f"#!/bin/sh\n{text}\n")
  (slurm.fakes / "sbatch").chmod(0o755)
  done = slurm("slurm.sh", "submit", "x")
  place = [slurm.repo / "runs" / "slurm", slurm.repo / ".venv"]
  assert done.stdout.split("\n") == ["first", *map(str, place), "gpu", "100", ""]


def test_submit_refuses_a_second_job_of_the_name(slurm):
  slurm.on("squeue", "17 RUNNING None")
  slurm.fails(2, "job 17 is RUNNING under this name", "slurm.sh", "submit", "x")
  assert tools(slurm) == ["squeue"]


@pytest.mark.parametrize(
  ("queue", "left", "said"),
  [
    ("17 RUNNING None", {}, "RUNNING, job 17 (None)"),
    ("17 PENDING BeginTime", {"exit": "1"}, "PENDING, job 17 (BeginTime)"),
    ("", {}, "idle"),
    ("", {"job": "17"}, "lost"),
    ("", {"job": "17", "exit": "0"}, "finished"),
    ("", {"job": "17", "exit": "3"}, "failed 3"),
  ],
)
def test_status(slurm, queue, left, said):
  for kind, text in left.items():
    (notes(slurm) / f"first.{kind}").write_text(f"{text}\n")
  slurm.on("squeue", queue)
  assert slurm("slurm.sh", "status").stdout == f"run: {said}\n"


@pytest.mark.parametrize(
  ("queue", "left", "called"),
  [
    ("17 RUNNING None", {}, ["squeue"]),
    ("17 PENDING Priority", {}, ["squeue"]),
    ("17 PENDING JobHeldUser", {}, ["squeue", "scontrol"]),
    ("17 REQUEUE_HOLD None", {}, ["squeue", "scontrol"]),
    ("", {"exit": "0"}, ["squeue"]),
    ("", {"exit": "1"}, ["squeue", "squeue", "sbatch"]),
    ("", {"job": "17"}, ["squeue", "squeue", "sbatch"]),
    ("", {}, ["squeue", "squeue", "sbatch"]),
  ],
)
def test_resume_queues_only_what_does_not_start_by_itself(slurm, queue, left, called):
  for kind, text in left.items():
    (notes(slurm) / f"first.{kind}").write_text(text)
  slurm.on("squeue", queue)
  assert slurm("slurm.sh", "resume", "x").returncode == 0
  assert tools(slurm) == called
  if "scontrol" in called:
    assert slurm.calls("scontrol") == [["release", "17"]]


def test_cancel(slurm):
  (notes(slurm) / "first.job").write_text("17")
  slurm.on("squeue", "17 RUNNING None", "")
  assert slurm("slurm.sh", "cancel").returncode == 0
  assert slurm.calls("scancel") == [["17"]]
  assert slurm("slurm.sh", "status").stdout == "run: idle\n"
  assert "no job 'first'" in slurm("slurm.sh", "cancel").stderr


@pytest.mark.parametrize(
  ("error", "code", "message"),
  [
    ("sbatch: error: invalid partition specified: x", 2, "set JOB_PARTITION"),
    ("sbatch: error: Invalid account or account/partition", 2, "JOB_"),
    ("sbatch: error: QOSMaxWallDurationPerJobLimit", 2, "lower JOB_TIME"),
    ("sbatch: error: Requested node configuration is not available", 2, "sinfo"),
    ("sbatch: error: Unable to contact slurm controller", 1, "'status' first"),
    ("sbatch: error: new", 1, "submit failed: sbatch: error: new"),
  ],
)
def test_every_failure_says_what_to_do(slurm, error, code, message):
  slurm.on("sbatch", fails(error))
  slurm.fails(code, message, "slurm.sh", "submit", "x")
  assert tools(slurm) == ["squeue", "sbatch"]  # it may have been heard: not repeated
  assert not (notes(slurm) / "first.job").exists()


def test_questions_are_asked_again(slurm):
  slurm.on("squeue", fails("slurm_load_jobs error: Socket timed out"), "")
  assert slurm("slurm.sh", "status").returncode == 0 and slurm.pauses() == [5]


@pytest.mark.parametrize(
  ("env", "message"),
  [
    ({"JOB_NAME": ""}, "JOB_NAME is not set"),
    ({"JOB_NAME": "../x"}, "JOB_NAME is '../x'; needed: letters"),
    ({"JOB_TASKS": "core"}, "JOB_TASKS is 'core'; one of: gpu node"),
    ({"JOB_GPUS": "0"}, "JOB_GPUS is '0'; a whole number from 1"),
    ({"JOB_NODES": "two"}, "JOB_NODES is 'two'; a whole number from 1"),
    ({"JOB_TIME": "4h"}, "JOB_TIME is '4h'; needed: a time of Slurm"),
  ],
)
def test_bad_settings_start_nothing(slurm, env, message):
  slurm.fails(2, message, "slurm.sh", "submit", "x", **env)
  slurm.fails(2, "submit needs a command", "slurm.sh", "submit")
  assert slurm.calls() == []


def test_away_from_a_cluster(slurm):
  slurm.remove("sbatch")
  slurm.fails(2, "'sbatch' is not installed", "slurm.sh", "status")


@pytest.mark.parametrize(
  ("command", "printed"),
  [
    (("submit", "x"), ["squeue", "sbatch"]),
    (("status",), ["squeue"]),
    (("resume", "x"), ["squeue", "squeue", "sbatch"]),
    (("cancel",), ["squeue", "scancel"]),
  ],
)
def test_a_dry_run_prints_every_command_and_calls_nothing(slurm, command, printed):
  assert [row["words"][0] for row in slurm.dry("slurm.sh", *command)] == printed


def test_logs(slurm):
  for which, file in (
    ((), "first-0.txt"),
    (("3",), "first-3.txt"),
    (("job",), "first.txt"),
  ):
    done = slurm("slurm.sh", "--dry-run", "logs", *which)
    assert done.stdout.startswith("tail -n 100 -F") and f"/{file}'" in done.stdout
  slurm.fails(2, "logs of a process", "slurm.sh", "logs", "x")


# slurm.sbatch


class Job:
  """slurm.sbatch as Slurm starts it: in the checkout, on the first node."""

  def __init__(self, bench, srun):
    self.bench = bench
    self.folder = bench.repo / "runs" / "slurm"
    venv = bench.repo / ".venv" / "bin"
    venv.mkdir(parents=True)
    (venv / "python").symlink_to(shutil.which("bash"))
    bench.remove("srun")
    (bench.fakes / "srun").write_text(f"#!/bin/sh\n{srun}\n")
    (bench.fakes / "srun").chmod(0o755)
    self.env = {
      **bench.env,
      "PATH": f"{bench.fakes}:{os.environ['PATH']}",
      "SLURM_JOB_ID": "17",
      "SLURM_JOB_NAME": "first",
    }

  def start(self, *command, **env):
    self.process = subprocess.Popen(
      (self.bench.scripts / "slurm.sbatch", *command),
      env=self.env | env,
      cwd=self.bench.repo,
      stdout=subprocess.PIPE,
      stderr=subprocess.STDOUT,
      text=True,
    )

  def end(self):
    out, _ = self.process.communicate(timeout=60)
    file = self.folder / "first.exit"
    return self.process.returncode, out, file.read_text() if file.exists() else None

  def __call__(self, *command, **env):
    self.start(*command, **env)
    return self.end()


def test_the_job_runs_the_command_and_leaves_its_exit_status(bench):
  job = Job(bench, 'printf "<%s>" "$@"; exit 3')
  code, out, left = job("python", "a  b", "$HOME'")
  assert (code, left) == (3, "3\n") and out.endswith("<python><a  b><$HOME'>")
  assert f"<--output={job.folder}/first-%t.txt>" in out  # a log for each process
  assert "<--gpu-bind=none>" in out


def test_processes_see_the_environment_of_the_checkout_and_their_gpus(bench):
  job = Job(bench, 'echo "$PATH $SRUN_CPUS_PER_TASK ids=$JAX_LOCAL_DEVICE_IDS"')
  place = str(bench.repo / ".venv" / "bin")
  _, out, _ = job("x", SLURM_CPUS_PER_TASK="6", SLURM_GPUS_ON_NODE="4")
  assert f"\n{place}:" in out and out.endswith(" 6 ids=\n")  # JAX: one GPU a process
  _, out, _ = job("x", JOB_TASKS="node", SLURM_GPUS_ON_NODE="4")
  assert out.endswith("ids=0,1,2,3\n")


def test_without_an_environment_the_job_says_so(bench):
  code, out, left = Job(bench, "true")("x", JOB_VENV="/nowhere")
  assert (code, left) == (2, "2\n") and "no /nowhere/bin/python" in out


def signalled(job, **env):
  """USR1 while srun runs, which ends a little later with 0, or as `srun` says."""
  job.start("x", **env)
  started = job.bench.folder / "started"
  end = time.time() + 30
  while not started.exists() and time.time() < end:
    time.sleep(0.05)
  job.process.send_signal(signal.SIGUSR1)
  return job.end()


SLOW = 'touch "$BENCH/started"; /bin/sleep 1.5; exit "${SRUN_ENDS-0}"'


def test_at_the_time_limit_the_job_goes_back_into_the_queue(bench):
  code, _, left = signalled(Job(bench, SLOW))
  assert bench.calls("scontrol") == [["requeue", "17"]]
  assert (code, left) == (0, "0\n")  # here nobody ended it: it came to its own end


def test_a_job_that_slurm_ends_leaves_the_word_to_slurm(bench):
  """srun ends with 143; the script waits to be killed, and is no failure before."""
  signalled(Job(bench, SLOW), SRUN_ENDS="143")
  assert bench.pauses() == [600]


def test_restarts_are_bounded_and_refusals_are_told(bench):
  job = Job(bench, SLOW)
  env = {"SLURM_RESTART_COUNT": "5", "JOB_MAX_RESTARTS": "5"}
  _, out, _ = signalled(job, **env)
  assert "5 restarts are enough" in out and bench.calls("scontrol") == []
  (bench.folder / "started").unlink()
  bench.on("requeue", fails("not allowed"))
  assert "Slurm does not requeue" in signalled(job)[1]


def says(*ends, code=143):
  """An srun that tells how processes ended, and ends with the worst of it."""
  lines = [f"srun: error: n{i}: task {i}: {end}" for i, end in enumerate(ends)]
  return "\n".join([*(f'echo "{line}" >&2' for line in lines), f"exit {code}"])


LEFT, KILLED = "Exited with exit code 42", "Terminated"
TOLD = "Exited with exit code 143"  # to end, by srun


def test_the_process_that_failed_by_itself_decides(bench):
  """srun's own status is that of those which it killed, or which left."""
  job = Job(bench, says(LEFT, TOLD, "Exited with exit code 3", KILLED))
  code, out, left = job("x")
  assert (code, left) == (3, "3\n") and "task 2: Exited with exit code 3" in out
  assert bench.calls("scontrol") == [] and bench.pauses() == []


@pytest.mark.parametrize("ends", [(LEFT,), (LEFT, KILLED), (KILLED, TOLD)])
@pytest.mark.parametrize("state", ["RUNNING", ""])
def test_where_processes_left_and_none_failed_the_job_is_queued_again(bench, ends, state):
  bench.on("squeue", state)
  _, _, left = Job(bench, says(*ends))("x")
  assert bench.calls("scontrol") == [["requeue", "17"]]
  assert bench.pauses() == [600]  # Slurm ends the script, so nothing counts as its end
  assert bench.calls("squeue")[0][:2] == ["--jobs", "17"] and left == "143\n"


def test_processes_that_leave_are_not_queued_again_for_ever(bench):
  env = {"SLURM_RESTART_COUNT": "5", "JOB_MAX_RESTARTS": "5"}
  code, out, left = Job(bench, says(LEFT, code=42))("x", **env)
  assert (code, left) == (42, "42\n") and bench.calls("scontrol") == []
  assert "another process was lost, and 5 restarts are enough" in out


def test_a_cancelled_job_is_not_queued_again(bench):
  """While Slurm ends it, processes see each other go, and leave or fail."""
  bench.on("squeue", "COMPLETING")
  Job(bench, says(LEFT, "Exited with exit code 1"))("x")
  assert bench.calls("scontrol") == [] and bench.pauses() == [600]


def test_the_template_asks_for_what_resuming_needs(bench):
  lines = (bench.scripts / "slurm.sbatch").read_text().splitlines()
  options = [line.split()[1] for line in lines if line.startswith("#SBATCH ")]
  for option in ("--requeue", "--signal=B:USR1@120", "--open-mode=append"):
    assert option in options
