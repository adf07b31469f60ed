"""ScienceWorld: 30 kinds of elementary-science experiments, 7,207 variations.

The engine of the package, called directly, behind the `Env` and `TaskSource` protocols;
its splits, texts and scores. Needs the extra `scienceworld` and Java.

As published evaluations count: `easy` simplifications, 100 moves, and a score below 0
(the wrong thing was focused on, which ends the episode) counts as 0. So the return of an
episode is max(score, 0) / 100, and success is a score of 100. A move here is any reply
of the agent; the package does not count `help`, `objects`, `task` and ambiguous requests.

What a user must know of the engine:
- An ambiguous command is answered with numbered choices, and the next command must be
  one of the numbers; anything else cancels.
- `easy` does not open containers (and `openContainers` does not work in 1.2.x); it takes
  away `connect` except where a task needs it.
- The list of valid actions has some hundred entries and costs more than a step
  (`admissible`, off by default).
- Some gold paths are odd: they repeat what failed, or go on after the goal. That of the
  first train variation reaches 100 for every task type (a slow test), the others may not.
- Random events follow from the variation, and the order of lists from the commands (the
  package itself lists choices in another order at every start): the same commands give
  the same episode.

Must not know about: models, prompts, skills, worker processes.
"""

import dataclasses
from collections.abc import Sequence

from skilljax.envs import jvm
from skilljax.envs.base import UnplayableTask
from skilljax.envs.java_source import JavaSource
from skilljax.envs.walkthrough import WalkthroughTeacher
from skilljax.types import Observation, Task

ENV_NAME = "scienceworld"
SPLITS = ("train", "dev", "test")
SIMPLIFICATIONS = (
  *("teleportAction", "selfWateringFlowerPots", "openContainers", "openDoors"),
  "noElectricalAction",
)
# Task type: number of its variations, as the engine of version 1.2.3 has them.
VARIATIONS = {
  "boil": 30,
  "change-the-state-of-matter-of": 30,
  "chemistry-mix": 32,
  "chemistry-mix-paint-secondary-color": 36,
  "chemistry-mix-paint-tertiary-color": 36,
  "find-animal": 300,
  "find-living-thing": 300,
  "find-non-living-thing": 300,
  "find-plant": 300,
  "freeze": 30,
  "grow-fruit": 126,
  "grow-plant": 126,
  "identify-life-stages-1": 14,
  "identify-life-stages-2": 10,
  "inclined-plane-determine-angle": 168,
  "inclined-plane-friction-named-surfaces": 1386,
  "inclined-plane-friction-unnamed-surfaces": 162,
  "lifespan-longest-lived": 125,
  "lifespan-longest-lived-then-shortest-lived": 125,
  "lifespan-shortest-lived": 125,
  "measure-melting-point-known-substance": 436,
  "measure-melting-point-unknown-substance": 300,
  "melt": 30,
  "mendelian-genetics-known-plant": 120,
  "mendelian-genetics-unknown-plant": 480,
  "power-component": 20,
  "power-component-renewable-vs-nonrenewable-energy": 20,
  "test-conductivity": 900,
  "test-conductivity-of-unknown-substances": 600,
  "use-thermometer": 540,
}
_ELECTRICAL = ("power-component", "conductivity")
_JAR = "scienceworld.jar"
_CLASS = "scienceworld.runtime.pythonapi.PythonInterface"


@dataclasses.dataclass(frozen=True)
class ScienceworldSettings:
  """Config section `env` for ScienceWorld.

  Attributes:
    task_types: which are played, keys of `VARIATIONS`; () means all.
    max_turns: step cap H of an episode, >= 1.
    simplifications: '' for none, 'easy', or names of `SIMPLIFICATIONS` with commas.
    heap_mb: Java memory for the worlds of one process together, MB: 15 a world, and 150
      beside them.
    admissible: offer the list of valid actions.
  """

  task_types: tuple[str, ...] = ()
  max_turns: int = 100
  simplifications: str = "easy"
  heap_mb: int = 256
  admissible: bool = False

  def __post_init__(self):
    if unknown := sorted(set(self.task_types) - set(VARIATIONS)):
      raise ValueError(
        f"task_types: {unknown} are none of {sorted(VARIATIONS)} "
        "(config key env.task_types)"
      )
    if self.max_turns < 1:
      raise ValueError(
        f"max_turns={self.max_turns} must be >= 1 (config key env.max_turns)"
      )
    jvm.check_heap(self.heap_mb)
    self._check_simplifications()

  def _check_simplifications(self):
    names = self.simplifications.split(",") if self.simplifications else []
    if self.simplifications != "easy" and not set(names) <= set(SIMPLIFICATIONS):
      raise ValueError(
        f"simplifications={self.simplifications!r} must be '', 'easy', or some of "
        f"{', '.join(SIMPLIFICATIONS)} with commas and no spaces "
        "(config key env.simplifications)"
      )
    electrical = [t for t in self.families if any(word in t for word in _ELECTRICAL)]
    if "noElectricalAction" in names and electrical:
      raise ValueError(
        f"simplifications={self.simplifications!r} takes away what {electrical} need; "
        "leave noElectricalAction out, or choose other env.task_types "
        "(config key env.simplifications)"
      )

  @property
  def families(self) -> tuple[str, ...]:
    """The task types that are played, in the order of `VARIATIONS`."""
    return tuple(t for t in VARIATIONS if t in self.task_types or not self.task_types)

  def holder(self) -> jvm.WorldHolder:
    """A world of these settings, once it is used.

    Raises:
      ModuleNotFoundError, FileNotFoundError: see `jvm.engine_folder`.
    """
    folder = jvm.engine_folder("scienceworld", extra="scienceworld")
    return jvm.WorldHolder(folder / _JAR, _CLASS, self.heap_mb)


