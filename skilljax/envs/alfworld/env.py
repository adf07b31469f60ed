"""One ALFWorld text game at a time behind the `Env` protocol.

Games are asked for by name; success comes from the engine's own `won` flag alone. Needs
the packages of the extra `alfworld` and the benchmark's games (see `games.py`).

Must not know about: models, prompts, skills, worker processes.
"""

import functools
from collections.abc import Mapping
from typing import Any

from skilljax.envs import base
from skilljax.envs.alfworld import engine
from skilljax.envs.alfworld.games import GOAL_SLOT
from skilljax.envs.alfworld.settings import ENV_NAME, AlfworldSettings
from skilljax.types import Observation, Task

_BANNER = "-= Welcome to TextWorld, ALFRED! =-"
_GOAL_MARK = "Your task is to: "
_FIX = "copy the file again (config key env.data_dir)"


class AlfworldEnv:
  """One game at a time (Env protocol), one engine object for all games."""

  def __init__(self, settings: AlfworldSettings):
    """Imports the engine (about a second).

    Raises:
      ModuleNotFoundError: it is not installed; the message says how.
    """
    self._settings = settings
    self._engine = engine.load_engine()
    self._engine.translator.folder = settings.cache_folder() / "sas"
    self._archive = functools.cache(settings.archive)
    # A fresh object a game would leak 8 MB each, even after closing it.
    self._env = engine.make_textworld_env()
    self._loaded: Task | None = None
    self._ended = True

  def reset(self, task: Task) -> Observation:
    """Starts a game; a game that is loaded already starts much faster.

    Raises:
      UnplayableTask: not a task of this benchmark, or the engine cannot load the game.
      ValueError: the data as a whole are damaged.
      FileNotFoundError: no data.
    """
    self._ended = True
    if task.env != ENV_NAME:
      raise base.UnplayableTask(f"task {task.key!r} is not one of {ENV_NAME!r}")
    state = self._env.reset() if self._loaded == task else self._load(task)
    self._goal = self._settings.goal(task, self._game)
    self._turn = 0
    self._ended = False
    text = state["feedback"].replace(GOAL_SLOT, self._goal[:-1])
    text = text.removeprefix(_BANNER).strip()
    return Observation(
      text=text if _GOAL_MARK in text else f"{text}\n\n{_GOAL_MARK}{self._goal}",
      success=bool(state["won"]),
      admissible=self._commands(state),
      goal=self._goal,
      max_turns=self._settings.max_turns,
    )

  def step(self, action: str) -> Observation:
    """Plays one command; what the game does not know answers 'Nothing happens.'.

    Raises:
      ValueError: the episode has ended, or was never started.
      UnplayableTask: the game has come to a state without any command.
    """
    if self._ended:
      raise ValueError("step: the episode has ended; call reset first")
    state, _, _ = self._env.step(action)
    commands = self._commands(state)
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
      admissible=commands,
    )

  def close(self):
    """Drops the engine object."""
    self._env.close()
    self._ended = True

  def _load(self, task: Task) -> Mapping[str, Any]:
    """Takes the engine to the first state of a game that it does not hold."""
    self._loaded = None  # a failure must not leave half a game behind
    archive = self._archive(task.split)
    try:
      self._game = archive.game(task.name)
    except KeyError as error:
      raise base.UnplayableTask(
        f"task {task.name!r} is no game of split {task.split!r}"
      ) from error
    if self._game.error:
      raise base.UnplayableTask(self._game.error)
    try:
      engine.load_game(
        self._env,
        domain=self._game.domain,
        grammar=self._game.grammar,
        problem=self._game.problem,
      )
      state = self._env.reset()
    except (OSError, MemoryError):
      raise  # of the machine, not of the game
    except Exception as error:  # each of its parsers has its own
      self._env.close()
      self._env = engine.make_textworld_env()
      raise base.UnplayableTask(
        f"{archive.place(task.name)}: the engine cannot load game {task.name} "
        f"({type(error).__name__}: {str(error)[:200]}); {_FIX}"
      ) from error
    self._loaded = task
    return state

  def _commands(self, state: Mapping[str, Any]) -> tuple[str, ...]:
    """The admissible commands of a state: every game has some, 'look' at least."""
    if state["admissible_commands"]:
      return tuple(state["admissible_commands"])
    task, self._loaded, self._ended = self._loaded, None, True
    place = self._archive(task.split).place(task.name)
    raise base.UnplayableTask(
      f"{place}: game {task.name} offers no command at all; {_FIX}"
    )


def why_unavailable(settings: AlfworldSettings) -> str:
  """Why the games cannot be played here; '' if they can. For tests and notebooks."""
  try:
    engine.load_engine()
    settings.archive("train")
  except (ModuleNotFoundError, FileNotFoundError) as error:
    return str(error)
  return ""
