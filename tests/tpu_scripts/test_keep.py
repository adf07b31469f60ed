"""launch.sh resume and keep: machines that go, runs that end, and bounded patience."""

import pytest

from tests.tpu_scripts.bench import answer, fails
from tests.tpu_scripts.test_launch import NO_SSH, NOT_FOUND, POD, UNAVAILABLE, steps

NEW_MACHINE = ["create", "scp", "install", "start"]


@pytest.fixture
def launch(bench):
  bench.env.update(POD)
  return bench


def machine(bench, *states):
  bench.on("tpu-vm describe", *states)


def workers(bench, *states):
  """What one worker says each time it is asked."""
  bench.on("worker.sh state", *(f"w-0: {state}" for state in states))


# resume


@pytest.mark.parametrize(
  ("state", "verbs"),
  [
    ("PREEMPTED", ["describe", "delete", *NEW_MACHINE]),
    ("TERMINATED", ["describe", "delete", *NEW_MACHINE]),
    (NOT_FOUND, ["describe", *NEW_MACHINE]),
  ],
)
def test_resume_makes_machines_again(launch, state, verbs):
  machine(launch, state)
  done = launch("launch.sh", "resume", "python", "-m", "x")
  assert done.returncode == 0, done.stderr
  assert steps(launch) == verbs


@pytest.mark.parametrize(
  ("state", "verbs"),
  [
    ("idle", ["stop", "start"]),
    ("lost", ["stop", "start"]),
    ("left", ["stop", "start"]),
    ("bare", ["stop", "scp", "install", "start"]),
  ],
)
def test_resume_on_a_machine_that_is_there(launch, state, verbs):
  machine(launch, "READY")
  workers(launch, state)
  assert launch("launch.sh", "resume", "x").returncode == 0
  assert steps(launch) == ["describe", "state", *verbs]


def test_resume_waits_for_a_machine_that_is_being_repaired(launch):
  machine(launch, "REPAIRING", "REPAIRING", "READY")
  workers(launch, "idle")
  assert launch("launch.sh", "resume", "x").returncode == 0
  assert steps(launch)[:3] == ["describe"] * 3 and launch.pauses() == [60, 60]


@pytest.mark.parametrize("state", ["running", "other"])
def test_resume_leaves_a_run_that_is_going(launch, state):
  machine(launch, "READY")
  workers(launch, state)
  launch.fails(2, "already going", "launch.sh", "resume", "x")


def test_resume_does_not_delete_a_machine_in_a_state_it_does_not_know(launch):
  machine(launch, "STOPPED")
  launch.fails(2, "is STOPPED; start it, or 'delete' it", "launch.sh", "resume", "x")
  assert steps(launch) == ["describe"]


def test_resume_of_a_queued_machine(launch):
  launch.on("queued-resources describe", "SUSPENDED", "WAITING_FOR_RESOURCES", "ACTIVE")
  machine(launch, "READY")
  assert launch("launch.sh", "resume", "x", TPU_QUEUED="1").returncode == 0
  queue = "queue describe"
  made = ["queue delete", "queue create", queue, queue, "describe"]
  assert steps(launch) == [queue, *made, "scp", "install", "start"]


def test_a_served_request_whose_machine_has_gone_is_made_again(launch):
  launch.on("queued-resources describe", "ACTIVE")
  machine(launch, NOT_FOUND, "READY")
  assert launch("launch.sh", "resume", "x", TPU_QUEUED="1").returncode == 0
  assert steps(launch)[2:4] == ["queue delete", "queue create"]


def test_no_machine_is_made_for_uncommitted_changes(launch):
  (launch.scripts / "README.md").write_text("changed")
  machine(launch, NOT_FOUND)
  launch.fails(2, "commit your changes", "launch.sh", "resume", "x")
  assert steps(launch) == ["describe"]


# keep


def test_keep_goes_through_two_preemptions_to_the_end(launch):
  """Absent; made, running; preempted, made again; preempted; made again, finished."""
  machine(
    *(launch, NOT_FOUND, NOT_FOUND),
    *("READY", "READY", "PREEMPTED", "PREEMPTED"),
    *("READY", "PREEMPTED", "PREEMPTED", "READY"),
  )
  workers(launch, "running", "running", "running", "finished")
  done = launch("launch.sh", "keep", "python", "-m", "x")
  assert done.returncode == 0, done.stderr
  made = [verb for verb in steps(launch) if verb not in ("describe", "state")]
  assert made == [*NEW_MACHINE, "delete", *NEW_MACHINE, "delete", *NEW_MACHINE]
  assert "attempt 3 of 20: 'pod' is PREEMPTED" in done.stderr
  assert "has finished" in done.stderr.splitlines()[-1]


