"""TextWorldExpress: eight small text games, made from seeds, thousands of steps a second.

The engine of the package, called directly, behind the `Env` and `TaskSource` protocols.
Needs the extra `textworld-express` and Java.

The score of a game is in [0, 1] and becomes the return of the episode; success is the
engine's own flag. A wrong move can lose a game at once (an ingredient cut in the wrong
way, a wrong object in the box), which ends the episode with the score that it had.

What a user must know of the engine:
- A command must be one of the valid actions, word for word (`admissible` offers them);
  others answer 'Unknown action' and change nothing. Case is not minded here.
- Each fold has its own objects or rooms where a game has enough of them, so a seed gives
  different games in different folds.
- A game follows from its seed, but the gold paths of `coin` and `twc` search at random,
  otherwise at every start: their demonstrations are not the same in two runs.
- `simonsays` shows nothing but the next order, and has no inventory.

Must not know about: models, prompts, skills, worker processes.
"""

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

from skilljax.envs import jvm
from skilljax.envs.base import UnplayableTask
from skilljax.envs.java_source import JavaSource
from skilljax.envs.walkthrough import WalkthroughTeacher
from skilljax.types import Observation, Task

ENV_NAME = "textworld_express"
GAMES = (
  *("cookingworld", "twc", "coin", "mapreader"),
  *("arithmetic", "sorting", "simonsays", "peckingorder"),
)
# Fold: its first seed, as in the package.
FIRST_SEED = {"train": 0, "dev": 10_000, "test": 20_000}
MAX_TASKS = 10_000
_JAR = "textworld-express.jar"
_CLASS = "textworldexpress.runtime.PythonInterface"


@dataclasses.dataclass(frozen=True)
class ExpressSettings:
  """Config section `env` for TextWorldExpress.

  Attributes:
    games: which are played, of `GAMES`, each at most once.
    params: 'game:name=value,name=value' for the games whose defaults do not suit, for
      example 'coin:numLocations=5,includeDoors=0'. The engine knows the names.
    train_tasks, dev_tasks, test_tasks: seeds of a split, a game, in [1, 10000].
    max_turns: step cap H of an episode, >= 1.
    heap_mb: Java memory for the worlds of one process together, MB: 1 a world, and
      some tens beside them.
    admissible: offer the list of valid actions.
  """

  games: tuple[str, ...] = GAMES
  params: tuple[str, ...] = ()
  train_tasks: int = 1000
  dev_tasks: int = 100
  test_tasks: int = 100
  max_turns: int = 100
  heap_mb: int = 128
  admissible: bool = True

  def __post_init__(self):
    if not self.games or len(set(self.games)) < len(self.games):
      raise ValueError(
        f"games={self.games} must be some of {GAMES}, each once (config key env.games)"
      )
    if unknown := sorted(set(self.games) - set(GAMES)):
      raise ValueError(f"games: {unknown} are none of {GAMES} (config key env.games)")
    for name in ("train_tasks", "dev_tasks", "test_tasks"):
      if not 1 <= self.__dict__[name] <= MAX_TASKS:
        raise ValueError(
          f"{name}={self.__dict__[name]} must be in [1, {MAX_TASKS}] "
          f"(config key env.{name})"
        )
    if self.max_turns < 1:
      raise ValueError(
        f"max_turns={self.max_turns} must be >= 1 (config key env.max_turns)"
      )
    jvm.check_heap(self.heap_mb)
    self.params_of_games()

  def params_of_games(self) -> Mapping[str, str]:
    """Game -> its parameters, as the engine reads them.

    Raises:
      ValueError: an entry of `params` cannot be read, or names no game of `games`.
    """
    found = {}
    for entry in self.params:
      game, colon, values = entry.partition(":")
      pairs = [pair.split("=") for pair in values.replace(" ", "").split(",")]
      whole = all(len(p) == 2 and p[0] and p[1].isdecimal() for p in pairs)
      if not (colon and whole) or game not in self.games or game in found:
        raise ValueError(
          f"params: {entry!r} must read 'game:name=number,name=number', with a game of "
          f"{self.games}, each once (config key env.params)"
        )
      found[game] = ", ".join("=".join(pair) for pair in pairs)
    return found

  def holder(self) -> jvm.WorldHolder:
    """A world of these settings, once it is used.

    Raises:
      ModuleNotFoundError, FileNotFoundError: see `jvm.engine_folder`.
    """
    folder = jvm.engine_folder("textworld_express", extra="textworld-express")
    return jvm.WorldHolder(folder / _JAR, _CLASS, self.heap_mb)


