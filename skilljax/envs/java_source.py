"""Task sources of benchmarks whose engine is written in Java.

Must not know about: any benchmark.
"""

import abc
import functools

from skilljax.envs import jvm
from skilljax.envs.one_scope import OneScopeSource
from skilljax.types import Task


class JavaSource(OneScopeSource):
  """What such sources share (TaskSource protocol): the engine tells goals and solutions.

  Which tasks there are is known without Java.

  Attributes:
    families: kinds of tasks.
  """

  def __init__(self, families: tuple[str, ...], holder: jvm.WorldHolder):
    """Starts nothing."""
    self.families = families
    self._holder = holder
    self._tasks = functools.cache(self._list_tasks)
    self._goals = functools.lru_cache(8192)(self._read_goal)
    self._plans = functools.lru_cache(8192)(self._read_walkthrough)

  def tasks(self, split: str) -> tuple[Task, ...]:
    """All tasks of a split, by family. Raises ValueError for unknown splits."""
    return self._tasks(split)

  def goal(self, task: Task) -> str:
    """The task's description, as in `Observation.goal`. Raises as `Env.reset`."""
    return self._goals(task)

  def walkthrough(self, task: Task) -> tuple[str, ...]:
    """The engine's own solution, one command each. Raises as `Env.reset`."""
    return self._plans(task)

  @abc.abstractmethod
  def _list_tasks(self, split: str) -> tuple[Task, ...]:
    """As `tasks`."""

  @abc.abstractmethod
  def _load(self, world: jvm.World, task: Task, *, gold: bool):
    """Takes a world to the first state of a task; `gold`: with its solution."""

  def _read_goal(self, task: Task) -> str:
    world = self._holder.world()
    with world.errors():
      self._load(world, task, gold=False)
      return world.engine.getTaskDescription().strip()

  def _read_walkthrough(self, task: Task) -> tuple[str, ...]:
    world = self._holder.world()
    with world.errors():
      self._load(world, task, gold=True)
      return world.strings(world.engine.getGoldActionSequence())
