"""Which conversations BFCL multi-turn has, and how they are shown: settings and tasks.

Must not know about: calls, verdicts, models.
"""

import dataclasses
import functools

from skilljax.envs.bfcl.data import FAMILIES, SPLITS, Benchmark
from skilljax.envs.one_scope import OneScopeSource
from skilljax.envs.walkthrough import WalkthroughTeacher
from skilljax.types import Task

ENV_NAME = "bfcl"
DONE = "done"
DOCS = ("full", "signatures")


@dataclasses.dataclass(frozen=True)
class BfclSettings:
  """Config section `env` for BFCL multi-turn.

  Attributes:
    docs: 'full', the benchmark's JSON documentation (8,000 to 28,000 characters), or
      'signatures', one short line a function.
    max_turns: step cap H of an episode, >= 1. The benchmark itself only limits each
      answer, to 20 steps; 168 is as good as no other cap.
  """

  docs: str = "full"
  max_turns: int = 60

  def __post_init__(self):
    if self.docs not in DOCS:
      raise ValueError(f"docs={self.docs!r} must be one of {DOCS} (config key env.docs)")
    if self.max_turns < 1:
      raise ValueError(
        f"max_turns={self.max_turns} must be >= 1 (config key env.max_turns)"
      )


class BfclSource(OneScopeSource):
  """Which conversations exist (TaskSource protocol).

  Splits: 'train', 'dev', 'test' are ours (`data.split_sides`); 'all' is the whole
  benchmark, for numbers that compare with published ones.
  """

  env_name = ENV_NAME
  families = FAMILIES

  def __init__(self, settings: BfclSettings):
    del settings  # what exists does not depend on how it is shown
    self._benchmark = Benchmark()
    self._tasks = functools.cache(self._list_tasks)

  def tasks(self, split: str) -> tuple[Task, ...]:
    """All tasks of a split, in the benchmark's order, family by family.

    Raises:
      ValueError: unknown split.
      ModuleNotFoundError: the package is not installed; the message says how.
    """
    return self._tasks(split)

  def goal(self, task: Task) -> str:
    """The user's first message."""
    return self._benchmark.scenarios[task.name].messages[0]

  def walkthrough(self, task: Task) -> tuple[str, ...]:
    """The benchmark's answers as actions: all calls of an answer at once, then `done`."""
    actions = []
    for calls in self._benchmark.scenarios[task.name].truth:
      actions += [f"[{', '.join(calls)}]"] if calls else []
      actions.append(DONE)
    return tuple(actions)

  def _list_tasks(self, split: str) -> tuple[Task, ...]:
    if split not in SPLITS:
      raise ValueError(f"split={split!r} must be one of {SPLITS}")
    sides = self._benchmark.sides
    return tuple(
      Task(
        env=ENV_NAME,
        split=split,
        scope=ENV_NAME,
        family=s.family,
        name=s.name,
        cluster=str(s.number),  # the four families are variants of one conversation
      )
      for s in self._benchmark.scenarios.values()
      if split in ("all", sides[s.number])
    )


def make_bfcl_teacher(settings: BfclSettings) -> WalkthroughTeacher:
  """Demonstrations that replay the benchmark's own answers."""
  return WalkthroughTeacher(BfclSource(settings), idle=DONE)