def split_variations(num: int) -> dict[str, range]:
  """The benchmark's split of `num` >= 10 variations: half, a quarter, the rest."""
  quarter = num // 4
  return {
    "train": range(2 * quarter),
    "dev": range(2 * quarter, 3 * quarter),
    "test": range(3 * quarter, min(num, 5 * quarter)),
  }


class ScienceworldSource(JavaSource):
  """Which variations exist (TaskSource protocol). Goals and gold paths need Java."""

  env_name = ENV_NAME

  def __init__(self, settings: ScienceworldSettings):
    """Starts nothing. Errors as `ScienceworldSettings.holder`."""
    self._settings = settings
    super().__init__(settings.families, settings.holder())

  def _list_tasks(self, split: str) -> tuple[Task, ...]:
    if split not in SPLITS:
      raise ValueError(f"split={split!r} must be one of {SPLITS}")
    return tuple(
      Task(ENV_NAME, split, ENV_NAME, family, f"{family}/{number}")
      for family in self.families
      for number in split_variations(VARIATIONS[family])[split]
    )

  def _load(self, world: jvm.World, task: Task, *, gold: bool):
    _load(world, task, self._settings.simplifications, gold=gold)


class ScienceworldEnv:
  """One variation at a time (Env protocol), in a world of its own."""

  def __init__(self, settings: ScienceworldSettings):
    """Starts the engine, and Java if this process has none yet.

    Raises:
      ModuleNotFoundError, FileNotFoundError, JvmError: it cannot; the message says how.
    """
    self._settings = settings
    self._holder = settings.holder()
    self._world = self._holder.world()
    self._ended = True

  def reset(self, task: Task) -> Observation:
    """Starts an episode with a look around, which is a move of the engine's clock.

    Raises:
      UnplayableTask: not a task of this benchmark.
      JvmError: Java cannot be started.
    """
    self._ended = True
    self._world = self._holder.world()
    with self._world.errors():
      _load(self._world, task, self._settings.simplifications, gold=False)
      engine = self._world.engine
      goal = engine.getTaskDescription().strip()
      around = engine.step("look around").strip()
      texts = (around, engine.freeActionInventory().strip(), goal)
    self._turn, self._score, self._ended = 0, 0, False
    return Observation(
      text="\n\n".join(texts),
      admissible=self._admissible(),
      goal=goal,
      max_turns=self._settings.max_turns,
    )

  def step(self, action: str) -> Observation:
    """Plays one command; what the engine does not know costs a move.

    Raises:
      ValueError: the episode has ended, or was never started.
      JvmError: Java died. The next `reset` starts it again.
    """
    if self._ended:
      raise ValueError("step: the episode has ended; call reset first")
    self._ended = True  # until the engine has answered
    with self._world.errors():
      engine = self._world.engine
      text = engine.step(action).strip()
      exact = round(100 * engine.getScore())
      completed = bool(engine.getCompleted())
    self._turn += 1
    before, self._score = self._score, max(exact, 0)
    terminated = completed or exact < 0
    truncated = not terminated and self._turn >= self._settings.max_turns
    self._ended = terminated or truncated
    return Observation(
      text=text,
      reward=(self._score - before) / 100,
      terminated=terminated,
      truncated=truncated,
      success=self._score >= 100,
      admissible=() if self._ended else self._admissible(),
    )

  def close(self):
    """Drops the world; Java ends with the last one of this process."""
    self._holder.close()
    self._ended = True

  def _admissible(self) -> Sequence[str]:
    if not self._settings.admissible:
      return ()
    with self._world.errors():
      return self._world.strings(self._world.engine.getValidActionObjectCombinations())


def make_teacher(settings: ScienceworldSettings) -> WalkthroughTeacher:
  """Demonstrations by the gold paths. Errors as `ScienceworldSource`."""
  return WalkthroughTeacher(ScienceworldSource(settings), idle="look around")


def _load(world: jvm.World, task: Task, simplifications: str, *, gold: bool):
  family, _, number = task.name.rpartition("/")
  if task.env != ENV_NAME or family not in VARIATIONS or not number.isdecimal():
    raise UnplayableTask(f"task {task.key!r} is not one of {ENV_NAME!r}")
  if error := world.engine.load(family, int(number), simplifications, gold):
    raise UnplayableTask(f"task {task.key!r}: {error}")
