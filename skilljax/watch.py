"""Notices that another host has died, ended or hangs, and ends this one.

Each host writes a row into the coordinator's table: signs of life, from a thread of its
own, and what only its main thread changes: progress, its phase, whether it waits for
others. A host without signs of life is gone. One that stands still for longer than its
phase may take hangs; so do all of them together, where every one waits for the others for
much longer than they ever did before.

Must not know about: what the hosts compute.
"""

import contextlib
import ctypes
import dataclasses
import json
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence

# Exit status of a process that ends because another host failed: nothing is wrong with
# its own command, which can be started again. Errors of its own end it with 1.
OTHER_HOST_FAILED = 42
# Phases of a main thread, in the words of messages.
START, STEADY, SAVE = "starting", "in the run", "saving"
# What hosts wait for together, in the words of messages.
EXCHANGE, LEARNING = "an exchange", "an optimiser step"
_PERIOD_S = 1.0
# All hosts hang once they have waited this many times as long as ever before.
_LONGER = 4.0
_ROOT = "skilljax/watch"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Limits:
  """How long what may take, in seconds; each is a flag of every command.

  Attributes:
    join_s: until all hosts have joined.
    quiet_s: without a sign of life; then a host is gone.
    start_s: without progress while a host reads, compiles or makes the first update, or
      works for all of them (a tokenizer, a teacher's answers); then it hangs.
    hang_s: without progress after that.
    save_s: without progress while it writes records, checkpoints or the result.
    wait_s: that all hosts wait for each other, an exchange or a learner's step; while
      they start or save, as long as that may take if it is longer. In the run, once there
      was such a wait: four times the longest, at least `hang_s`. Waits outside of the
      run, which may have compiled, count until there is one of the run.
  """

  join_s: float = 120.0
  quiet_s: float = 20.0
  start_s: float = 1800.0
  hang_s: float = 40.0
  save_s: float = 900.0
  wait_s: float = 600.0

  def __post_init__(self):
    for name, value in vars(self).items():
      if not value > 0:
        raise ValueError(f"{name}={value} must be > 0 (flag --{name})")

  def of(self, phase: str, *, waiting: bool) -> tuple[float, str]:
    """(seconds that a main thread may stand still, the flag that says so)."""
    name = {START: "start_s", STEADY: "hang_s", SAVE: "save_s"}[phase]
    if waiting and (phase == STEADY or vars(self)[name] < self.wait_s):
      name = "wait_s"
    return vars(self)[name], name


@dataclasses.dataclass
class Seen:
  """What is known of a host: its newest row, when its life and its work last changed."""

  row: dict
  life_at: float
  work_at: float

  def update(self, row: dict, now: float) -> None:
    """Takes a row that was read at `now`, in seconds."""
    if row.get("life") != self.row.get("life"):
      self.life_at = now
    if row.get("work") != self.row.get("work"):
      self.work_at = now
    self.row = row


class Together:
  """Waits in which all hosts stand: since when, and how long they took before."""

  def __init__(self):
    # Of those that ended, the longest by kind: in the run, and in any other phase, where
    # they may have compiled or read. The latter count until there is one of the former.
    self._longest: dict[bool, dict[str, float]] = {True: {}, False: {}}
    self._now: tuple[frozenset[str], float, bool] | None = None

  def ended(self, what: str, *, steady: bool) -> None:
    """A wait of this kind ended, perhaps too short to be seen."""
    self._longest[steady].setdefault(what, 0.0)

  def see(self, running: Sequence[Seen], now: float) -> None:
    """Takes note of the newest rows."""
    found = None
    works = [seen.row.get("work", {}) for seen in running]
    if works and all(work.get("waiting") for work in works):
      steady = all(work["phase"] == STEADY for work in works)
      kinds = frozenset(work["waiting"] for work in works)
      found = kinds, max(seen.work_at for seen in running), steady
    if self._now is not None and found != self._now:
      kinds, since, steady = self._now
      longest = self._longest[steady]
      longest |= {kind: max(now - since, longest.get(kind, 0.0)) for kind in kinds}
    self._now = found

  def problem(self, running: Sequence[Seen], hang_s: float, now: float) -> str:
    """What is wrong if they have stood there for too long; '' if they have not."""
    if self._now is None:
      return ""
    kinds, since, steady = self._now
    work = max((seen.row["work"] for seen in running), key=lambda work: work["limit_s"])
    limit_s, why = work["limit_s"], f"flag --{work['flag']}"
    known = {**self._longest[False], **self._longest[True]}
    if steady and kinds <= known.keys():
      usual_s = max(hang_s, _LONGER * max(known[kind] for kind in kinds))
      if usual_s < limit_s:
        limit_s, why = usual_s, "far longer than ever before, flag --hang_s"
    if now - since <= limit_s:
      return ""
    return (
      f"all hosts wait for each other in {' and '.join(sorted(kinds))}: no progress for "
      f"{limit_s:.3g} s ({why})"
    )


