"""A pool of environments: open many episodes, get answers as they come.

Environments hang, crash and leak. A pool turns each of these into a `Fault` for the
episodes concerned and goes on: nothing is lost silently, nothing is counted twice.

Must not know about: models, tokens, which environment it hosts.
"""

from collections.abc import Callable, Mapping

from skilljax.envs.base import Env
from skilljax.envs.pool_episode import Answer, Episode
from skilljax.envs.pool_inline import InlineBackend
from skilljax.envs.pool_workers import WorkerBackend, WorkerLimits
from skilljax.types import Fault, Task


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
    for name, value, low in (
      ("num_workers", num_workers, 0),
      ("envs_per_worker", envs_per_worker, 1),
      ("recycle_after_episodes", recycle_after_episodes, 0),
      ("max_failed_starts", max_failed_starts, 1),
    ):
      if value < low:
        raise ValueError(f"{name}={value} must be >= {low} (config key env.{name})")
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
    self._num_started = 0
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
    return {"episodes": self._num_started, **self._backend.counts}

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
    self._backend.start(episode)

  def step(self, ticket: str, action: str):
    """Plays one command. Raises ValueError unless the last answer has been polled."""
    episode = self._open(ticket, "step")
    if episode.busy or episode.failed:
      state = "has ended with a fault" if episode.failed else "still owes an answer"
      raise ValueError(f"step: the episode of ticket {ticket!r} {state}")
    episode.busy = True
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
    answers = []
    for episode, answer in self._backend.poll(timeout_s):
      # An answer to a released episode is nobody's, even where its ticket is open again.
      if self._episodes.get(episode.ticket) is episode:
        episode.busy = False
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

  def __enter__(self) -> "EnvPool":
    return self

  def __exit__(self, *exc_info):
    self.close()

  def _open(self, ticket: str, verb: str) -> Episode:
    if ticket not in self._episodes:
      raise ValueError(f"{verb}: ticket {ticket!r} is not open")
    return self._episodes[ticket]
