"""The pool: answers, faults, time-outs, restarts, recycling, and no process left over."""

import contextlib
import os
import pathlib
import subprocess
import sys
import textwrap
import time

import pytest

from skilljax.envs.pool import EnvPool, workers
from skilljax.types import Fault, Observation
from tests.envs import fake_envs


def _make_pool(**values) -> EnvPool:
  options = {
    "num_workers": 1,
    "envs_per_worker": 1,
    "start_timeout_s": 120.0,
    "reset_timeout_s": 5.0,
    "step_timeout_s": 5.0,
  }
  return EnvPool(fake_envs.CountingEnv, **{**options, **values})


def _poll_one(pool: EnvPool, timeout_s: float = 60.0):
  end = time.monotonic() + timeout_s
  while time.monotonic() < end:
    if answers := pool.poll(end - time.monotonic()):
      ((ticket, answer),) = answers
      return ticket, answer
  raise AssertionError("no answer")


def _play(pool: EnvPool, ticket: str, action: str):
  pool.step(ticket, action)
  name, answer = _poll_one(pool)
  assert name == ticket
  return answer


def _open(pool: EnvPool, ticket: str, task_name: str = "t0"):
  pool.start(ticket, fake_envs.task(task_name))
  name, answer = _poll_one(pool)
  assert name == ticket
  return answer


def _exists(pid: int) -> bool:
  return os.path.exists(f"/proc/{pid}")


def _children() -> set[int]:
  """Processes that this one has started, zombies included."""
  found = set()
  for folder in pathlib.Path("/proc").glob("[0-9]*"):
    with contextlib.suppress(OSError):
      fields = (folder / "stat").read_text().rpartition(")")[2].split()
      if int(fields[1]) == os.getpid():
        found.add(int(folder.name))
  return found


def _is_running(pid: int) -> bool:
  """Where nobody collects orphans, a zombie is as good as gone."""
  try:
    stat = pathlib.Path(f"/proc/{pid}/stat").read_text()
  except OSError:
    return False
  return stat.rpartition(")")[2].split()[0] != "Z"


def _wait_until_gone(pids, meanwhile=lambda: None):
  end = time.monotonic() + 20.0
  while any(map(_is_running, pids)) and time.monotonic() < end:
    meanwhile()
    time.sleep(0.05)
  assert not any(map(_is_running, pids))


@pytest.fixture(params=[0, 1], ids=["inline", "workers"])
def any_pool(request):
  with _make_pool(num_workers=request.param, envs_per_worker=2) as pool:
    yield pool


def test_answers_carry_every_field(any_pool):
  first = _open(any_pool, "a")
  assert first == Observation("t0 start", goal="count.", max_turns=9)
  assert _play(any_pool, "a", "go") == Observation(
    "t0 1 go", reward=0.5, admissible=("a", "b")
  )


def test_two_episodes_do_not_mix(any_pool):
  any_pool.start("a", fake_envs.task("t0"))
  any_pool.start("b", fake_envs.task("t1"))
  answers = {}
  while len(answers) < 2:
    answers.update(any_pool.poll(30.0))
  assert {t: o.text for t, o in answers.items()} == {"a": "t0 start", "b": "t1 start"}
  assert _play(any_pool, "b", "x").text == "t1 1 x"
  assert _play(any_pool, "a", "y").text == "t0 1 y"
  assert _play(any_pool, "b", "z").text == "t1 2 z"


def test_wrong_use_is_refused(any_pool):
  _open(any_pool, "a")
  with pytest.raises(ValueError, match="'a' is open already"):
    any_pool.start("a", fake_envs.task())
  with pytest.raises(ValueError, match="'b' is not open"):
    any_pool.step("b", "x")
  with pytest.raises(ValueError, match="'b' is not open"):
    any_pool.release("b")
  any_pool.step("a", "x")
  with pytest.raises(ValueError, match="still owes an answer"):
    any_pool.step("a", "x")
  any_pool.start("b", fake_envs.task())
  assert (any_pool.capacity, any_pool.num_free) == (2, 0)
  with pytest.raises(ValueError, match="all 2 environments"):
    any_pool.start("c", fake_envs.task())


