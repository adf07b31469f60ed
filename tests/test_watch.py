"""The watch over other hosts, on a table that stands in for the coordinator's."""

import json
import socket
import threading
import time

import pytest

from skilljax import watch


class Table:
  """The coordinator's key-value table, in this process."""

  def __init__(self):
    self.rows = {}
    self.broken = False
    self.frozen = threading.Event()
    self.frozen.set()

  def key_value_set(self, key, value, allow_overwrite=False):
    assert allow_overwrite
    self.rows[key] = value

  def key_value_dir_get(self, prefix):
    self.frozen.wait(10)
    if self.broken:
      raise RuntimeError("UNAVAILABLE: socket closed\nmore")
    return [(key, value) for key, value in self.rows.items() if key.startswith(prefix)]

  def write(self, index, **state):
    self.rows[f"skilljax/watch/{index}"] = json.dumps(state)


@pytest.fixture
def table(monkeypatch):
  from jax._src import distributed

  monkeypatch.setattr(watch, "_PERIOD_S", 0.02)
  found = Table()
  monkeypatch.setattr(distributed.global_state, "client", found)
  return found


@pytest.fixture
def watched(table, monkeypatch):
  """(watcher of host 1 of 3, messages with which it ended)."""
  monkeypatch.setattr(watch, "on_abort", lambda explain: None)
  ended = []
  limits = watch.Limits(quiet_s=0.3, hang_s=0.6, start_s=2.0, save_s=1.2, wait_s=0.9)
  watcher = watch.Watcher(1, 3, limits=limits, end=ended.append)
  yield watcher, ended
  watcher.close()


def wait_for(ended, seconds=3.0):
  end = time.monotonic() + seconds
  while not ended and time.monotonic() < end:
    time.sleep(0.01)
  return ended[0] if ended else ""


def work(progress=0, *, phase=watch.STEADY, waiting=""):
  """A row's part of the main thread, as a host with the limits of `watched` writes it."""
  flag, limit_s = {
    (watch.START, False): ("start_s", 2.0),
    (watch.STEADY, False): ("hang_s", 0.6),
    (watch.SAVE, False): ("save_s", 1.2),
    (watch.SAVE, True): ("save_s", 1.2),
    (watch.STEADY, True): ("wait_s", 0.9),
    (watch.START, True): ("start_s", 2.0),
  }[phase, bool(waiting)]
  return {
    **{"progress": progress, "waiting": waiting, "phase": phase},
    **{"limit_s": limit_s, "flag": flag},
  }


def keep_alive(table, hosts, seconds, *, moving, until=(), **state):
  """Writes rows of living hosts; those of `moving` make progress, the others `state`."""
  begin, life = time.monotonic(), 0
  while time.monotonic() < begin + seconds and not until:
    life += 1
    for host in hosts:
      row = work(life) if host in moving else work(**state)
      table.write(host, life=life, work=row)
    time.sleep(0.02)
  return time.monotonic() - begin


def test_hosts_that_live_and_move_are_left_alone(table, watched):
  watcher, ended = watched
  watcher.start()
  keep_alive(table, (0, 2), 1.2, moving=(0, 2))
  assert not ended
  assert json.loads(table.rows["skilljax/watch/1"])["life"] > 10


def test_a_host_without_a_sign_of_life_is_named(table, watched):
  watcher, ended = watched
  watcher.start()
  keep_alive(table, (0,), 1.0, moving=(0,))
  assert wait_for(ended).startswith("host 2 is gone: no sign of life")


def test_a_coordinator_that_is_frozen_is_named(table, watched):
  watcher, ended = watched
  watcher.start()
  keep_alive(table, (0, 2), 0.4, moving=(0, 2))
  assert not ended
  table.frozen.clear()
  begin = time.monotonic()
  assert wait_for(ended).startswith("host 0, which coordinates, is gone")
  assert time.monotonic() - begin > 0.3
  table.frozen.set()


@pytest.mark.parametrize(
  ("phase", "least", "said"),
  [
    (watch.STEADY, 0.6, "for 0.6 s while it is in the run (flag --hang_s)"),
    (watch.SAVE, 1.2, "for 1.2 s while it is saving (flag --save_s)"),
    (watch.START, 2.0, "for 2 s while it is starting (flag --start_s)"),
  ],
)
def test_a_host_that_lives_and_does_nothing_hangs(table, watched, phase, least, said):
  watcher, ended = watched
  watcher.start()
  took = keep_alive(table, (0, 2), 5.0, moving=(2,), until=ended, phase=phase)
  assert ended == [f"host 0 hangs: no progress {said}"]
  assert least < took < least + 1.0


def test_a_host_that_waits_for_one_that_moves_does_not_hang(table, watched):
  watcher, ended = watched
  watcher.start()
  watcher.enter(watch.STEADY)
  with watcher.waiting():
    keep_alive(table, (0, 2), 1.5, moving=(2,), waiting=watch.EXCHANGE)
  assert not ended


def test_hosts_that_all_wait_for_each_other_end(table, watched):
  watcher, ended = watched
  watcher.start()
  watcher.enter(watch.STEADY)
  with watcher.waiting():
    took = keep_alive(table, (0, 2), 5.0, moving=(), until=ended, waiting=watch.EXCHANGE)
  assert ended == [
    "all hosts wait for each other in an exchange: no progress for 0.9 s (flag --wait_s)"
  ]
  assert 0.9 < took < 1.9


