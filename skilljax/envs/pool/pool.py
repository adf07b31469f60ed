"""A pool of environments: open many episodes, get answers as they come.

Environments hang, crash and leak. A pool turns each of these into a `Fault` for the
episodes concerned and goes on: nothing is lost silently, nothing is counted twice.

Must not know about: models, tokens, which environment it hosts.
"""

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping

from skilljax.envs.base import Env
from skilljax.envs.pool.episode import Answer, Episode, why_unusable
from skilljax.envs.pool.inline import InlineBackend
from skilljax.envs.pool.records import WorkerLimits
from skilljax.envs.pool.workers import WorkerBackend
from skilljax.types import Fault, Task


def check_arguments(
  *,
  num_workers: int,
  envs_per_worker: int,
  reset_timeout_s: float,
  step_timeout_s: float,
  recycle_after_episodes: int,
):
  """Raises a ValueError that names the config key unless a pool can be built."""
  for name, value, low in (
    ("num_workers", num_workers, 0),
    ("envs_per_worker", envs_per_worker, 1),
    ("recycle_after_episodes", recycle_after_episodes, 0),
  ):
    if value < low:
      raise ValueError(f"{name}={value} must be >= {low} (config key pool.{name})")
  for name, value in (
    ("reset_timeout_s", reset_timeout_s),
    ("step_timeout_s", step_timeout_s),
  ):
    if not value > 0:
      raise ValueError(f"{name}={value} must be > 0 seconds (config key pool.{name})")


class EnvPool:
  """Plays up to `capacity` episodes at once.

  An episode is `start`, then one answer from `poll` for it and one for every `step`,
  then `release`. After a `Fault` only `release` is left. Also a context manager.
  """

  def __init__(
    self,
    make: Callable[[], Env],
    *,
    num_workers: int = 0,
    envs_per_worker: int = 16,
    start_timeout_s: float = 120.0,
    reset_timeout_s: float = 60.0,
    step_timeout_s: float = 20.0,
    recycle_after_episodes: int = 0,
    max_failed_starts: int = 3,
  ):
    """Builds a pool; worker processes start at once, in the background.

    Args:
      make: builds one environment. With workers it must be picklable and importable,
        for example `functools.partial(make_env, name, settings)`.
      num_workers: processes; 0 plays inline, where no time-out and no recycling is
        possible and a crash of the engine is a crash of the caller.
      envs_per_worker: environment objects of a worker (inline: of the pool), >= 1. A
        worker that dies takes all of its open episodes with it.
      start_timeout_s: from spawning to the first environment, seconds.
      reset_timeout_s, step_timeout_s: of one request, from when a worker begins it.
      recycle_after_episodes: replace a worker after so many episodes; 0 is never.
      max_failed_starts: so many workers in a row may fail to start.
    Raises:
      ValueError: an argument is out of range.
    """
    check_arguments(
      num_workers=num_workers,
      envs_per_worker=envs_per_worker,
      reset_timeout_s=reset_timeout_s,
      step_timeout_s=step_timeout_s,
      recycle_after_episodes=recycle_after_episodes,
    )
    limits = WorkerLimits(
      start_timeout_s=start_timeout_s,
      reset_timeout_s=reset_timeout_s,
      step_timeout_s=step_timeout_s,
      recycle_after_episodes=recycle_after_episodes,
      max_failed_starts=max_failed_starts,
    )
    self._capacity = max(num_workers, 1) * envs_per_worker
    self._backend: InlineBackend | WorkerBackend
    if num_workers:
      self._backend = WorkerBackend(make, num_workers, envs_per_worker, limits)
    else:
      self._backend = InlineBackend(make, envs_per_worker)
    self._episodes: dict[str, Episode] = {}
    self._num_started = self._num_unusable = 0
    self._waited_s = 0.0
    self._closed = False

  @property
  def capacity(self) -> int:
    """How many episodes may be open at once."""
    return self._capacity

  @property
  def num_free(self) -> int:
    """How many more episodes may be started now."""
    return self._capacity - len(self._episodes)

  @property
  def counts(self) -> Mapping[str, int]:
    """Totals so far: episodes started, faults, restarts and recycles of workers."""
    counts = {"episodes": self._num_started, **self._backend.counts}
    return {**counts, "faults": counts["faults"] + self._num_unusable}

  @property
  def waited_s(self) -> float:
    """Seconds that callers have waited for environments so far.

    Time in `start` and `step`, where an inline pool plays, and in a `poll` that may
    wait. A caller that has other work polls with `timeout_s=0`, which is not counted.
    """
    return self._waited_s

  def start(self, ticket: str, task: Task):
    """Opens an episode. Raises ValueError if the ticket is open or the pool is full."""
    if self._closed:
      raise ValueError("start: the pool is closed")
    if ticket in self._episodes:
      raise ValueError(f"start: ticket {ticket!r} is open already")
    if not self.num_free:
      raise ValueError(f"start: all {self.capacity} environments are in use")
    self._num_started += 1
    episode = Episode(ticket=ticket, task=task, serial=self._num_started)
    self._episodes[ticket] = episode
    with self._waiting():
      self._backend.start(episode)

  def step(self, ticket: str, action: str):
    """Plays one command. Raises ValueError unless the last answer has been polled."""
    episode = self._open(ticket, "step")
    if episode.busy or episode.failed:
      state = "has ended with a fault" if episode.failed else "still owes an answer"
      raise ValueError(f"step: the episode of ticket {ticket!r} {state}")
    episode.busy = True
    with self._waiting():
      self._backend.step(episode, action)

  def poll(self, timeout_s: float) -> list[tuple[str, Answer]]:
    """Waits for answers.

    Args:
      timeout_s: longest wait when there is no answer yet, seconds. Returns as soon as
        there is one, and at once when no episode owes one.
    Returns:
      (ticket, answer), at most one per open episode, in order of arrival.
    Raises:
      RuntimeError: too many workers in a row failed to start.
    """
    with self._waiting() if timeout_s > 0 else contextlib.nullcontext():
      arrived = self._backend.poll(timeout_s)
    answers = []
    for episode, answer in arrived:
      # An answer to a released episode is nobody's, even where its ticket is open again.
      if self._episodes.get(episode.ticket) is episode:
        answer = self._checked(episode, answer)
        episode.busy, episode.begun = False, True
        episode.failed = isinstance(answer, Fault)
        answers.append((episode.ticket, answer))
    return answers

  def release(self, ticket: str):
    """Closes an episode, in whatever state it is."""
    episode = self._open(ticket, "release")
    del self._episodes[ticket]
    self._backend.release(episode)

  def close(self):
    """Ends all environments and processes. May be called twice."""
    self._closed = True
    self._episodes.clear()
    self._backend.close()

  def _checked(self, episode: Episode, answer: Answer) -> Answer:
    if isinstance(answer, Fault):
      return answer
    reason = why_unusable(answer, is_first=not episode.begun)
    if not reason:
      return answer
    self._num_unusable += 1
    return Fault(episode.task, f"the environment gave an unusable answer: {reason}")

  @contextlib.contextmanager
  def _waiting(self) -> Iterator[None]:
    begin = time.perf_counter()
    try:
      yield
    finally:
      self._waited_s += time.perf_counter() - begin

  def __enter__(self) -> "EnvPool":
    return self

  def __exit__(self, *exc_info):
    self.close()

  def _open(self, ticket: str, verb: str) -> Episode:
    if ticket not in self._episodes:
      raise ValueError(f"{verb}: ticket {ticket!r} is not open")
    return self._episodes[ticket]
