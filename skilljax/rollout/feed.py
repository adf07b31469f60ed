"""Which training tasks an update plays: a pure function of the update number.

A feed keeps no state, so a resumed run plays the same tasks as an uninterrupted one.

Must not know about: banks, policies.
"""

import dataclasses

import numpy as np

from skilljax.envs.base import TaskSource
from skilljax.types import Task


@dataclasses.dataclass(frozen=True)
class FeedSettings:
  """Config section `feed`.

  Attributes:
    tasks_per_update: N, tasks of one update; each is played G times.
    tasks_per_scope: tasks that a lane plays in one scope before it moves on, where
      the source has several scopes (the estates of `household`).
    seed: of the order of scopes and tasks.
  """

  tasks_per_update: int = 8
  tasks_per_scope: int = 8
  seed: int = 0

  def __post_init__(self):
    for name in ("tasks_per_update", "tasks_per_scope"):
      value = self.__dict__[name]
      if value < 1:
        raise ValueError(f"{name}={value} must be >= 1 (config key feed.{name})")


def tasks_at(
  update: int, *, source: TaskSource, split: str, settings: FeedSettings
) -> tuple[Task, ...]:
  """The N tasks of an update.

  With one scope (a benchmark), tasks come in shuffled epochs. With several, N lanes each
  play `tasks_per_scope` tasks of one scope in stream order, then move to the next scope
  of a shuffled list; lanes change at different updates, so young and old banks mix.

  Args:
    update: >= 0.
    source: of the tasks.
    split: of the source.
    settings: N, tasks per scope, seed.
  """
  scopes = source.scopes(split)
  if len(scopes) == 1:
    return _epochs(update, source.stream(scopes[0], split), settings)
  lanes, span = settings.tasks_per_update, settings.tasks_per_scope
  order = np.random.default_rng([settings.seed, 1]).permutation(len(scopes))
  tasks = []
  for lane in range(lanes):
    visit, position = divmod(update + lane * span // lanes, span)
    scope = scopes[int(order[(visit * lanes + lane) % len(scopes)])]
    stream = source.stream(scope, split)
    tasks.append(stream[position % len(stream)])
  return tuple(tasks)


def _epochs(update: int, stream, settings: FeedSettings) -> tuple[Task, ...]:
  tasks, num = [], len(stream)
  for place in range(
    update * settings.tasks_per_update, (update + 1) * settings.tasks_per_update
  ):
    epoch, index = divmod(place, num)
    order = np.random.default_rng([settings.seed, 2, epoch]).permutation(num)
    tasks.append(stream[int(order[index])])
  return tuple(tasks)
