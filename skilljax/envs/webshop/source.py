"""Which tasks WebShop has: goals by split, families, probes.

Must not know about: pages, sessions, rewards.
"""

import functools
import itertools
import random

from skilljax.envs.base import UnplayableTask
from skilljax.envs.data_files import DataError
from skilljax.envs.one_scope import OneScopeSource
from skilljax.envs.webshop import goal_list
from skilljax.envs.webshop.goals import SPLITS, split_indices
from skilljax.envs.webshop.settings import WebshopSettings
from skilljax.types import Task

ENV_NAME = "webshop"
FAMILIES = ("beauty", "electronics", "fashion", "garden", "grocery")


def goal_index(task: Task) -> int:
  """The published number of a task's goal.

  Raises:
    UnplayableTask: not a task of this environment.
  """
  number, dash, _ = task.name.partition("-")
  if task.env != ENV_NAME or not dash or not number.isdecimal():
    raise UnplayableTask(f"task {task.key!r} is not one of {ENV_NAME!r}")
  return int(number)


def goal_asin(task: Task) -> str:
  """The product that a task's goal was made from."""
  return task.name.partition("-")[2]


class WebshopSource(OneScopeSource):
  """Lists goals as tasks (TaskSource protocol)."""

  env_name = ENV_NAME
  families = FAMILIES

  def __init__(self, settings: WebshopSettings):
    """Reads nothing yet."""
    self._settings = settings
    self._goals = functools.cache(lambda: goal_list.open_data(settings)[1].goals)
    self._splits = functools.cache(self._list_tasks)

  def tasks(self, split: str) -> tuple[Task, ...]:
    """The tasks of 'train', 'dev' or 'test', in a stable order.

    Raises:
      ValueError: unknown split, an empty one, or data that are damaged.
      FileNotFoundError: no data.
    """
    if split not in SPLITS:
      raise ValueError(f"split={split!r} must be one of {', '.join(SPLITS)}")
    tasks = self._splits()[split]
    if not tasks:
      raise DataError(
        f"split {split!r} is empty: all {len(self._goals())} goals are in other splits; "
        "take other goals or another catalogue (config keys env.human_goals, "
        "env.catalogue, env.split_by)"
      )
    return tasks

  def goal(self, task: Task) -> str:
    """The goal sentence, as in `Observation.goal`."""
    return self._goals()[goal_index(task)].instruction

  def probes(
    self, task: Task, num: int, seed: int, *, every_family: bool = False
  ) -> tuple[Task, ...]:
    """`num` different train goals of the task's family, never the task itself.

    As many different products as possible, the task's own product last of all.

    Raises:
      ValueError: the train split has fewer such goals.
    """
    asin = goal_asin(task)
    by_product: dict[str, list[Task]] = {}
    for other in self.tasks("train"):
      related = every_family or other.family == task.family
      if related and other.name != task.name:
        by_product.setdefault(goal_asin(other), []).append(other)
    size = sum(map(len, by_product.values()))
    if not 0 <= num <= size:
      of = "all families" if every_family else f"family {task.family!r}"
      raise ValueError(
        f"num={num} must be in [0, {size}], the train goals of {of} "
        "(config key probes.num_probes)"
      )
    rng = random.Random(f"webshop/probes/{task.key}/{seed}")
    own = by_product.pop(asin, [])
    products = sorted(by_product)
    rng.shuffle(products)
    lists = [rng.sample(by_product[p], len(by_product[p])) for p in products]
    turns = itertools.chain.from_iterable(itertools.zip_longest(*lists))
    others = (other for other in turns if other is not None)
    return tuple(
      itertools.islice(itertools.chain(others, rng.sample(own, len(own))), num)
    )

  def _list_tasks(self) -> dict[str, tuple[Task, ...]]:
    goals = self._goals()
    return {
      split: tuple(
        Task(
          env=ENV_NAME,
          split=split,
          scope=ENV_NAME,
          family=goals[index].category,
          name=f"{index}-{goals[index].asin}",
          cluster=goals[index].asin,
        )
        for index in indices
      )
      for split, indices in split_indices(goals, self._settings.split_by).items()
    }
