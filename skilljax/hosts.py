"""Several hosts as one program: who we are, what we exchange, who is still there.

Every host runs the same program with the same config. Host-side logic (banks, rewards,
packing) runs on each of them with equal inputs, so it needs no messages: what differs is
gathered, whole, by `gather`. Environments and sampling are shared out by
`rollout/share.py`, arrays are split by their shardings.

A host that ends takes the others with it, within seconds and with a message that names
it (`watch.py`); the run goes on from its last checkpoint when it is started again. A host
that ends by an error of its own has exit status 1; those that end because of it have
`watch.OTHER_HOST_FAILED`.

Must not know about: configs, models, environments.
"""

import contextlib
import math
import os
import pickle
import re
import signal
import sys
import traceback
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from skilljax import watch

AUTO = "auto"
START, STEADY, SAVE = watch.START, watch.STEADY, watch.SAVE
EXCHANGE, LEARNING = watch.EXCHANGE, watch.LEARNING
# JAX's own time-outs come second: ours name the host and the reason.
_HEARTBEAT_S = 60
# How XLA's errors begin, whatever their type.
_STATUS = re.compile(
  "(ABORTED|CANCELLED|DEADLINE_EXCEEDED|FAILED_PRECONDITION|INTERNAL|UNAVAILABLE|UNKNOWN)"
  ": "
)
_watcher: watch.Watcher | None = None


def connect(place: str, limits: watch.Limits | None = None) -> None:
  """Joins the other hosts. Call it before anything touches a device.

  Ends the process, with status `watch.OTHER_HOST_FAILED` and a line that says so, where
  not all of them join in time.

  Args:
    place: '' = there are no others; 'auto' = JAX finds them (TPU pods, GKE, Slurm);
      'ADDRESS:PORT,COUNT,INDEX' = the coordinator, which is host 0, how many hosts there
      are and which one this is.
    limits: how long what may take before a host counts as failed; None: the defaults.
  Raises:
    ValueError: `place` cannot be read.
  """
  global _watcher
  if not place:
    return
  arguments = {} if place == AUTO else _read_place(place)
  limits = limits or watch.Limits()

  def explain() -> None:
    watch.end_because(
      f"not all hosts of --hosts={place} have joined within {limits.join_s:g} s (flag "
      "--join_s): one did not start, or has ended before"
    )

  watch.on_abort(explain)  # what JAX does in place of raising an error
  try:
    jax.distributed.initialize(
      **arguments,
      heartbeat_timeout_seconds=_HEARTBEAT_S,
      initialization_timeout=math.ceil(limits.join_s),
    )
  except jax.errors.JaxRuntimeError:
    explain()
  _watcher = watch.Watcher(index(), count(), limits=limits)
  watch.on_terminate(_terminate)
  _watcher.start()


def _terminate() -> None:
  """Ends this host at once, because it was asked to from outside."""
  assert _watcher is not None
  _watcher.say_goodbye("told to end (SIGTERM)")
  print("skilljax: this host was told to end (SIGTERM)", file=sys.stderr, flush=True)
  os._exit(128 + signal.SIGTERM)


def leave() -> None:
  """This host has done its part; the others are not alarmed when it ends."""
  if _watcher is not None:
    gather(None)  # the slowest of them still needs the coordinator
    _watcher.close()


def _read_place(place: str) -> dict[str, Any]:
  address, *numbers = place.split(",")
  if ":" not in address or len(numbers) != 2 or not all(n.isdecimal() for n in numbers):
    raise ValueError(
      f"hosts={place!r} must be '', 'auto' or 'ADDRESS:PORT,COUNT,INDEX' (flag --hosts)"
    )
  num, own = map(int, numbers)
  if not 0 <= own < num:
    raise ValueError(f"hosts={place!r}: INDEX must be in [0, {num}) (flag --hosts)")
  return {"coordinator_address": address, "num_processes": num, "process_id": own}