class ExpressSource(JavaSource):
  """Which games exist (TaskSource protocol). Goals and gold paths need Java."""

  env_name = ENV_NAME

  def __init__(self, settings: ExpressSettings):
    """Starts nothing. Errors as `ExpressSettings.holder`."""
    self._settings = settings
    super().__init__(settings.games, settings.holder())

  def _list_tasks(self, split: str) -> tuple[Task, ...]:
    if split not in FIRST_SEED:
      raise ValueError(f"split={split!r} must be one of {tuple(FIRST_SEED)}")
    settings = self._settings
    counts = {
      "train": settings.train_tasks,
      "dev": settings.dev_tasks,
      "test": settings.test_tasks,
    }
    return tuple(
      Task(ENV_NAME, split, ENV_NAME, game, f"{game}/{FIRST_SEED[split] + number}")
      for game in self.families
      for number in range(counts[split])
    )

  def _load(self, world: jvm.World, task: Task, *, gold: bool):
    _generate(world, task, self._settings, gold=gold)


class ExpressEnv:
  """One game at a time (Env protocol), in a world of its own."""

  def __init__(self, settings: ExpressSettings):
    """Starts the engine, and Java if this process has none yet.

    Raises:
      ModuleNotFoundError, FileNotFoundError, JvmError: it cannot; the message says how.
      ValueError: the engine refuses `env.params`.
    """
    self._settings = settings
    self._holder = settings.holder()
    self._world = self._holder.world()
    with self._world.errors():
      for game in settings.games:
        _choose(self._world, game, settings)
    self._ended = True

  def reset(self, task: Task) -> Observation:
    """Makes a game.

    Raises:
      UnplayableTask: not a task of this benchmark.
      JvmError: Java cannot be started.
    """
    self._ended = True
    self._world = self._holder.world()
    with self._world.errors():
      state = _generate(self._world, task, self._settings, gold=False)
      goal = self._world.engine.getTaskDescription().strip()
    self._turn, self._score, self._ended = 0, 0.0, False
    texts = (state["observation"].strip(), state["inventory"].strip(), goal)
    return Observation(
      text="\n\n".join(text for text in texts if text),
      admissible=self._offer(state),
      goal=goal,
      max_turns=self._settings.max_turns,
    )

  def step(self, action: str) -> Observation:
    """Plays one command; what is not valid changes nothing.

    Raises:
      ValueError: the episode has ended, or was never started.
      JvmError: Java died. The next `reset` starts it again.
    """
    if self._ended:
      raise ValueError("step: the episode has ended; call reset first")
    self._ended = True  # until the engine has answered
    command = self._spelled.get(action.strip().lower(), action)
    with self._world.errors():
      state = json.loads(self._world.engine.stepJSON(command))
    self._turn += 1
    before, self._score = self._score, float(state["score"])
    success = bool(state["tasksuccess"])
    terminated = success or bool(state["taskfailure"])
    truncated = not terminated and self._turn >= self._settings.max_turns
    self._ended = terminated or truncated
    return Observation(
      text=state["observation"].strip(),
      reward=self._score - before,
      terminated=terminated,
      truncated=truncated,
      success=success,
      admissible=self._offer(state),
    )

  def close(self):
    """Drops the world; Java ends with the last one of this process."""
    self._holder.close()
    self._ended = True

  def _offer(self, state: Mapping[str, Any]) -> tuple[str, ...]:
    """Remembers how valid actions are spelled; all of them, if they are offered."""
    valid = state["validActions"]
    self._spelled = {command.lower(): command for command in valid}
    offered = self._settings.admissible and not self._ended
    return tuple(sorted(valid)) if offered else ()


def make_teacher(settings: ExpressSettings) -> WalkthroughTeacher:
  """Demonstrations by the gold paths. Errors as `ExpressSource`."""
  return WalkthroughTeacher(ExpressSource(settings), idle="look around")


def _choose(world: jvm.World, game: str, settings: ExpressSettings):
  params = settings.params_of_games().get(game, "")
  if error := world.engine.load(game, params):
    raise ValueError(f"params of {game!r}: {error.strip()} (config key env.params)")


def _generate(
  world: jvm.World, task: Task, settings: ExpressSettings, *, gold: bool
) -> dict[str, Any]:
  game, _, seed = task.name.rpartition("/")
  known = game in settings.games and task.split in FIRST_SEED and seed.isdecimal()
  if task.env != ENV_NAME or not known:
    raise UnplayableTask(
      f"task {task.key!r} is not one of {ENV_NAME!r} with these settings (config keys "
      "env.games, env.params)"
    )
  _choose(world, game, settings)
  return json.loads(world.engine.generateNewGameJSON(int(seed), task.split, gold))