@pytest.mark.parametrize("phase", [watch.STEADY, watch.START])
def test_the_second_wait_may_not_take_as_long_as_the_first(table, watched, phase):
  watcher, ended = watched
  watcher.start()
  watcher.enter(phase)
  with watcher.waiting(watch.LEARNING):
    pass
  watcher.enter(watch.STEADY)
  keep_alive(table, (0, 2), 0.1, moving=(0, 2))
  with watcher.waiting(watch.LEARNING):
    took = keep_alive(table, (0, 2), 5.0, moving=(), until=ended, waiting=watch.LEARNING)
  assert ended == [
    "all hosts wait for each other in an optimiser step: no progress for 0.6 s (far "
    "longer than ever before, flag --hang_s)"
  ]
  assert 0.6 < took < 0.9


FAR_LONGER, WAIT = "far longer than ever before, flag --hang_s", "flag --wait_s"
RUN, START, SAVE = watch.STEADY, watch.START, watch.SAVE


@pytest.mark.parametrize(
  ("before", "may_s", "why"),
  [
    ((), 600, WAIT),
    (((RUN, 2),), 40, FAR_LONGER),  # never less than hang_s
    (((RUN, 30), (RUN, 20)), 120, FAR_LONGER),  # four times
    (((RUN, 200),), 600, WAIT),  # never more than wait_s
    (((START, 50), (SAVE, 3)), 200, FAR_LONGER),  # better than nothing
    (((START, 100), (RUN, 15), (SAVE, 100)), 60, FAR_LONGER),  # what ran knows best
  ],
)
def test_a_wait_may_take_four_times_the_longest_before(before, may_s, why):
  host = watch.Seen({}, 0.0, 0.0)
  together = watch.Together()

  def see(progress, now, **state):
    limits = {"limit_s": 600, "flag": "wait_s"}
    host.update({"life": now, "work": work(progress, **state) | limits}, now)
    together.see([host], now)
    return together.problem([host], hang_s=40, now=now)

  now = 0
  for progress, (phase, seconds) in enumerate(before):
    assert not see(2 * progress, now, phase=phase, waiting=watch.LEARNING)
    now += seconds
    assert not see(2 * progress + 1, now, phase=phase)
    now += 5
  assert not see(99, now, waiting=watch.LEARNING)
  assert not see(99, now + may_s, waiting=watch.LEARNING)
  problem = see(99, now + may_s + 1, waiting=watch.LEARNING)
  assert problem == (
    "all hosts wait for each other in an optimiser step: "
    f"no progress for {may_s} s ({why})"
  )


def test_a_wait_says_nothing_about_those_of_another_kind(table, watched):
  watcher, ended = watched
  watcher.start()
  watcher.enter(watch.STEADY)
  with watcher.waiting(watch.EXCHANGE):
    keep_alive(table, (0, 2), 0.1, moving=(), waiting=watch.EXCHANGE)
  with watcher.waiting(watch.LEARNING):
    keep_alive(table, (0, 2), 0.8, moving=(), waiting=watch.LEARNING)
  assert not ended


def test_while_hosts_start_they_may_wait_for_each_other_for_longer(table, watched):
  watcher, ended = watched
  watcher.start()
  with watcher.waiting():  # in the phase that a host begins with
    keep_alive(table, (0, 2), 1.5, moving=(), waiting=watch.EXCHANGE)
  assert not ended


def test_what_waits_and_what_a_phase_may_take():
  limits = watch.Limits(hang_s=1, start_s=7, save_s=2, wait_s=3)
  assert limits.of(watch.STEADY, waiting=False) == (1, "hang_s")
  assert limits.of(watch.STEADY, waiting=True) == (3, "wait_s")
  assert limits.of(watch.SAVE, waiting=False) == (2, "save_s")
  assert limits.of(watch.SAVE, waiting=True) == (3, "wait_s")
  assert limits.of(watch.START, waiting=True) == (7, "start_s")
  # What a run promises: the others end within 60 s, a moment of theirs included.
  default = watch.Limits()
  assert max(default.quiet_s, default.hang_s) + 10 <= 60
  with pytest.raises(ValueError, match=r"hang_s=0 must be > 0 \(flag --hang_s\)"):
    watch.Limits(hang_s=0)


def test_an_address_is_answered_while_somebody_listens():
  with socket.socket() as server:
    server.bind(("127.0.0.1", 0))
    server.listen()
    address = f"127.0.0.1:{server.getsockname()[1]}"
    assert watch.is_answered(address)
  assert not watch.is_answered(address)


def test_a_goodbye_is_passed_on_and_a_finish_is_none(table, watched):
  watcher, ended = watched
  watcher.start()
  table.write(0, finished=True)
  keep_alive(table, (2,), 1.0, moving=(2,))
  assert not ended
  table.write(2, ended="ValueError: no such game")
  assert wait_for(ended) == "host 2 ended: ValueError: no such game"
  # Others learn from us why we end.
  told = json.loads(table.rows["skilljax/watch/1"])
  assert told == {"ended": "host 2 ended: ValueError: no such game"}


def test_without_the_coordinator_host_0_is_gone(table, watched):
  watcher, ended = watched
  table.broken = True
  watcher.start()
  assert wait_for(ended) == (
    "host 0, which coordinates, cannot be reached: UNAVAILABLE: socket closed"
  )


def test_progress_waiting_and_phase_are_told(table, watched):
  watcher, _ = watched
  watcher.start()

  def told():
    time.sleep(0.1)
    return json.loads(table.rows["skilljax/watch/1"])["work"]

  with watcher.waiting():
    watcher.tick()
    assert told() == {
      **{"progress": 1, "waiting": watch.EXCHANGE, "phase": watch.START},
      **{"limit_s": 2.0, "flag": "start_s"},
    }
  assert watcher.enter(watch.STEADY) == watch.START
  assert told() == work(3)
  watcher.say_goodbye("KeyboardInterrupt: ")
  assert json.loads(table.rows["skilljax/watch/1"]) == {"ended": "KeyboardInterrupt: "}
