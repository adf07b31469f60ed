"""What the parent keeps of its workers and of the tasks they were asked to play.

Must not know about: sockets, scheduling, which environment it is.
"""

import collections
import dataclasses
from typing import Any

from skilljax.envs.pool.episode import Episode
from skilljax.envs.pool.process import WorkerProcess

_MAX_LOADED = 20_000


@dataclasses.dataclass(frozen=True)
class WorkerLimits:
  """See `EnvPool`."""

  start_timeout_s: float
  reset_timeout_s: float
  step_timeout_s: float
  recycle_after_episodes: int
  max_failed_starts: int

  def __post_init__(self):
    for name in ("start_timeout_s", "max_failed_starts"):
      value = self.__dict__[name]
      if not value > 0:
        raise ValueError(f"{name}={value} must be > 0")


@dataclasses.dataclass
class Slot:
  """One environment object of a worker."""

  number: int
  episode: Episode | None = None
  last_task: str = ""


@dataclasses.dataclass
class Request:
  """One command for one slot.

  Attributes:
    number: unique over the life of the backend; the answer repeats it.
    slot, episode: whose it is.
    message: what the child gets; a reset carries a task, a step an action.
    timeout_s: how long the child may work on it.
  """

  number: int
  slot: Slot
  episode: Episode
  message: dict[str, Any]
  timeout_s: float

  @property
  def task_key(self) -> str:
    """Of the task that it is about."""
    return self.episode.task.key

  @property
  def is_reset(self) -> bool:
    """True for the first request of an episode."""
    return "task" in self.message

  @property
  def num_chars(self) -> int:
    """About what it takes in the pipe; only actions can be long."""
    return len(self.message.get("action", ""))


@dataclasses.dataclass(eq=False)
class Worker:
  """What the parent knows of one child.

  Attributes:
    process: its handle.
    slots: its environments.
    deadline: when what it does now (starting, or `sent[0]`) has taken too long.
    ready: it has built its first environment.
    retiring: it takes no new episode.
    sent: requests without an answer; it works on the first.
    queue: requests that it has not been sent.
    num_started: episodes it has been given.
    lost: it is gone.
  """

  process: WorkerProcess
  slots: list[Slot]
  deadline: float
  ready: bool = False
  retiring: bool = False
  sent: collections.deque[Request] = dataclasses.field(default_factory=collections.deque)
  queue: collections.deque[Request] = dataclasses.field(default_factory=collections.deque)
  num_started: int = 0
  lost: bool = False

  @property
  def num_open(self) -> int:
    """Slots in use."""
    return sum(slot.episode is not None for slot in self.slots)

  @property
  def waited_for(self) -> bool:
    """True when a message of this worker is due."""
    return not self.ready or bool(self.sent)


class TaskMemory:
  """What resets have shown about tasks; every number of tasks costs the same memory."""

  def __init__(self, *, max_broken: int):
    """`max_broken` resets of a task in a row may break their worker."""
    self._max_broken = max_broken
    self._loaded: set[str] = set()
    self._unplayable: dict[str, str] = {}
    self._broken: collections.Counter[str] = collections.Counter()

  def is_loaded(self, key: str) -> bool:
    """True when a reset of this task has worked before, so that the next is cheap."""
    return key in self._loaded

  def why_unplayable(self, key: str) -> str:
    """What the environment said of the task; '' if it has not refused it."""
    return self._unplayable.get(key, "")

  def note_loaded(self, key: str):
    """A reset has worked."""
    if len(self._loaded) >= _MAX_LOADED:
      self._loaded.clear()
    self._loaded.add(key)
    del self._broken[key]

  def note_unplayable(self, key: str, reason: str):
    """The environment has refused the task, and would do so again."""
    self._unplayable[key] = reason

  def note_broken(self, key: str) -> bool:
    """A reset has hung or broken its worker; True when that was once too often.

    The count then starts anew: a machine in trouble must not cost a task for ever.
    """
    self._broken[key] += 1
    if self._broken[key] < self._max_broken:
      return False
    del self._broken[key]
    return True