def end(error: BaseException, *, message: str = "") -> None:
  """Ends this host because of an error, if there are others; else does nothing.

  A normal exit would wait for the others, who wait for us.

  Args:
    error: what happened.
    message: printed in place of where it happened, for errors that are the user's.
  """
  if _watcher is None:
    return
  if message:
    print(message, file=sys.stderr)
  else:
    traceback.print_exception(error)
  if _is_broken_exchange(error):
    # Which host is gone comes out a little later; then the watcher ends this process.
    _watcher.find_out()
  _watcher.say_goodbye(f"{type(error).__name__}: {str(error)[:500]}")
  sys.stderr.flush()
  os._exit(1)


def _is_broken_exchange(error: BaseException | None) -> bool:
  """Whether an error is most likely an exchange that broke because a host is gone.

  JAX raises most of what goes wrong on devices as a JaxRuntimeError, some of it as a
  ValueError; both carry a status. Others wrap it.
  """
  while error is not None:
    if isinstance(error, jax.errors.JaxRuntimeError) or _STATUS.match(str(error)):
      return True
    error = error.__cause__
  return False


def index() -> int:
  """Which host this is; 0 is the first, which writes records."""
  return jax.process_index()


def count() -> int:
  """How many hosts there are."""
  return jax.process_count()


def is_first() -> bool:
  """Whether this host writes what is written once."""
  return index() == 0


def tick() -> None:
  """Says that this host makes progress. Cheap; called from every long loop."""
  if _watcher is not None:
    _watcher.tick()


def enter(phase: str) -> None:
  """Says what this host does from now on: START, STEADY or SAVE. It begins in START.

  A phase bounds how long a host may stand still (`watch.Limits`); until a command says
  that it is in STEADY, compiling for minutes is no hang.
  """
  if _watcher is not None:
    _watcher.enter(phase)


@contextlib.contextmanager
def phase(name: str) -> Iterator[None]:
  """Around what belongs to another phase than what stands before and after it."""
  if _watcher is None:
    yield
    return
  before = _watcher.enter(name)
  try:
    yield
  finally:
    _watcher.enter(before)


@contextlib.contextmanager
def waiting(what: str = EXCHANGE) -> Iterator[None]:
  """Around what needs all hosts: who is in here hangs for another's sake.

  Args:
    what: EXCHANGE or LEARNING; how long one took tells how long the next may.
  """
  if _watcher is None:
    yield
    return
  with _watcher.waiting(what):
    yield


def gather(value: Any) -> list[Any]:
  """The values of all hosts, by index. All must call; any picklable value."""
  if count() == 1:
    return [value]
  data = np.frombuffer(pickle.dumps(value), np.uint8)
  with waiting():
    sizes = multihost_utils.process_allgather(np.array([len(data)], np.int64))
    padded = np.zeros(int(sizes.max()), np.uint8)
    padded[: len(data)] = data
    rows = multihost_utils.process_allgather(padded)
  sizes = np.asarray(sizes).reshape(-1)
  rows = np.asarray(rows).reshape(len(sizes), -1)
  return [
    pickle.loads(row[:size].tobytes()) for row, size in zip(rows, sizes, strict=True)
  ]


def from_first(make: Any) -> Any:
  """What `make()` gives on host 0, on all hosts; the others may give None for it."""
  with phase(START):  # the others wait for what may take long
    value = make() if is_first() else None
  return gather(value)[0]


def check_same(what: str, values: Mapping[str, Any]) -> None:
  """Raises a ValueError on every host, naming the first keys that differ from host 0's.

  Args:
    what: they are values of.
    values: plain data by key.
  """
  everywhere = [{k: repr(v) for k, v in own.items()} for own in gather(dict(values))]
  ours, told = everywhere[0], []
  for number, theirs in enumerate(everywhere):
    names = sorted(ours.keys() | theirs.keys())
    pairs = [(k, theirs.get(k, "(absent)"), ours.get(k, "(absent)")) for k in names]
    shown = [f"{k}={a} (host 0: {b})" for k, a, b in pairs if a != b]
    if shown:
      more = f" and {len(shown) - 3} more" if len(shown) > 3 else ""
      told.append(f"that of host {number} has {', '.join(shown[:3])}{more}")
  if told:
    raise ValueError(
      f"{what} differs between hosts: {'; '.join(told)}. All hosts must run the same "
      "command on the same commit"
    )