def test_keep_brings_the_commit_it_began_with(launch):
  """While it runs, somebody goes on working in the checkout."""
  machine(launch, NOT_FOUND, NOT_FOUND, "READY", "PREEMPTED", "PREEMPTED", "READY")
  workers(launch, "running", "finished")
  launch.on("create", answer(spoils=launch.scripts / "README.md"))
  done = launch("launch.sh", "keep", "x")
  assert done.returncode == 0, done.stderr
  assert len({words[4] for words in launch.calls() if words[3] == "scp"}) == 1


def test_keep_adopts_a_run_and_leaves_one_that_has_finished(launch):
  machine(launch, "READY")
  workers(launch, "running", "finished")
  assert launch("launch.sh", "keep", "x").returncode == 0
  assert set(steps(launch)) == {"describe", "state"} and launch.pauses() == [60]


def test_a_run_that_outlives_a_repair_is_left_alone(launch):
  machine(launch, "READY", "REPAIRING", "REPAIRING", "READY")
  workers(launch, "running", "running", "finished")
  assert launch("launch.sh", "keep", "x").returncode == 0
  assert set(steps(launch)) == {"describe", "state"}


def test_what_a_worker_complains_of_is_shown(launch):
  machine(launch, "READY")
  launch.on("worker.sh state", fails("no space left", code=1))
  done = launch.fails(1, "status failed on worker 0", "launch.sh", "status")
  assert "no space left" in done.stderr


def test_keep_asks_for_its_own_command(launch):
  machine(launch, "READY")
  workers(launch, "finished")
  launch("launch.sh", "keep", "python", "a b", TPU_ENV="A=1")
  assert launch.calls()[1][8].endswith("worker.sh state env A=1 python 'a b'")


def test_keep_starts_again_what_was_lost_on_one_of_two_workers(launch):
  machine(launch, "READY")
  lost = "w-0: running\nw-1: lost"
  launch.on("worker.sh state", lost, lost, "w-0: finished\nw-1: finished")
  assert launch("launch.sh", "keep", "x").returncode == 0
  assert [x for x in steps(launch) if x in ("stop", "start")] == ["stop", "start"]


LEFT = "w-0: left\nw-1: "


@pytest.mark.parametrize("other", ["lost", "running", "left"])
def test_keep_starts_again_where_hosts_left_because_of_another(launch, other):
  """Of which they know only that it is gone: restarted, hanging, or killed."""
  machine(launch, "READY")
  done = "w-0: finished\nw-1: finished"
  both = "w-0: running\nw-1: running"
  looks = [LEFT + other] * (2 if other == "lost" else 3)  # the last one is resume's
  launch.on("worker.sh state", both, *looks, both, done)
  assert launch("launch.sh", "keep", "x").returncode == 0
  assert [x for x in steps(launch) if x in ("stop", "start")] == ["stop", "start"]


def test_keep_sets_up_again_what_was_restarted_while_the_others_left(launch):
  machine(launch, "READY")
  bare = LEFT + "bare"
  launch.on("worker.sh state", "w-0: running\nw-1: running", bare, bare, "w-0: finished")
  assert launch("launch.sh", "keep", "x").returncode == 0
  made = [verb for verb in steps(launch) if verb not in ("describe", "state")]
  assert made == ["stop", "scp", "install", "start"]


def test_keep_waits_for_the_host_that_the_others_left_for(launch):
  """It was still ending, and has failed by itself: nothing is repeated."""
  machine(launch, "READY")
  left = [LEFT + "running", *[LEFT + "failed 1"] * 2]
  launch.on("worker.sh state", "w-0: running\nw-1: running", *left)
  launch.fails(1, "itself failed (w-1: failed 1)", "launch.sh", "keep", "x")
  assert [x for x in steps(launch) if x in ("stop", "start")] == ["stop"]


def test_hosts_that_always_leave_are_not_started_for_ever(launch):
  machine(launch, "READY")
  workers(launch, "running", "left")
  launch.fails(1, "gave up after 3", "launch.sh", "keep", "x", TPU_ATTEMPTS="3")
  assert steps(launch).count("start") == 3


