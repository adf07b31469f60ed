"""Where `household` tasks come from: settings, streams per estate, probes.

Purpose: a `HouseholdSource` lists tasks by split and by estate, and keeps the probes of
training inside the train estates.
Must not know about: the running world, observations, agents, skills.
"""

import dataclasses
import random
from collections.abc import Sequence

from skilljax.envs.household import rules, tasks
from skilljax.types import Task


@dataclasses.dataclass(frozen=True)
class HouseholdSettings:
  """Everything about `household` that a config may change.

  Attributes:
    slack: turns that the step cap allows beyond the oracle's plan, >= 0.
    tasks_per_estate: length of an estate's stream, a multiple of 6.
    train_estates, dev_estates, test_estates: how many estates `tasks(split)` lists.
    listed_tasks: how many tasks of each of them it lists, 1 … tasks_per_estate.
    admissible: fill `Observation.admissible` (slower).
    allow_eval: let `probes` draw from dev and test estates. For evaluation only; probes
      of training come from train estates.
  """

  slack: int = 5
  tasks_per_estate: int = 60
  train_estates: int = 2000
  dev_estates: int = 20
  test_estates: int = 50
  listed_tasks: int = 24
  admissible: bool = False
  allow_eval: bool = False

  def __post_init__(self):
    if self.slack < 0:
      raise ValueError(f"slack={self.slack} must be >= 0 (config key env.slack)")
    if self.tasks_per_estate < 6 or self.tasks_per_estate % 6:
      raise ValueError(
        f"tasks_per_estate={self.tasks_per_estate} must be a positive multiple of 6 "
        "(config key env.tasks_per_estate)"
      )
    if not 1 <= self.listed_tasks <= self.tasks_per_estate:
      raise ValueError(
        f"listed_tasks={self.listed_tasks} must be in [1, {self.tasks_per_estate}] "
        "(config key env.listed_tasks)"
      )
    for split in rules.SPLITS:
      if not 1 <= self.num_estates(split) <= len(rules.SplitIndices(split)):
        raise ValueError(
          f"{split}_estates={self.num_estates(split)} must be in "
          f"[1, {len(rules.SplitIndices(split))}] (config key env.{split}_estates)"
        )

  def num_estates(self, split: str) -> int:
    """How many estates `tasks(split)` lists."""
    counts = {
      "train": self.train_estates,
      "dev": self.dev_estates,
      "test": self.test_estates,
    }
    return counts[split]


def estate_of(scope: int | str) -> int:
  """The estate index of a scope 'estate-<index>' or of the index itself."""
  return int(scope.removeprefix("estate-")) if isinstance(scope, str) else scope


@dataclasses.dataclass(frozen=True)
class HouseholdSource:
  """Lists the tasks of `household` (TaskSource protocol)."""

  settings: HouseholdSettings = HouseholdSettings()

  @property
  def families(self) -> tuple[str, ...]:
    """The six task families."""
    return tasks.FAMILIES

  def estates(self, split: str) -> Sequence[int]:
    """All estate indices of a split, in increasing order (not stored)."""
    return rules.SplitIndices(split)

  def scopes(self, split: str) -> tuple[str, ...]:
    """The estates that `tasks(split)` lists; each has a skill bank of its own."""
    indices = self.estates(split)[: self.settings.num_estates(split)]
    return tuple(f"estate-{index}" for index in indices)

  def task(self, estate_index: int, task_index: int, *, seed: int = 0) -> Task:
    """One task by its coordinates.

    Raises:
      ValueError: task_index outside of the stream.
    """
    if not 0 <= task_index < self.settings.tasks_per_estate:
      raise ValueError(
        f"task_index={task_index} is outside of [0, {self.settings.tasks_per_estate}) "
        "(config key env.tasks_per_estate)"
      )
    return Task(
      env="household",
      split=rules.split_of(estate_index),
      scope=f"estate-{estate_index}",
      family=tasks.family_at(estate_index, task_index),
      name=f"estate-{estate_index}/{task_index}",
      seed=seed,
    )

  def stream(self, scope: int | str, split: str, *, seed: int = 0) -> tuple[Task, ...]:
    """All tasks of one estate in order.

    Args:
      scope: estate index, or 'estate-<index>'.
      split: the split that the estate must belong to.
      seed: environment seed of every task.
    Raises:
      ValueError: the estate belongs to another split.
    """
    index = estate_of(scope)
    if rules.split_of(index) != split:
      raise ValueError(
        f"estate {index} belongs to split {rules.split_of(index)!r}, not {split!r}"
      )
    count = self.settings.tasks_per_estate
    return tuple(self.task(index, position, seed=seed) for position in range(count))

  def goal(self, task: Task) -> str:
    """The goal sentence of a task."""
    index, position = tasks.parse_name(task)
    return tasks.task_spec(rules.draw_estate(index), position, task.seed).goal

  def tasks(self, split: str) -> tuple[Task, ...]:
    """The first `listed_tasks` tasks of each of the first estates of a split."""
    indices = self.estates(split)[: self.settings.num_estates(split)]
    return tuple(
      self.task(index, position)
      for index in indices
      for position in range(self.settings.listed_tasks)
    )

  def probes(
    self, task: Task, num: int, seed: int, *, every_family: bool = False
  ) -> tuple[Task, ...]:
    """Draws tasks of the same family and estate, never `task` itself.

    A pure function of its arguments and of the settings.

    Raises:
      ValueError: the estate is not a train estate (unless `allow_eval`), or the stream
        holds fewer than `num` other tasks of the family.
    """
    index, position = tasks.parse_name(task)
    split = rules.split_of(index)
    if task.split != split:
      raise ValueError(f"task {task.key!r}: estate {index} belongs to split {split!r}")
    if split != "train" and not self.settings.allow_eval:
      raise ValueError(
        f"task {task.key!r}: probes come from train estates; set allow_eval=True to "
        "probe others in an evaluation (config key env.allow_eval)"
      )
    family = tasks.family_at(index, position)
    others = [
      other
      for other in range(self.settings.tasks_per_estate)
      if other != position and (every_family or tasks.family_at(index, other) == family)
    ]
    if not 0 <= num <= len(others):
      of = "" if every_family else f"{family} "
      raise ValueError(
        f"num={num} is outside of [0, {len(others)}], the other {of}tasks of an "
        "estate (config key env.tasks_per_estate)"
      )
    rng = random.Random(f"probes/{index}/{position}/{seed}")
    return tuple(
      self.task(index, other, seed=task.seed) for other in rng.sample(others, num)
    )
