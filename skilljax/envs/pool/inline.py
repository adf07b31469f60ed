"""Environments in this process: no isolation, no time-outs, no overhead.

Must not know about: which environment it is, tickets.
"""

import contextlib
from collections.abc import Callable

from skilljax.envs.base import Env, UnplayableTask
from skilljax.envs.pool.episode import Answer, Episode
from skilljax.types import Fault, Observation, Task


class InlineBackend:
  """Plays every command at once; `poll` hands out what has been computed."""

  def __init__(self, make: Callable[[], Env], num_envs: int):
    """Builds up to `num_envs` environments, each when it is first needed.

    The first is built here, so that a missing package or data folder is an error of the
    configuration and not a fault of every episode.
    """
    self._make = make
    self._num_envs = num_envs
    # (key of the last task, environment)
    self._free: list[tuple[str, Env]] = [("", make())]
    self._used: dict[int, Env] = {}
    self._answers: list[tuple[Episode, Answer]] = []
    self._unplayable: dict[str, str] = {}  # key of a task -> why
    self.counts = {"faults": 0, "restarts": 0, "recycles": 0}

  def start(self, episode: Episode):
    """Takes an environment, preferably one that played this task last, and resets it."""
    task = episode.task
    if task.key in self._unplayable:
      self._answers.append((episode, self._fault(task, self._unplayable[task.key])))
      return
    self._answer(episode, lambda: self._reset(episode))

  def step(self, episode: Episode, action: str):
    """Plays one command."""
    self._answer(episode, lambda: self._used[episode.serial].step(action))

  def release(self, episode: Episode):
    """Gives the environment back. A faulty one is gone already."""
    env = self._used.pop(episode.serial, None)
    if env is not None:
      self._free.append((episode.task.key, env))

  def poll(self, timeout_s: float) -> list[tuple[Episode, Answer]]:
    """Everything computed since the last call; never waits."""
    del timeout_s
    answers, self._answers = self._answers, []
    return answers

  def close(self):
    """Closes every environment."""
    for env in [*self._used.values(), *(env for _, env in self._free)]:
      env.close()
    self._used.clear()
    self._free.clear()

  def _take(self, task: Task) -> Env:
    for position, (key, _) in enumerate(self._free):
      if key == task.key:
        return self._free.pop(position)[1]
    if len(self._used) + len(self._free) < self._num_envs:
      return self._make()
    return self._free.pop(0)[1]

  def _reset(self, episode: Episode) -> Observation:
    env = self._used[episode.serial] = self._take(episode.task)
    return env.reset(episode.task)

  def _answer(self, episode: Episode, ask: Callable[[], Observation]):
    try:
      answer = ask()
    except UnplayableTask as error:
      self._unplayable[episode.task.key] = str(error)
      answer = self._fault(episode.task, str(error))
    except (Exception, SystemExit) as error:
      # The object's state is unknown after an exception, so it is not used again.
      if env := self._used.pop(episode.serial, None):
        with contextlib.suppress(Exception):
          env.close()
      answer = self._fault(episode.task, f"{type(error).__name__}: {error}")
    self._answers.append((episode, answer))

  def _fault(self, task: Task, reason: str) -> Fault:
    self.counts["faults"] += 1
    return Fault(task, reason)