def test_an_exception_is_a_fault_and_the_pool_goes_on(any_pool):
  _open(any_pool, "a")
  fault = _play(any_pool, "a", "raise")
  assert isinstance(fault, Fault)
  assert "step went wrong" in fault.reason
  assert fault.task == fake_envs.task()
  with pytest.raises(ValueError, match="ended with a fault"):
    any_pool.step("a", "x")
  any_pool.release("a")
  assert "reset went wrong" in _open(any_pool, "a", "raise").reason
  any_pool.release("a")
  assert _open(any_pool, "a").text == "t0 start"
  assert any_pool.counts["faults"] == 2
  assert any_pool.counts["episodes"] == 3


def test_an_environment_that_knows_the_task_is_preferred(any_pool):
  for ticket, name in (("a", "t0"), ("b", "t1")):
    any_pool.start(ticket, fake_envs.task(name))
  seen = 0
  while seen < 2:
    seen += len(any_pool.poll(30.0))
  any_pool.release("a")
  any_pool.release("b")
  _open(any_pool, "c", "t1")
  assert _play(any_pool, "c", "history").text == "t1 t1"


def test_poll_returns_at_once_when_nothing_is_owed(any_pool):
  _open(any_pool, "a")
  begin = time.monotonic()
  assert any_pool.poll(20.0) == []
  assert time.monotonic() - begin < 5.0


def test_an_inline_environment_that_failed_is_closed(monkeypatch):
  closed = []
  monkeypatch.setattr(fake_envs.CountingEnv, "close", lambda self: closed.append(self))
  with EnvPool(fake_envs.CountingEnv, num_workers=0, envs_per_worker=1) as pool:
    _open(pool, "a")
    _play(pool, "a", "raise")
    assert len(closed) == 1
  assert len(closed) == 1


def test_a_broken_factory_stops_the_inline_pool_at_once():
  with pytest.raises(FileNotFoundError, match="no data in /nowhere"):
    EnvPool(fake_envs.make_broken, num_workers=0)


@pytest.mark.parametrize(
  ("make", "reason"), [("make_broken", "no data in /nowhere"), ("make_dying", "status 7")]
)
def test_workers_that_cannot_start_are_given_up(make, reason):
  pool = EnvPool(getattr(fake_envs, make), num_workers=1, max_failed_starts=2)
  pool.start("a", fake_envs.task())
  with pool, pytest.raises(RuntimeError, match=f"(?s)2 times in a row.*{reason}"):
    for _ in range(20):
      pool.poll(5.0)


def test_kill_faults_its_episode_only():
  with _make_pool(num_workers=2) as pool:
    _open(pool, "a", "t0")
    _open(pool, "b", "t1")
    fault = _play(pool, "a", "kill")
    assert isinstance(fault, Fault) and "signal 9" in fault.reason
    assert _play(pool, "b", "x").text == "t1 1 x"
    pool.release("a")
    assert _open(pool, "a", "t2").text == "t2 start"
    assert pool.counts["restarts"] == 1


def test_a_worker_that_dies_between_steps_faults_the_next_step():
  with _make_pool(envs_per_worker=2) as pool:
    _open(pool, "a")
    pid = int(_play(pool, "a", "pid").text)
    _open(pool, "b")
    assert _play(pool, "b", "kill").reason
    assert pool.poll(0.0) == []  # 'a' owes nothing, so it is not answered
    assert "died" in _play(pool, "a", "x").reason
    assert not _exists(pid)


def test_a_hanging_step_is_killed_after_its_time_out():
  with _make_pool(step_timeout_s=0.3) as pool:
    _open(pool, "a")
    begin = time.monotonic()
    fault = _play(pool, "a", "hang")
    assert "step took more than 0.3 s (pool.step_timeout_s)" in fault.reason
    assert time.monotonic() - begin < 5.0
    pool.release("a")
    assert _open(pool, "a").text == "t0 start"


def test_a_hanging_reset_is_killed_and_waiting_episodes_are_not_lost():
  with _make_pool(envs_per_worker=2, reset_timeout_s=0.5) as pool:
    pool.start("a", fake_envs.task("hang"))
    pool.start("b", fake_envs.task("t1"))  # queued behind 'a' in the same worker
    answers = {}
    while len(answers) < 2:
      answers.update(pool.poll(30.0))
    assert "reset took more than 0.5 s" in answers["a"].reason
    assert answers["b"].text == "t1 start"


def test_a_worker_goes_on_while_the_caller_is_away():
  with _make_pool(envs_per_worker=4) as pool:
    tickets = ["a", "b", "c", "d"]
    for ticket in tickets:
      _open(pool, ticket)
    for ticket in tickets:
      pool.step(ticket, "sleep 0.05")
    time.sleep(2.0)  # the caller computes; all four are answered meanwhile
    assert [ticket for ticket, _ in pool.poll(0.0)] == tickets


