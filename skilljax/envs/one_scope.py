"""Task sources of benchmarks whose tasks all share one bank.

Must not know about: any benchmark.
"""

import abc
import random
from collections.abc import Sequence

from skilljax.types import Task


class OneScopeSource(abc.ABC):
  """What such sources share (TaskSource protocol without `families` and `goal`).

  Attributes:
    env_name: of the environment, and of the one scope.
  """

  env_name: str

  @abc.abstractmethod
  def tasks(self, split: str) -> tuple[Task, ...]:
    """All tasks of a split, in a stable order."""

  def scopes(self, split: str) -> tuple[str, ...]:
    """One bank for the whole benchmark."""
    del split
    return (self.env_name,)

  def stream(self, scope: str, split: str) -> tuple[Task, ...]:
    """All tasks of the scope, which are all of the split. Errors as `tasks`.

    Raises:
      ValueError: unknown scope.
    """
    if scope != self.env_name:
      raise ValueError(f"scope={scope!r} must be {self.env_name!r}")
    return self.tasks(split)

  def probes(
    self, task: Task, num: int, seed: int, *, every_family: bool = False
  ) -> tuple[Task, ...]:
    """`num` different train tasks of the task's family, never the task itself.

    Raises:
      ValueError: the train split has fewer such tasks.
    """
    return sample_probes(task, self.tasks("train"), num, seed, every_family=every_family)


def sample_probes(
  task: Task, train: Sequence[Task], num: int, seed: int, *, every_family: bool = False
) -> tuple[Task, ...]:
  """A draw from the train tasks of a family.

  Args:
    task: whose family is wanted.
    train: all train tasks.
    num: how many.
    seed: of the draw.
    every_family: from all families in place of the task's.
  Raises:
    ValueError: the train split has fewer such tasks.
  """
  # By name: a task of another split may be the same one (BFCL's split 'all').
  pool = [
    t for t in train if (every_family or t.family == task.family) and t.name != task.name
  ]
  if not 0 <= num <= len(pool):
    of = "all families" if every_family else f"family {task.family!r}"
    raise ValueError(
      f"num={num} must be in [0, {len(pool)}], the train tasks of {of} "
      "(config key probes.num_probes)"
    )
  return tuple(random.Random(f"{task.env}/probes/{task.key}/{seed}").sample(pool, num))
