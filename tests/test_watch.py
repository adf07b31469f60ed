"""The watch over other hosts, on a table that stands in for the coordinator's."""

import json
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
  monkeypatch.setattr(watch, "_explain_aborts", lambda: None)
  ended = []
  watcher = watch.Watcher(1, 3, quiet_s=0.3, hang_s=0.6, end=ended.append)
  yield watcher, ended
  watcher.close()


def wait_for(ended, seconds=3.0):
  end = time.monotonic() + seconds
  while not ended and time.monotonic() < end:
    time.sleep(0.01)
  return ended[0] if ended else ""


def keep_alive(table, hosts, seconds, *, moving, waiting=False):
  end, life = time.monotonic() + seconds, 0
  while time.monotonic() < end:
    life += 1
    for host in hosts:
      progress = life if host in moving else 0
      table.write(host, life=life, progress=progress, waiting=waiting)
    time.sleep(0.02)


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


def test_a_host_that_lives_and_does_nothing_hangs(table, watched):
  watcher, ended = watched
  watcher.start()
  keep_alive(table, (0, 2), 1.4, moving=(2,))
  assert wait_for(ended).startswith("host 0 hangs: no progress")


def test_a_host_that_waits_for_others_does_not_hang(table, watched):
  watcher, ended = watched
  watcher.start()
  keep_alive(table, (0, 2), 1.4, moving=(), waiting=True)
  assert not ended


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


def test_progress_and_waiting_are_told(table, watched):
  watcher, _ = watched
  watcher.start()
  with watcher.waiting():
    watcher.tick()
    time.sleep(0.1)
    state = json.loads(table.rows["skilljax/watch/1"])
    assert state["waiting"] and state["progress"] == 1
  time.sleep(0.1)
  state = json.loads(table.rows["skilljax/watch/1"])
  assert not state["waiting"] and state["progress"] == 2
  watcher.say_goodbye("KeyboardInterrupt: ")
  assert json.loads(table.rows["skilljax/watch/1"]) == {"ended": "KeyboardInterrupt: "}