def test_a_time_out_measures_one_request_not_the_queue():
  with _make_pool(envs_per_worker=4, step_timeout_s=1.0) as pool:
    for ticket in "abcd":
      _open(pool, ticket)
    for ticket in "abcd":
      pool.step(ticket, "sleep 0.4")  # 1.6 s in all, 0.4 s each
    answers = {}
    while len(answers) < 4:
      answers.update(pool.poll(60.0))
    assert not any(isinstance(answer, Fault) for answer in answers.values())


def test_huge_actions_do_not_block_the_pipe():
  with _make_pool(envs_per_worker=8) as pool:
    for number in range(8):
      _open(pool, str(number))
    for number in range(8):
      pool.step(str(number), "x" * 100_000)
    answers = {}
    while len(answers) < 8:
      answers.update(pool.poll(60.0))
    assert {len(answer.text) for answer in answers.values()} == {len("t0 1 ") + 100_000}


@pytest.mark.parametrize(
  "garbage",
  ["\x00\x01 no json", "[1, 2]", '{"number": 999, "observation": {}}', '{"ready": 1}'],
)
def test_garbage_on_the_pipe_is_a_fault(garbage):
  with _make_pool() as pool:
    _open(pool, "a")
    assert isinstance(_play(pool, "a", f"write {garbage}"), Fault)
    pool.release("a")
    assert _open(pool, "a").text == "t0 start"


@pytest.mark.parametrize(
  ("action", "reason"),
  [
    ("half", "garbage"),
    ("huge", "endless message"),
    ("nested", "garbage"),
    ("wrong shape", "nobody asked"),
    ("exit", "SystemExit"),
    ("bytes", "not JSON serializable"),
    ("loop in C", "step took more than 3.0 s"),
    ("stopped", "step took more than 3.0 s"),
    ("deaf", "step took more than 3.0 s"),
  ],
)
def test_trouble_of_every_kind_is_a_fault(action, reason):
  before = _children()
  with _make_pool(step_timeout_s=3.0) as pool:
    _open(pool, "a")
    assert reason in _play(pool, "a", action).reason
    pool.release("a")
    assert _open(pool, "a").text == "t0 start"
    assert pool.counts == {"episodes": 2, "faults": 1, "restarts": 1, "recycles": 0}
  assert _children() == before


def test_what_an_engine_prints_is_no_answer():
  with _make_pool() as pool:
    _open(pool, "a")
    assert _play(pool, "a", "noise").text == "t0 1 noise"
    assert _play(pool, "a", "x").text == "t0 2 x"


@pytest.mark.parametrize(
  ("action", "reason"), [("nan", "reward is nan"), ("surrogate", "no Unicode")]
)
def test_an_answer_that_would_poison_its_reader_is_a_fault(any_pool, action, reason):
  _open(any_pool, "a")
  assert reason in _play(any_pool, "a", action).reason
  any_pool.release("a")
  assert "max_turns=0" in _open(any_pool, "a", "endless").reason
  any_pool.release("a")
  assert _open(any_pool, "a").text == "t0 start"
  assert any_pool.counts["faults"] == 2


def test_an_engine_that_exits_does_not_end_an_inline_run():
  with _make_pool(num_workers=0) as pool:
    _open(pool, "a")
    assert "SystemExit" in _play(pool, "a", "exit").reason


def _answers(pool: EnvPool, num: int) -> dict:
  answers = {}
  while len(answers) < num:
    answers.update(pool.poll(30.0))
  return answers


@pytest.mark.parametrize("num_workers", [0, 2])
def test_an_unplayable_task_is_tried_once_and_costs_no_worker(
  num_workers, tmp_path, monkeypatch
):
  monkeypatch.setenv("FAKE_ENV_COUNTS", str(tmp_path))
  with _make_pool(num_workers=num_workers, envs_per_worker=8) as pool:
    for number in range(4):
      pool.start(f"bad{number}", fake_envs.task("unplayable"))
    pool.start("good", fake_envs.task("t1"))
    answers = _answers(pool, 5)
    assert answers.pop("good").text == "t1 start"
    reason = "games/unplayable: damaged; copy it again"
    assert {answer.reason for answer in answers.values()} == {reason}
    for number in range(4):
      pool.release(f"bad{number}")
    assert _open(pool, "again", "unplayable").reason == reason
    assert _play(pool, "good", "x").text == "t1 1 x"
    assert pool.counts == {"episodes": 6, "faults": 5, "restarts": 0, "recycles": 0}
  assert len((tmp_path / "unplayable").read_text().split()) == 1


