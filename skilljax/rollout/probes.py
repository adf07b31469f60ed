"""Counterfactual utility of candidate edits, measured on paired probe episodes.

A probe task is played under the bank before and after an edit, with the same environment
seed and the same sampling keys. Three facts keep this cheap:

* episodes are deterministic in (rendered skill block, task, key), so equal ones run once:
  group members share their "before" runs and equal edits share their "after" runs;
* a probe whose rendered skill block does not change has δ = 0 and is not run;
* all episodes of an update are one rollout.

Null edits (content-free text) are scored in the same way and price the sampling noise.

Source: SkillMaster (arXiv:2605.08693), Eq. 3; deviations in docs/paper_map.md.
Must not know about: the learner, rewards of roles.
"""

import dataclasses
import zlib
from collections.abc import Sequence

import numpy as np

from skilljax.envs.base import TaskSource
from skilljax.rl.utility import clipped_utility, utility
from skilljax.rollout.plan import EpisodeNode, Plan, Purpose
from skilljax.rollout.runner import Runner
from skilljax.skills.bank import GENERAL, SkillBank
from skilljax.types import Task, Trajectory


@dataclasses.dataclass(frozen=True)
class ProbeSettings:
  """Config section `probes`.

  Attributes:
    num_probes: K, probe tasks of an edit.
    repeats: sampling keys per probe task; more repeats, less noise.
    alpha: weight of the win/loss term of the utility.
    clip: max(0, U) in place of U, as the authors' code scores edits: a harmful edit then
      counts like a useless one, and a useless one like a slightly good one.
    nulls_per_update: content-free edits scored beside the policy's own.
    every_family: an edit of a general skill is probed on tasks of all families, for all
      of them see it. Else, as published, on the family of its task alone: what it does to
      the others goes unseen.
    seed: of the choice of probe tasks.
  """

  num_probes: int = 4
  repeats: int = 1
  alpha: float = 0.3
  clip: bool = False
  nulls_per_update: int = 4
  every_family: bool = False
  seed: int = 0

  def __post_init__(self):
    for name, low in (("num_probes", 1), ("repeats", 1), ("nulls_per_update", 0)):
      value = self.__dict__[name]
      if value < low:
        raise ValueError(f"{name}={value} must be >= {low} (config key probes.{name})")


@dataclasses.dataclass(frozen=True)
class Candidate:
  """One edit to be scored: two banks and the task whose episode led to it."""

  name: str
  task: Task
  before: SkillBank
  after: SkillBank

  @property
  def is_general(self) -> bool:
    """Whether a skill that only one of the banks holds is shown to every family."""
    before, after = (
      {(s.title, s.principle, s.when_to_apply) for s in b.skills if s.category == GENERAL}
      for b in (self.before, self.after)
    )
    return before != after


@dataclasses.dataclass(frozen=True)
class ProbePair:
  """One probe task under both banks."""

  task: Task
  before_score: float
  after_score: float
  before_success: bool
  after_success: bool
  before_turns: int
  after_turns: int
  # False when the skill block does not change (δ = 0 by construction) or a run broke.
  ran: bool


@dataclasses.dataclass(frozen=True)
class Evidence:
  """What the probes say about one candidate."""

  candidate: Candidate
  pairs: tuple[ProbePair, ...]
  utility: float


@dataclasses.dataclass(frozen=True)
class ProbeReport:
  """All evidence of one call.

  Attributes:
    evidence: in the order of the candidates.
    episodes_run: episodes that were played.
    episodes_naive: 2·K·repeats per candidate, what an uncached evaluator plays.
    faults: probe episodes whose environment failed; their pairs are left out of U.
  """

  evidence: tuple[Evidence, ...]
  episodes_run: int
  episodes_naive: int
  faults: int

  @property
  def cost_ratio(self) -> float:
    """Episodes run over the naive count; 0 when there was nothing to score."""
    return self.episodes_run / self.episodes_naive if self.episodes_naive else 0.0


def unscored(candidates: Sequence[Candidate]) -> ProbeReport:
  """The report of an update that plays no probes: every utility is unknown."""
  evidence = tuple(Evidence(c, (), float("nan")) for c in candidates)
  return ProbeReport(evidence, 0, 0, 0)


