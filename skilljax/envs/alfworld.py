"""The real ALFWorld text games behind the `Env` and `TaskSource` protocols.

Games are asked for by name; success comes from the engine's own `won` flag alone. Needs
the packages of the extra `alfworld` and the benchmark's games (see `alfworld_games`).

Must not know about: models, prompts, skills, worker processes.
"""

import dataclasses
import functools
import os
import pathlib
import random

from skilljax.envs import alfworld_engine, alfworld_games
from skilljax.types import Observation, Task

ENV_NAME = "alfworld"
SCOPE = "alfworld"
DATA_VARIABLE = "SKILLJAX_DATA"
_BANNER = "-= Welcome to TextWorld, ALFRED! =-"
_GOAL_MARK = "Your task is to: "


@dataclasses.dataclass(frozen=True)
class AlfworldSettings:
  """Config section `env` for ALFWorld.

  Attributes:
    data_dir: folder of the games; '' means `$SKILLJAX_DATA/alfworld`.
    cache_dir: folder for unpacked games and translations, about 0.2 GB when every game
      has been played; '' means `~/.cache/skilljax/alfworld` (or below XDG_CACHE_HOME).
    max_turns: step cap H of an episode, >= 1.
    require_complete: a split must have exactly the benchmark's number of games.
  """

  data_dir: str = ""
  cache_dir: str = ""
  max_turns: int = 50
  require_complete: bool = True

  def __post_init__(self):
    if self.max_turns < 1:
      raise ValueError(
        f"max_turns={self.max_turns} must be >= 1 (config key env.max_turns)"
      )

  def archive(self, split: str) -> alfworld_games.GameArchive:
    """The games of one split. Errors as `GameArchive`, and if no folder is set."""
    return alfworld_games.GameArchive(self._data_folder(), self.cache_folder(), split)

  def _data_folder(self) -> pathlib.Path:
    if self.data_dir:
      return pathlib.Path(self.data_dir).expanduser()
    root = os.environ.get(DATA_VARIABLE, "")
    if not root:
      raise FileNotFoundError(
        f"no folder of ALFWorld games: set config key env.data_dir, or the variable "
        f"{DATA_VARIABLE} to the folder that contains alfworld/"
      )
    return pathlib.Path(root).expanduser() / "alfworld"

  def cache_folder(self) -> pathlib.Path:
    """Where derived files go."""
    if self.cache_dir:
      return pathlib.Path(self.cache_dir).expanduser()
    root = os.environ.get("XDG_CACHE_HOME", "") or "~/.cache"
    return pathlib.Path(root).expanduser() / "skilljax" / "alfworld"


class AlfworldSource:
  """Which games exist (TaskSource protocol). Reads the data, never the engine."""

  families = tuple(alfworld_games.FAMILY_OF_TASK_TYPE.values())

  def __init__(self, settings: AlfworldSettings):
    self._settings = settings
    self._index = functools.cache(self._read_index)
    self._tasks = functools.cache(self._list_tasks)

  def tasks(self, split: str) -> tuple[Task, ...]:
    """All games of a split, in order of their names.

    Raises:
      ValueError: unknown split; damaged file; not the benchmark's number of games.
      FileNotFoundError: no data.
    """
    return self._tasks(split)

  def scopes(self, split: str) -> tuple[str, ...]:
    """One bank for the whole benchmark."""
    del split
    return (SCOPE,)

  def stream(self, scope: str, split: str) -> tuple[Task, ...]:
    """All tasks of the scope, which are all of the split. Errors as `tasks`.

    Raises:
      ValueError: unknown scope.
    """
    if scope != SCOPE:
      raise ValueError(f"scope={scope!r} must be {SCOPE!r}")
    return self.tasks(split)

  def probes(self, task: Task, num: int, seed: int) -> tuple[Task, ...]:
    """`num` different train games of the task's family, never the task itself.

    Raises:
      ValueError: the train split has fewer such games.
    """
    pool = [
      other
      for other in self.tasks("train")
      if other.family == task.family and other.name != task.name
    ]
    if not 0 <= num <= len(pool):
      raise ValueError(
        f"num={num} must be in [0, {len(pool)}], the train games of family "
        f"{task.family!r} (config key probes.num_probes)"
      )
    return tuple(random.Random(f"alfworld/probes/{task.key}/{seed}").sample(pool, num))

  def walkthrough(self, task: Task) -> tuple[str, ...]:
    """The plan that came with a game, one command each. For demonstrations and tests."""
    return self._index(task.split)[task.name].walkthrough

  def goal(self, task: Task) -> str:
    """The goal sentence, as in `Observation.goal`."""
    return f"{self._index(task.split)[task.name].goal}."

  def _read_index(self, split: str) -> dict[str, alfworld_games.GameInfo]:
    index = {game.name: game for game in self._settings.archive(split).index()}
    expected = alfworld_games.SPLIT_SIZES[split]
    if self._settings.require_complete and len(index) != expected:
      raise alfworld_games.DataError(
        f"split {split!r} has {len(index)} games, the benchmark has {expected}: the data "
        "are incomplete; copy them again, or set env.require_complete=False"
      )
    return index

  def _list_tasks(self, split: str) -> tuple[Task, ...]:
    return tuple(
      Task(env=ENV_NAME, split=split, scope=SCOPE, family=game.family, name=game.name)
      for game in self._index(split).values()
    )