def test_a_task_that_breaks_workers_breaks_two_and_not_a_whole_group(
  tmp_path, monkeypatch
):
  monkeypatch.setenv("FAKE_ENV_COUNTS", str(tmp_path))
  with _make_pool(num_workers=2, envs_per_worker=4) as pool:
    for number in range(6):
      pool.start(f"bad{number}", fake_envs.task("kill"))
    answers = _answers(pool, 6)
    assert all(isinstance(answer, Fault) for answer in answers.values())
    assert sum("signal 9" in answer.reason for answer in answers.values()) == 2
    assert sum("not tried: 2 resets" in a.reason for a in answers.values()) == 4
    assert pool.counts["faults"] == 6
    for number in range(6):
      pool.release(f"bad{number}")
    assert _open(pool, "good", "t1").text == "t1 start"
  assert len((tmp_path / "kill").read_text().split()) == 2


def test_the_first_reset_of_a_task_goes_ahead_alone():
  with _make_pool(num_workers=2, envs_per_worker=4) as pool:
    for number in range(4):
      pool.start(f"a{number}", fake_envs.task("t0"))
    backend = pool._backend
    assert len(backend._waiting) == 3
    assert {answer.text for answer in _answers(pool, 4).values()} == {"t0 start"}
    for number in range(4):
      pool.release(f"a{number}")
    for number in range(4):  # it is known now
      pool.start(f"b{number}", fake_envs.task("t0"))
    assert not backend._waiting
    assert len(_answers(pool, 4)) == 4


def test_waiting_for_environments_is_measured(any_pool):
  _open(any_pool, "a")
  before = any_pool.waited_s
  time.sleep(0.3)  # the caller computes
  assert any_pool.poll(0.0) == []
  assert any_pool.waited_s - before < 0.1
  begin = time.perf_counter()
  _play(any_pool, "a", "sleep 0.4")
  assert 0.4 <= any_pool.waited_s - before <= time.perf_counter() - begin + 0.1


def test_a_large_answer_is_read_whole_after_a_long_absence():
  with _make_pool(step_timeout_s=0.5) as pool:
    _open(pool, "a")
    pool.step("a", "x" * 800_000)  # more than a pipe holds
    time.sleep(2.0)
    assert len(_poll_one(pool)[1].text) == len("t0 1 ") + 800_000


def test_a_recycled_worker_that_does_not_exit_is_killed(monkeypatch):
  monkeypatch.setattr(workers, "_EXIT_GRACE_S", 0.3)
  make = fake_envs.make_slow_to_close
  with EnvPool(make, num_workers=1, envs_per_worker=1, recycle_after_episodes=1) as pool:
    _open(pool, "a")
    pid = int(_play(pool, "a", "pid").text)
    pool.release("a")
    _wait_until_gone([pid], lambda: pool.poll(0.0))


def test_what_an_engine_started_ends_with_its_worker():
  with _make_pool(num_workers=2) as pool:
    pids = []
    for ticket in ("a", "b"):
      _open(pool, ticket)
      pids.append(int(_play(pool, ticket, "child").text))
    assert isinstance(_play(pool, "a", "killed"), Fault)
    _wait_until_gone(pids[:1])
    assert _exists(pids[1])
  _wait_until_gone(pids)


def test_an_observation_of_the_wrong_type_is_a_fault():
  with _make_pool() as pool:
    _open(pool, "a")
    assert "success='yes'" in _play(pool, "a", "odd").reason


def test_a_late_answer_never_reaches_a_new_episode():
  with _make_pool() as pool:
    _open(pool, "a", "old")
    pool.step("a", "sleep 0.5")
    pool.release("a")  # the worker is still at it
    pool.start("a", fake_envs.task("new"))
    assert _poll_one(pool)[1].text == "new start"
    assert _play(pool, "a", "x").text == "new 1 x"


def test_late_answers_inline():
  with _make_pool(num_workers=0) as pool:
    pool.start("a", fake_envs.task("old"))
    pool.release("a")
    pool.start("a", fake_envs.task("new"))
    assert [o.text for _, o in pool.poll(0.0)] == ["new start"]