def test_a_new_machine_gets_extras_bucket_and_hook_again(launch):
  hook = launch.folder / "hook.sh"
  hook.write_text("true")
  machine(launch, "READY", "PREEMPTED", "PREEMPTED", "READY")
  workers(launch, "running", "finished")
  env = {"TPU_EXTRAS": "alfworld", "TPU_BUCKET": "my-runs", "TPU_HOOK": str(hook)}
  assert launch("launch.sh", "keep", "x", **env).returncode == 0
  made = [verb for verb in steps(launch) if verb not in ("describe", "state")]
  assert made == ["delete", "create", "scp", "scp", "install", "start"]
  (text,) = (words[8] for words in launch.calls() if "worker.sh install" in words[-3])
  assert "tpu,alfworld 'my-runs' /mnt/runs" in text and "'../skilljax.hook'" in text


def test_keep_does_not_repeat_a_command_that_fails_by_itself(launch):
  machine(launch, "READY")
  workers(launch, "idle", "idle", "running", "failed 3")
  launch.fails(1, "itself failed (w-0: failed 3)", "launch.sh", "keep", "x")
  assert steps(launch).count("start") == 1 and steps(launch)[-1] == "stop"


def test_keep_starts_a_command_again_that_failed_before(launch):
  machine(launch, "READY")
  workers(launch, "failed 3", "failed 3", "running", "finished")
  assert launch("launch.sh", "keep", "x").returncode == 0
  assert steps(launch).count("start") == 1


def test_a_failure_that_turns_out_to_be_a_preemption_is_one(launch):
  machine(launch, "READY", "READY", "PREEMPTED", "PREEMPTED", "READY")
  workers(launch, "running", "failed 1", "finished")
  assert launch("launch.sh", "keep", "x").returncode == 0
  assert steps(launch).count("create") == 1


def test_keep_outlives_bad_luck_while_it_makes_a_machine(launch):
  machine(launch, *[NOT_FOUND] * 4, "READY")
  launch.on("create", fails("ERROR: (gcloud.x) no more capacity"), answer())
  launch.on("worker.sh install", fails("disk broke", code=3), answer())
  workers(launch, "bare", "bare", "finished")
  done = launch("launch.sh", "keep", "x")
  assert done.returncode == 0, done.stderr
  made = [verb for verb in steps(launch) if verb not in ("describe", "state")]
  again = ["stop", "scp", "install", "start"]
  assert made == ["create", "create", "scp", "install", *again]
  assert "no v5litepod-8 left now" in done.stderr and "attempt 3 of 20" in done.stderr


def test_attempts_are_bounded(launch):
  machine(launch, "PREEMPTED")
  done = launch.fails(
    1, "gave up after 2 attempts", "launch.sh", "keep", "x", TPU_ATTEMPTS="2"
  )
  assert steps(launch).count("create") == 2
  assert "may still cost" in done.stderr


def test_keep_ends_at_once_where_trying_again_cannot_help(launch):
  machine(launch, NOT_FOUND)
  launch.on("create", fails("ERROR: (gcloud.x) PERMISSION_DENIED"))
  launch.fails(2, "roles/tpu.admin", "launch.sh", "keep", "x")
  assert steps(launch).count("create") == 1


def test_keep_gives_up_on_workers_that_it_cannot_reach(launch):
  machine(launch, "READY")
  launch.on("ssh", NO_SSH)
  launch.fails(1, "no ssh to a worker", "launch.sh", "keep", "x", TPU_ATTEMPTS="2")
  assert set(steps(launch)) == {"describe", "state"}


def test_keep_leaves_another_run_alone(launch):
  machine(launch, "READY")
  workers(launch, "other")
  launch.fails(2, "another command is running", "launch.sh", "keep", "x")


def test_keep_outlives_a_time_without_the_service(launch):
  machine(launch, "READY", *[UNAVAILABLE] * 8, "READY")
  workers(launch, "running", "finished")
  assert launch("launch.sh", "keep", "x").returncode == 0
  assert "describe" in steps(launch) and "create" not in steps(launch)


def test_keep_ends_where_the_login_has_run_out(launch):
  machine(launch, fails("ERROR: (gcloud.x) Reauthentication required"))
  launch.fails(2, "gcloud auth login", "launch.sh", "keep", "x")