class Watcher:
  """Watches from a thread; ends the process where another host fails."""

  def __init__(
    self,
    index: int,
    count: int,
    *,
    limits: Limits,
    end: Callable[[str], None] | None = None,
  ):
    """Needs `jax.distributed.initialize` before it.

    Args:
      index: of this host.
      count: hosts.
      limits: how long what may take.
      end: called with the message; by default it prints it and ends the process with
        status `OTHER_HOST_FAILED`.
    """
    from jax._src import distributed  # the only door to the coordinator's table

    self._client = distributed.global_state.client
    self._address = distributed.global_state.coordinator_address
    self._index, self._limits = index, limits
    self._end = end or end_because
    self._progress, self._waiting, self._phase = 0, "", START
    now = time.monotonic()
    self._seen = {host: Seen({}, now, now) for host in range(count)}
    self._together = Together()
    self._closed = threading.Event()
    self._answers = 0  # of the coordinator

  def start(self) -> None:
    """Begins to watch and to be watched."""
    on_abort(self._explain_abort)
    if self._index != 0:
      threading.Thread(target=self._watch_coordinator, daemon=True).start()
    threading.Thread(target=self._watch, daemon=True).start()

  def tick(self) -> None:
    """The main thread makes progress."""
    self._progress += 1

  def enter(self, phase: str) -> str:
    """The main thread begins a phase; returns the one that it was in."""
    before, self._phase = self._phase, phase
    self._progress += 1
    return before

  @contextlib.contextmanager
  def waiting(self, what: str = EXCHANGE) -> Iterator[None]:
    """The main thread waits for other hosts; within another wait, this is that wait."""
    before = self._waiting
    self._waiting = before or what
    try:
      yield
    finally:
      self._together.ended(self._waiting, steady=self._phase == STEADY)
      self._waiting = before
      self._progress += 1

  def find_out(self) -> None:
    """Waits as long as it may take the watching thread to name who is gone, and end."""
    with self.waiting():
      time.sleep(self._limits.quiet_s + 10 * _PERIOD_S)

  def say_goodbye(self, reason: str) -> None:
    """Tells the others why this host ends, unless it has finished; never raises."""
    if self._closed.is_set():
      return
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
      state = {"life": life, "work": self._work()}
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
      quiet_s = self._limits.quiet_s
      if silent * _PERIOD_S > quiet_s + 2 * _PERIOD_S:
        self._end(
          f"host 0, which coordinates, is gone: it has not answered for {quiet_s:g} s "
          "(flag --quiet_s)"
        )
        return

  def _explain_abort(self) -> None:
    if self._index == 0 or is_answered(self._address):
      os.write(2, b"skilljax: this host was aborted; the message above says why.\n")
    else:
      self._end("host 0, which coordinates, is gone: JAX has lost it")

  def _write(self, state: dict) -> None:
    key = f"{_ROOT}/{self._index}"
    self._client.key_value_set(key, json.dumps(state), allow_overwrite=True)

  def _work(self) -> dict:
    """What changes with every step of the main thread, and how long it may not."""
    waiting = self._waiting
    limit_s, flag = self._limits.of(self._phase, waiting=bool(waiting))
    return {
      "progress": self._progress,
      "waiting": waiting,
      "phase": self._phase,
      "limit_s": limit_s,
      "flag": flag,
    }

  def _problem(self, rows: dict[int, dict], now: float) -> str:
    """What is wrong with another host, or with all of them; '' if nothing is."""
    for host, seen in self._seen.items():
      row = rows.get(host, {})
      if "ended" in row and host != self._index:
        return f"host {host} ended: {row['ended']}"
      seen.update(row, now)
    running = {h: s for h, s in self._seen.items() if "finished" not in s.row}
    for host, seen in running.items():
      if host != self._index and now - seen.life_at > self._limits.quiet_s:
        return (
          f"host {host} is gone: no sign of life for {self._limits.quiet_s:g} s "
          "(flag --quiet_s)"
        )
    still = {
      host: seen.row["work"]
      for host, seen in running.items()
      if "work" in seen.row and now - seen.work_at > seen.row["work"]["limit_s"]
    }
    for host, work in still.items():
      if host != self._index and not work["waiting"]:
        return (
          f"host {host} hangs: no progress for {work['limit_s']:g} s while it is "
          f"{work['phase']} (flag --{work['flag']})"
        )
    # One that only waits is stuck because of another, unless every one of them waits.
    together = list(running.values())
    self._together.see(together, now)
    return self._together.problem(together, self._limits.hang_s, now)


def end_because(message: str) -> None:
  """Prints why this host ends for another's sake, and ends it."""
  print(
    f"skilljax: {message}. This host ends too; start the same command again on all "
    "hosts: it goes on from the last checkpoint.",
    file=sys.stderr,
    flush=True,
  )
  os._exit(OTHER_HOST_FAILED)


def on_abort(explain: Callable[[], None]) -> None:
  """Calls `explain` where C++ code aborts this process, which then has status 1.

  JAX does that as soon as it has lost host 0, or has waited in vain for others to join;
  its own words name neither.
  """

  @ctypes.CFUNCTYPE(None, ctypes.c_int)
  def handle(number: int) -> None:
    del number
    explain()
    os._exit(1)

  _KEPT.append(handle)  # C code holds the address only
  ctypes.CDLL(None).signal(signal.SIGABRT, handle)


def on_terminate(act: Callable[[], None]) -> None:
  """Calls `act` as soon as this process gets SIGTERM, whatever its main thread waits for.

  So Kubernetes, Slurm and `kill` ask a process to end. JAX takes it for a notice of
  pre-emption, and a program that does not ask for such notices goes on.
  To be called by the main thread, after JAX has joined the hosts.
  """
  heard, told = socket.socketpair()
  told.setblocking(False)
  signal.set_wakeup_fd(told.fileno(), warn_on_full_buffer=False)
  signal.signal(signal.SIGTERM, lambda number, frame: None)  # `listen` hears of it

  def listen() -> None:
    while signal.SIGTERM not in heard.recv(64):
      pass
    act()

  _KEPT.append(told)
  threading.Thread(target=listen, daemon=True).start()


def is_answered(address: str) -> bool:
  """Whether a process listens at 'HOST:PORT'."""
  host, _, port = address.rpartition(":")
  try:
    socket.create_connection((host.strip("[]"), int(port)), timeout=3.0).close()
  except OSError:
    return False
  return True


_KEPT: list[object] = []