def test_workers_are_recycled_between_episodes():
  with _make_pool(recycle_after_episodes=2) as pool:
    pids = []
    for number in range(5):
      _open(pool, "a", f"t{number}")
      pids.append(_play(pool, "a", "pid").text)
      assert _play(pool, "a", "x").text == f"t{number} 2 x"
      pool.release("a")
    assert pids[0] == pids[1] != pids[2] == pids[3] != pids[4]
    assert pool.counts == {"episodes": 5, "faults": 0, "restarts": 0, "recycles": 2}
    end = time.monotonic() + 10.0
    while _exists(int(pids[0])) and time.monotonic() < end:
      pool.poll(0.0)
      time.sleep(0.05)
    assert not _exists(int(pids[0]))


def test_recycling_does_not_cut_an_open_episode():
  with _make_pool(envs_per_worker=2, recycle_after_episodes=2) as pool:
    _open(pool, "a", "t0")
    _open(pool, "b", "t1")  # the second episode retires the worker
    pool.release("b")
    _open(pool, "c", "t2")  # in the new worker
    assert _play(pool, "c", "pid").text != _play(pool, "a", "pid").text
    assert _play(pool, "a", "x").text == "t0 2 x"


def test_close_leaves_no_process_and_closes_environments(tmp_path, monkeypatch):
  monkeypatch.setenv("FAKE_ENV_CLOSED", str(tmp_path))
  pool = _make_pool(num_workers=2, step_timeout_s=60.0)
  _open(pool, "a")
  _open(pool, "b")
  pids = [int(_play(pool, ticket, "pid").text) for ticket in ("a", "b")]
  pool.step("b", "hang")
  pool.close()
  pool.close()
  assert not any(map(_exists, pids))  # a zombie would still have its /proc entry
  assert (tmp_path / f"closed-{pids[0]}").exists()
  with pytest.raises(ValueError, match="closed"):
    pool.start("c", fake_envs.task())


def test_no_process_survives_the_interpreter():
  code = """
    from skilljax.envs.pool import EnvPool
    from tests.envs import fake_envs
    pool = EnvPool(fake_envs.CountingEnv, num_workers=2, envs_per_worker=1)
    pool.start("a", fake_envs.task())
    while not pool.poll(30.0):
      pass
    pool.step("a", "pid")
    print(pool.poll(30.0)[0][1].text)
  """
  paths = os.pathsep.join(path for path in sys.path if path)
  done = subprocess.run(
    [sys.executable, "-c", textwrap.dedent(code)],
    env={**os.environ, "PYTHONPATH": paths},
    capture_output=True,
    text=True,
    timeout=60,
    check=True,
  )
  assert not _exists(int(done.stdout))


@pytest.mark.parametrize("trouble", ["loop in C", "stopped", "deaf"])
@pytest.mark.parametrize(
  "ending",
  [
    "os.kill(os.getpid(), signal.SIGKILL)",
    "os.kill(os.getpid(), signal.SIGINT)",
    "os._exit(3)",
    "raise ValueError",
  ],
)
def test_no_process_survives_whatever_ends_its_parent(ending, trouble):
  code = f"""
    import os, signal
    from skilljax.envs.pool import EnvPool
    from tests.envs import fake_envs
    signal.signal(signal.SIGINT, signal.default_int_handler)  # as in a terminal
    pool = EnvPool(fake_envs.CountingEnv, num_workers=2, envs_per_worker=1)
    def play(ticket, action):
      pool.step(ticket, action)
      return pool.poll(60.0)[0][1].text
    for ticket in "ab":
      pool.start(ticket, fake_envs.task())
      while not pool.poll(60.0):
        pass
    pids = [play(t, a) for t in "ab" for a in ("pid", "child")]
    print(*pids, pool._backend._guard.pid, flush=True)
    pool.step("a", "{trouble}")
    pool.poll(0.5)
    {ending}
  """
  paths = os.pathsep.join(path for path in sys.path if path)
  done = subprocess.run(
    [sys.executable, "-c", textwrap.dedent(code)],
    env={**os.environ, "PYTHONPATH": paths},
    stdout=subprocess.PIPE,
    stderr=subprocess.DEVNULL,
    text=True,
    timeout=120,
    check=False,
  )
  assert done.returncode != 0
  pids = [int(pid) for pid in done.stdout.split()]
  assert len(pids) == 5
  _wait_until_gone(pids)


@pytest.mark.parametrize(
  ("name", "value"),
  [("num_workers", -1), ("envs_per_worker", 0), ("step_timeout_s", 0.0)],
)
def test_bad_arguments_name_the_key(name, value):
  with pytest.raises(ValueError, match=f"{name}={value} .*pool.{name}"):
    _make_pool(**{name: value})
