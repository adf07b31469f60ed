"""Notices that another host has died, ended or hangs, and ends this one.

Each host writes two numbers into the coordinator's table: signs of life, from a thread
of its own, and progress, which only its main thread makes. A host without signs of life
is gone; one whose progress stands still while it is not waiting for others hangs.

Must not know about: what the hosts compute.
"""

import contextlib
import ctypes
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator

_PERIOD_S = 1.0
_ROOT = "skilljax/watch"


class Watcher:
  """Watches from a thread; ends the process where another host fails."""

  def __init__(
    self,
    index: int,
    count: int,
    *,
    quiet_s: float,
    hang_s: float,
    end: Callable[[str], None] | None = None,
  ):
    """Needs `jax.distributed.initialize` before it.

    Args:
      index: of this host.
      count: hosts.
      quiet_s: without a sign of life for so long, a host is gone.
      hang_s: without progress for so long, and not waiting, it hangs.
      end: called with the message; by default it prints it and ends the process.
    """
    from jax._src import distributed  # the only door to the coordinator's table

    self._client = distributed.global_state.client
    self._index, self._count = index, count
    self._quiet_s, self._hang_s = quiet_s, hang_s
    self._end = end or _print_and_exit
    self._progress, self._waiting = 0, 0
    now = time.monotonic()
    # host -> (what it wrote last, when that changed: life, progress)
    self._seen = {other: ({}, now, now) for other in range(count) if other != index}
    self._closed = threading.Event()
    self._answers = 0  # of the coordinator

  def start(self) -> None:
    """Begins to watch and to be watched."""
    if self._index != 0:
      _explain_aborts()
      threading.Thread(target=self._watch_coordinator, daemon=True).start()
    threading.Thread(target=self._watch, daemon=True).start()

  def tick(self) -> None:
    """The main thread makes progress."""
    self._progress += 1

  @contextlib.contextmanager
  def waiting(self) -> Iterator[None]:
    """The main thread waits for other hosts."""
    self._waiting += 1
    try:
      yield
    finally:
      self._waiting -= 1
      self._progress += 1

  def find_out(self) -> None:
    """Waits as long as it may take the watching thread to name who is gone, and end."""
    with self.waiting():
      time.sleep(self._quiet_s + 10 * _PERIOD_S)

  def say_goodbye(self, reason: str) -> None:
    """Tells the others why this host ends; never raises."""
    self._closed.set()
    with contextlib.suppress(Exception):
      self._write({"ended": reason})

  def close(self) -> None:
    """This host has finished: its silence means nothing from now on."""
    self._closed.set()
    with contextlib.suppress(Exception):
      self._write({"finished": True})

  def _watch(self) -> None:
    life = 0
    while not self._closed.wait(_PERIOD_S):
      life += 1
      state = {"life": life, "progress": self._progress, "waiting": self._waiting > 0}
      try:
        self._write(state)
        rows = {
          int(key.rpartition("/")[2]): json.loads(value)
          for key, value in self._client.key_value_dir_get(_ROOT)
        }
      except Exception as error:
        if not self._closed.is_set():
          reason = str(error).splitlines()[0][:200]
          self._end(f"host 0, which coordinates, cannot be reached: {reason}")
        return
      self._answers += 1
      if problem := self._problem(rows, time.monotonic()):
        self.say_goodbye(problem)
        if self._index == 0:
          time.sleep(3 * _PERIOD_S)  # the table goes with this host: let others read it
        self._end(problem)
        return

  def _watch_coordinator(self) -> None:
    """A host 0 that is frozen, or whose network is, keeps `_watch` waiting for ever."""
    silent = 0
    while not self._closed.wait(_PERIOD_S):
      before, self._answers = self._answers, 0
      # Periods, not a clock: a process that was held up itself accuses nobody.
      silent = 0 if before else silent + 1
      if silent * _PERIOD_S > self._quiet_s + 2 * _PERIOD_S:
        self._end(
          "host 0, which coordinates, is gone: it has not answered for "
          f"{self._quiet_s:.0f} s"
        )
        return

  def _write(self, state: dict) -> None:
    key = f"{_ROOT}/{self._index}"
    self._client.key_value_set(key, json.dumps(state), allow_overwrite=True)

  def _problem(self, rows: dict[int, dict], now: float) -> str:
    """What is wrong with another host; '' if nothing is."""
    for other, (before, life_at, progress_at) in self._seen.items():
      row = rows.get(other, {})
      if "ended" in row:
        return f"host {other} ended: {row['ended']}"
      if row.get("life") != before.get("life") or "finished" in row:
        life_at = now
      moved = row.get("progress") != before.get("progress")
      if moved or row.get("waiting") or "finished" in row:
        progress_at = now
      self._seen[other] = (row, life_at, progress_at)
      if now - life_at > self._quiet_s:
        return f"host {other} is gone: no sign of life for {self._quiet_s:.0f} s"
      if now - progress_at > self._hang_s:
        return f"host {other} hangs: no progress for {self._hang_s:.0f} s (flag --hang_s)"
    return ""


def _print_and_exit(message: str) -> None:
  print(
    f"skilljax: {message}. This host ends too; start the same command again on all "
    "hosts: it goes on from the last checkpoint.",
    file=sys.stderr,
    flush=True,
  )
  os._exit(1)


def _explain_aborts() -> None:
  """JAX aborts a process as soon as host 0 is gone, in C++ and in its own words."""

  @ctypes.CFUNCTYPE(None, ctypes.c_int)
  def explain(number: int) -> None:
    del number
    text = (
      "skilljax: JAX has aborted this host. Where its message above speaks of the leader "
      "task, host 0 is gone; start the same command again on all hosts: it goes on from "
      "the last checkpoint.\n"
    )
    os.write(2, text.encode())
    os._exit(1)

  _KEPT.append(explain)  # C code holds the address only
  ctypes.CDLL(None).signal(signal.SIGABRT, explain)


_KEPT: list[object] = []