class AlfworldEnv:
  """One game at a time (Env protocol), one engine object for all games."""

  def __init__(self, settings: AlfworldSettings):
    """Imports the engine (about a second).

    Raises:
      ModuleNotFoundError: it is not installed; the message says how.
    """
    self._settings = settings
    self._engine = alfworld_engine.load_engine()
    self._engine.translator.folder = settings.cache_folder() / "sas"
    self._archive = functools.cache(settings.archive)
    # A fresh object a game would leak 8 MB each, even after closing it.
    self._env = alfworld_engine.make_textworld_env()
    self._loaded: tuple[str, str] | None = None
    self._ended = True

  def reset(self, task: Task) -> Observation:
    """Starts a game; a game that is loaded already starts much faster.

    Raises:
      ValueError: not a task of this benchmark, or the data are damaged.
      FileNotFoundError: no data.
    """
    if task.env != ENV_NAME:
      raise ValueError(f"task {task.key!r} is not one of {ENV_NAME!r}")
    if self._loaded != (task.split, task.name):
      self._load(task)
    state = self._env.reset()
    self._turn = 0
    self._ended = False
    text = state["feedback"].replace(alfworld_games.GOAL_SLOT, self._goal.rstrip("."))
    text = text.removeprefix(_BANNER).strip()
    return Observation(
      text=text if _GOAL_MARK in text else f"{text}\n\n{_GOAL_MARK}{self._goal}",
      success=bool(state["won"]),
      admissible=tuple(state["admissible_commands"]),
      goal=self._goal,
      max_turns=self._settings.max_turns,
    )

  def step(self, action: str) -> Observation:
    """Plays one command; what the game does not know answers 'Nothing happens.'.

    Raises:
      ValueError: the episode has ended, or was never started.
    """
    if self._ended:
      raise ValueError("step: the episode has ended; call reset first")
    state, _, _ = self._env.step(action)
    self._turn += 1
    won = bool(state["won"])
    truncated = not won and self._turn >= self._settings.max_turns
    self._ended = won or truncated
    return Observation(
      text=state["feedback"].strip(),
      reward=float(won),
      terminated=won,
      truncated=truncated,
      success=won,
      admissible=tuple(state["admissible_commands"]),
    )

  def close(self):
    """Drops the engine object."""
    self._env.close()
    self._ended = True

  def _load(self, task: Task):
    self._loaded = None  # a failure must not leave half a game behind
    try:
      game = self._archive(task.split).game(task.name)
    except KeyError as error:
      raise ValueError(
        f"task {task.name!r} is no game of split {task.split!r}"
      ) from error
    alfworld_engine.load_game(
      self._env, domain=game.domain, grammar=game.grammar, problem=game.problem
    )
    self._goal = f"{game.goal}."
    self._loaded = (task.split, task.name)


def why_unavailable(settings: AlfworldSettings) -> str:
  """Why the games cannot be played here; '' if they can. For tests and notebooks."""
  try:
    alfworld_engine.load_engine()
    settings.archive("train")
  except (ModuleNotFoundError, FileNotFoundError) as error:
    return str(error)
  return ""
