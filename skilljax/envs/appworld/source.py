"""Which tasks AppWorld has, for those who have its data: settings, tasks, no teacher.

Must not know about: the engine, models.
"""

import dataclasses
import functools
import json
import os
import pathlib
import random

from skilljax.envs import base
from skilljax.envs.appworld.engine import ROOT_VARIABLE
from skilljax.envs.data_files import DataError
from skilljax.envs.one_scope import OneScopeSource
from skilljax.types import Skill, Task

ENV_NAME = "appworld"
SPLITS = ("train", "dev", "test_normal", "test_challenge")


@dataclasses.dataclass(frozen=True)
class AppworldSettings:
  """Config section `env` for AppWorld.

  Attributes:
    python: interpreter of the environment that has appworld installed.
    data_dir: folder that holds AppWorld's `data/`; '' means `$APPWORLD_ROOT`.
    max_turns: step cap H of an episode, >= 1.
    timeout_s: longest wait for one answer of the engine, seconds, > 0.
  """

  python: str = ""
  data_dir: str = ""
  max_turns: int = 40
  timeout_s: float = 150.0

  def __post_init__(self):
    if self.max_turns < 1:
      raise ValueError(
        f"max_turns={self.max_turns} must be >= 1 (config key env.max_turns)"
      )
    if not self.timeout_s > 0.0:
      raise ValueError(
        f"timeout_s={self.timeout_s} must be > 0 (config key env.timeout_s)"
      )

  def root(self) -> pathlib.Path:
    """The folder that holds `data/`.

    Raises:
      FileNotFoundError: it is not set, or holds no data.
    """
    name = self.data_dir or os.environ.get(ROOT_VARIABLE, "")
    if not name:
      raise FileNotFoundError(
        "no folder of AppWorld data: set config key env.data_dir, or the variable "
        f"{ROOT_VARIABLE}, to the folder in which `appworld download data` was run"
      )
    root = pathlib.Path(name).expanduser().resolve()
    for part in ("datasets", "tasks"):
      if not (root / "data" / part).is_dir():
        raise FileNotFoundError(
          f"{root}/data/{part}: no AppWorld data; run `appworld download data` in {root} "
          "(config key env.data_dir)"
        )
    return root


class AppworldSource(OneScopeSource):
  """Which tasks exist (TaskSource protocol). Reads the id files, never the engine."""

  env_name = ENV_NAME
  families = ("appworld",)

  def __init__(self, settings: AppworldSettings):
    self._settings = settings
    self._tasks = functools.cache(self._list_tasks)

  def tasks(self, split: str) -> tuple[Task, ...]:
    """All tasks of a split, in the order of the benchmark's id file.

    Raises:
      ValueError: unknown split.
      FileNotFoundError: no data.
    """
    return self._tasks(split)

  def goal(self, task: Task) -> str:
    """The instruction of a task, read from its folder.

    Raises:
      DataError: the folder's file is absent or damaged.
    """
    path = self._settings.root() / "data" / "tasks" / task.name / "specs.json"
    try:
      return str(json.loads(path.read_text(encoding="utf-8"))["instruction"])
    except (OSError, ValueError, KeyError, TypeError) as error:
      raise DataError(
        f"{path}: absent or damaged ({type(error).__name__}: {error}); run `appworld "
        f"download data` again in {self._settings.root()}"
      ) from error

  def probes(
    self, task: Task, num: int, seed: int, *, every_family: bool = False
  ) -> tuple[Task, ...]:
    """`num` different train tasks of other scenarios than the task's own.

    Raises:
      ValueError: the train split has fewer such tasks.
    """
    del every_family  # there is one
    pool = [t for t in self.tasks("train") if t.cluster != task.cluster]
    if not 0 <= num <= len(pool):
      raise ValueError(
        f"num={num} must be in [0, {len(pool)}], the train tasks of other scenarios "
        "(config key probes.num_probes)"
      )
    return tuple(random.Random(f"appworld/probes/{task.key}/{seed}").sample(pool, num))

  def _list_tasks(self, split: str) -> tuple[Task, ...]:
    if split not in SPLITS:
      raise ValueError(f"split={split!r} must be one of {SPLITS}")
    path = self._settings.root() / "data" / "datasets" / f"{split}.txt"
    if not path.is_file():
      raise FileNotFoundError(f"{path}: the data are incomplete; download them again")
    lines = path.read_text(encoding="utf-8").splitlines()
    # A tag may follow the id.
    names = [line.partition(":")[0].strip() for line in lines if line.strip()]
    if not names:
      raise DataError(f"{path}: names no task; run `appworld download data` again")
    return tuple(
      Task(
        env=ENV_NAME,
        split=split,
        scope=ENV_NAME,
        family=self.families[0],
        name=name,
        cluster=name.partition("_")[0],  # the scenario
      )
      for name in names
    )


@dataclasses.dataclass(frozen=True)
class AppworldTeacher:
  """No demonstrations (Teacher protocol): the benchmark's solutions are not distributed
  in a form that may be copied into a dataset. For pretrained policies only.
  """

  settings: AppworldSettings

  def skills(self, task: Task, seed: int) -> tuple[Skill, ...]:
    """None."""
    del task, seed
    return ()

  def null_skill(self, task: Task, index: int) -> Skill:
    """One content-free skill, visible to every task."""
    del task
    return base.null_skill(index)

  def agent(self, task: Task, seed: int) -> base.TextAgent:
    """There is none.

    Raises:
      ValueError: always.
    """
    del task, seed
    raise ValueError(
      "environment 'appworld' has no demonstrations: start from a pretrained policy, "
      "without a cold start"
    )

  def expert(self, task: Task) -> base.TextAgent:
    """There is none. Errors as `agent`."""
    return self.agent(task, 0)

  def drill(
    self, seed: int, *, reading_only: bool
  ) -> tuple[tuple[Skill, ...], tuple[tuple[str, str], ...]]:
    """None."""
    del seed, reading_only
    return (), ()
