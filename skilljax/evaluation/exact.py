"""Evaluation that plays every task exactly once per pass, in three arms.

* `no_bank`: no skills in the prompt;
* `frozen`: a given bank that does not change;
* `evolving`: the policy reviews each episode and its valid edits enter the bank that
  later tasks of the stream read. There is no gate: at test time nobody probes.

Results do not depend on batch size: keys name (pass, chain, position), not slots. Arms of
one pass share their sampling keys, so they are paired.

Source: DESIGN section 4.10; docs/evaluation.md. Must not know about: training, JAX.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from skilljax.rollout.plan import Plan, Purpose, streams
from skilljax.rollout.runner import Rollout, Runner
from skilljax.skills.bank import SkillBank
from skilljax.types import Task, Trajectory

ARMS = ("no_bank", "frozen", "evolving")


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvalSettings:
  """Config section `eval`.

  Attributes:
    split: of the task source.
    arms: which of `ARMS`.
    passes: times that every task is played per arm; each in another stream order. A
      number to be quoted takes 3 or more.
    width: episodes of one stream between two commits of the evolving arm.
    temperature: of the sampler; 0 is greedy.
    num_scopes: scopes to play, in the source's order; 0 plays all.
    tasks_per_scope: tasks of each scope; 0 plays all.
    warmup_tasks: tasks of each scope, disjoint from those that count, on which the
      policy writes the bank of the `frozen` arm; 0 takes the given banks.
  """

  split: str
  arms: tuple[str, ...] = ARMS
  passes: int = 3
  width: int = 1
  temperature: float = 0.4
  num_scopes: int = 0
  tasks_per_scope: int = 0
  warmup_tasks: int = 0

  def __post_init__(self):
    unknown = sorted(set(self.arms) - set(ARMS))
    if unknown or not self.arms or len(set(self.arms)) < len(self.arms):
      raise ValueError(
        f"arms={self.arms} must be some of {ARMS}, each once (config key eval.arms)"
      )
    for name, low in (
      ("passes", 1),
      ("width", 1),
      ("temperature", 0),
      ("num_scopes", 0),
      ("tasks_per_scope", 0),
      ("warmup_tasks", 0),
    ):
      if self.__dict__[name] < low:
        raise ValueError(
          f"{name}={self.__dict__[name]} must be >= {low} (config key eval.{name})"
        )


@dataclasses.dataclass(frozen=True)
class EpisodeRecord:
  """One evaluated episode: enough for every table and interval.

  `episode_return` sums the environment's rewards: the graded score where a benchmark has
  one (WebShop, ScienceWorld).
  """

  arm: str
  pass_index: int
  scope: str
  position: int  # in the stream of its scope
  task: str
  family: str
  success: bool
  score: float
  num_turns: int
  bank_size: int  # skills shown in the prompt
  episode_return: float
  fault: str
  cluster: str = ""  # of the task


@dataclasses.dataclass(frozen=True)
class Pass:
  """What one pass over all arms leaves.

  Attributes:
    records: arms × tasks of them.
    banks: arm -> chain -> bank after the pass.
    rollouts: arm -> rollout, for the report; {} for a pass that was read back.
  """

  records: tuple[EpisodeRecord, ...]
  banks: Mapping[str, Mapping[str, SkillBank]]
  rollouts: Mapping[str, Rollout]


@dataclasses.dataclass(frozen=True)
class Evaluation:
  """All records, the banks that the arms ended with, and the episodes played.

  Attributes:
    records: arms × passes × tasks of them.
    banks: arm -> chain -> bank after the last pass.
    num_episodes: interactions, warm-up included.
    rollouts: arm -> rollout of the first pass; {} if an earlier process played it.
  """

  records: tuple[EpisodeRecord, ...]
  banks: Mapping[str, Mapping[str, SkillBank]]
  num_episodes: int
  rollouts: Mapping[str, Rollout]


def evaluate(
  tasks: Mapping[str, Sequence[Task]],
  *,
  runner: Runner,
  settings: EvalSettings,
  banks: Mapping[str, SkillBank],
  warmup: Mapping[str, Sequence[Task]] | None = None,
  on_episode: Callable[[Trajectory], None] = lambda trajectory: None,
  finished: Sequence[Pass] = (),
  on_pass: Callable[[int, Pass], None] = lambda index, finished: None,
) -> Evaluation:
  """Plays each task once per pass and arm.

  Args:
    tasks: scope -> tasks.
    runner: with the policy to be evaluated published.
    settings: arms, passes, width, temperature.
    banks: scope -> bank that the frozen and evolving arms start with; absent: empty.
    warmup: scope -> tasks disjoint from `tasks`; if given, the frozen arm's bank is
      what the policy writes while playing them. Scopes without warm-up keep theirs.
    on_episode: called with each trajectory as it ends; `num_episodes` says how often.
    finished: the first passes, if an earlier process has played them.
    on_pass: called with the index of each pass that is played here, and what it left.
  Raises:
    ValueError: a warm-up task is also evaluated, or a task stands twice.
  """
  _check_disjoint(tasks, warmup or {})
  initial = {scope: banks.get(scope, SkillBank()) for scope in tasks}
  empty = {scope: SkillBank() for scope in tasks}
  play = functools.partial(
    runner.run, temperature=settings.temperature, on_episode=on_episode
  )
  frozen = initial
  if warmup and "frozen" in settings.arms:
    if finished:  # no pass changes it
      frozen = finished[0].banks["frozen"]
    else:
      key = (Purpose.EVAL, 99)
      plan = streams(warmup, key=key, evolving=True, width=settings.width)
      frozen = play(plan, initial).banks
  start = {"no_bank": empty, "frozen": frozen, "evolving": initial}
  passes = list(finished[: settings.passes])
  for pass_index in range(len(passes), settings.passes):
    ordered = {s: reorder(stream, pass_index) for s, stream in tasks.items()}
    records: list[EpisodeRecord] = []
    rollouts: dict[str, Rollout] = {}
    for arm in settings.arms:
      plan = streams(
        ordered,
        key=(Purpose.EVAL, pass_index),
        evolving=arm == "evolving",
        width=settings.width,
      )
      rollouts[arm] = play(plan, start[arm])
      records += _records(arm, pass_index, plan, rollouts[arm])
    banks = {arm: rollout.banks for arm, rollout in rollouts.items()}
    played = Pass(tuple(records), banks, rollouts)
    on_pass(pass_index, played)
    # Trajectories of later passes are not looked at again.
    passes.append(played if not passes else dataclasses.replace(played, rollouts={}))
  return Evaluation(
    records=tuple(record for one in passes for record in one.records),
    banks=passes[-1].banks,
    num_episodes=num_episodes(tasks, settings=settings, warmup=warmup),
    rollouts=passes[0].rollouts,
  )


def num_episodes(
  tasks: Mapping[str, Sequence[Task]],
  *,
  settings: EvalSettings,
  warmup: Mapping[str, Sequence[Task]] | None = None,
) -> int:
  """Episodes that `evaluate` plays with the same arguments, warm-up included."""
  once = sum(map(len, tasks.values()))
  before = sum(map(len, (warmup or {}).values())) if "frozen" in settings.arms else 0
  return before + settings.passes * len(settings.arms) * once


def reorder(stream: Sequence[Task], pass_index: int) -> list[Task]:
  """The stream order of a pass; the first pass keeps the given order."""
  if pass_index == 0:
    return list(stream)
  order = np.random.default_rng([pass_index]).permutation(len(stream))
  return [stream[int(i)] for i in order]


def _check_disjoint(
  tasks: Mapping[str, Sequence[Task]], warmup: Mapping[str, Sequence[Task]]
):
  keys = [task.key for stream in tasks.values() for task in stream]
  if len(set(keys)) != len(keys):
    raise ValueError("tasks: a task stands twice; every task is played once per pass")
  shared = set(keys) & {task.key for stream in warmup.values() for task in stream}
  if shared:
    raise ValueError(f"warmup: {sorted(shared)[:3]} are also evaluated; keep them apart")


def _records(arm: str, pass_index: int, plan: Plan, rollout: Rollout):
  positions: dict[str, int] = {}
  for node in plan.nodes:
    trajectory: Trajectory = rollout.trajectories[node.node_id]
    position = positions.get(node.chain, 0)
    positions[node.chain] = position + 1
    yield EpisodeRecord(
      arm=arm,
      pass_index=pass_index,
      scope=node.task.scope,
      position=position,
      task=node.task.key,
      family=node.task.family,
      success=trajectory.success,
      score=trajectory.score,
      num_turns=trajectory.num_act_turns,
      bank_size=len(trajectory.shown_skills),
      episode_return=trajectory.episode_return,
      fault=trajectory.fault,
      cluster=node.task.cluster,
    )
