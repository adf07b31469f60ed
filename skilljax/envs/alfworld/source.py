"""Which games ALFWorld has: tasks by split, plans, goal sentences, probes.

Must not know about: the engine, episodes, models.
"""

import functools

from skilljax.envs.alfworld import games
from skilljax.envs.alfworld.settings import ENV_NAME, AlfworldSettings
from skilljax.envs.one_scope import OneScopeSource
from skilljax.types import Task


class AlfworldSource(OneScopeSource):
  """Which games exist (TaskSource protocol). Reads the data, never the engine."""

  env_name = ENV_NAME
  families = tuple(games.FAMILY_OF_TASK_TYPE.values())

  def __init__(self, settings: AlfworldSettings):
    self._settings = settings
    self._index = functools.cache(self._read_index)
    self._tasks = functools.cache(self._list_tasks)

  def tasks(self, split: str) -> tuple[Task, ...]:
    """All games of a split, in order of their names; damaged ones fail at reset.

    Raises:
      ValueError: unknown split; damaged file; not the benchmark's number of games.
      FileNotFoundError: no data.
    """
    return self._tasks(split)

  def walkthrough(self, task: Task) -> tuple[str, ...]:
    """The plan that came with a game, one command each. For demonstrations and tests."""
    return self._index(task.split)[task.name].walkthrough

  def goal(self, task: Task) -> str:
    """The goal sentence, as in `Observation.goal`."""
    return self._settings.goal(task, self._index(task.split)[task.name])

  def why_unplayable(self, task: Task) -> str:
    """Why the data of a game are damaged, with file and fix; '' if they are not."""
    return self._index(task.split)[task.name].error

  def templated_goal(self, task: Task) -> str:
    """The goal sentence of the benchmark's templates, whatever the game states."""
    return f"{self._index(task.split)[task.name].goal}."

  def _read_index(self, split: str) -> dict[str, games.GameInfo]:
    index = {game.name: game for game in self._settings.archive(split).index()}
    expected = games.SPLIT_SIZES[split]
    if self._settings.require_complete and len(index) != expected:
      raise games.DataError(
        f"split {split!r} has {len(index)} games, the benchmark has {expected}: the data "
        "are incomplete; copy them again, or set env.require_complete=False"
      )
    sound = [game for game in index.values() if not game.error]
    without = [game.name for game in sound if not game.human_goals]
    if self._settings.human_goals and without:
      raise games.DataError(
        f"{len(without)} games of split {split!r} have no crowd-written goals, first "
        f"{without[0]}: take data with human_goals (packed) or turk_annotations "
        "(traj_data.json), or set env.human_goals=0"
      )
    return index

  def _list_tasks(self, split: str) -> tuple[Task, ...]:
    return tuple(
      Task(
        env=ENV_NAME,
        split=split,
        scope=ENV_NAME,
        family=game.family,
        name=game.name,
        cluster=game.name.partition("/")[0],  # one goal in one room
      )
      for game in self._index(split).values()
    )