@dataclasses.dataclass(frozen=True)
class _Run:
  """The identity of one probe episode; equal runs have equal outcomes."""

  block: str
  task: Task
  repeat: int


def stable_hash(text: str) -> int:
  """A 31-bit hash that is the same in every process."""
  return zlib.crc32(text.encode()) & 0x7FFFFFFF


def score_candidates(
  candidates: Sequence[Candidate],
  *,
  runner: Runner,
  source: TaskSource,
  settings: ProbeSettings,
  key: tuple[int, ...],
  temperature: float = 1.0,
  purpose: Purpose = Purpose.PROBE,
) -> ProbeReport:
  """Measures the utility of each candidate edit.

  Args:
    candidates: edits to score; nulls and audits are candidates like any other.
    runner: plays the probe plan.
    source: names the probe tasks (train side, same scope; see `every_family`).
    settings: K, repeats, alpha.
    key: sampling-key prefix of the update. The bank is not part of any key, so the
      two runs of a pair draw the same random numbers.
    temperature: of the sampler.
    purpose: first part of every sampling key.
  """
  wanted: dict[_Run, SkillBank] = {}
  table: list[list[tuple[Task, _Run, _Run]]] = []
  for candidate in candidates:
    tasks = source.probes(
      candidate.task,
      settings.num_probes,
      settings.seed,
      every_family=settings.every_family and candidate.is_general,
    )
    rows = []
    for task in tasks:
      block_before = runner.shown_skills(task, candidate.before)[1]
      block_after = runner.shown_skills(task, candidate.after)[1]
      for repeat in range(settings.repeats):
        before = _Run(block_before, task, repeat)
        after = _Run(block_after, task, repeat)
        rows.append((task, before, after))
        if before != after:
          wanted.setdefault(before, candidate.before)
          wanted.setdefault(after, candidate.after)
    table.append(rows)
  played, faults = _play(wanted, runner, (purpose, *key), temperature)
  return ProbeReport(
    evidence=tuple(
      _evidence(candidate, rows, played, settings)
      for candidate, rows in zip(candidates, table, strict=True)
    ),
    episodes_run=len(wanted),
    episodes_naive=2 * settings.num_probes * settings.repeats * len(candidates),
    faults=faults,
  )


def _play(
  wanted: dict[_Run, SkillBank], runner: Runner, key: tuple[int, ...], temperature: float
) -> tuple[dict[_Run, Trajectory], int]:
  """Plays each distinct probe episode once, all in one rollout."""
  runs = list(wanted)
  nodes = tuple(
    EpisodeNode(
      node_id=f"p{index}",
      task=run.task,
      chain=f"p{index}",
      key=(*key, stable_hash(run.task.key), run.repeat),
    )
    for index, run in enumerate(runs)
  )
  banks = {f"p{index}": wanted[run] for index, run in enumerate(runs)}
  rollout = runner.run(Plan(nodes), banks, temperature=temperature)
  played = dict(zip(runs, rollout.trajectories.values(), strict=True))
  return played, sum(bool(t.fault) for t in played.values())


def _evidence(
  candidate: Candidate,
  rows: Sequence[tuple[Task, _Run, _Run]],
  played: dict[_Run, Trajectory],
  settings: ProbeSettings,
) -> Evidence:
  pairs = []
  for task, before, after in rows:
    left, right = played.get(before), played.get(after)
    if left is None or right is None or left.fault or right.fault:
      # A pair that did not run changes nothing; one that broke says nothing.
      same = 0.0 if before == after else float("nan")
      pairs.append(ProbePair(task, same, same, False, False, 0, 0, ran=False))
      continue
    pairs.append(
      ProbePair(
        task=task,
        before_score=left.score,
        after_score=right.score,
        before_success=left.success,
        after_success=right.success,
        before_turns=left.num_act_turns,
        after_turns=right.num_act_turns,
        # Another candidate may have played the run of an unchanged prompt.
        ran=before != after,
      )
    )
  measure = clipped_utility if settings.clip else utility
  value = measure(
    np.array([p.before_score for p in pairs], np.float32),
    np.array([p.after_score for p in pairs], np.float32),
    alpha=settings.alpha,
  )
  return Evidence(candidate, tuple(pairs), float(value))
