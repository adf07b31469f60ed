"""The loop: SkillMaster, read top to bottom.

Every recipe is a config of this page: GRPO without skills (`train.skills=False`), a
frozen bank (`gate.mode='frozen'`), joint normalisation (`rl.advantage='joint'`), a frozen
teacher in place of reviews (`proposer.name='endpoint'`), …

Must not know about: flags, how parts are built, file formats.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import jax
import numpy as np

from skilljax import hosts
from skilljax.data.packing import pack
from skilljax.engine.base import Engine
from skilljax.envs.base import TaskSource, Teacher
from skilljax.learner import Learner, Params, TrainState, minibatches
from skilljax.rollout import commit as commit_lib
from skilljax.rollout import credit as credit_lib
from skilljax.rollout import probes as probes_lib
from skilljax.rollout.beginning import begin_banks
from skilljax.rollout.candidates import collect_candidates, policy_name
from skilljax.rollout.confirmation import confirm
from skilljax.rollout.feed import tasks_at
from skilljax.rollout.plan import Purpose, independent_groups
from skilljax.rollout.proposers import Advised, Proposer, silent
from skilljax.rollout.runner import Rollout, Runner
from skilljax.rollout.tally import tally
from skilljax.settings import Settings
from skilljax.skills.bank import SkillBank
from skilljax.skills.stats import Stats
from skilljax.train_metrics import update_metrics
from skilljax.types import Task, Trajectory

EMPTY_REPORT = probes_lib.ProbeReport((), 0, 0, 0)


@dataclasses.dataclass(frozen=True)
class LoopState:
  """Everything an update changes. A checkpoint is exactly this.

  Attributes:
    update: updates done.
    train: parameters and optimiser.
    banks: scope -> bank; scopes that are no longer played are dropped.
    stats: use statistics of skills.
    nulls: recent null utilities, oldest first.
    interactions: episodes played so far, probes included.
  """

  update: int
  train: TrainState
  banks: Mapping[str, SkillBank]
  stats: Stats = dataclasses.field(default_factory=Stats)
  nulls: tuple[float, ...] = ()
  interactions: int = 0


@dataclasses.dataclass(frozen=True)
class Update:
  """What one update did, for metrics, records and tests."""

  tasks: tuple[Task, ...]
  rollout: Rollout
  trained: tuple[Trajectory, ...]
  credit: credit_lib.Credit
  report: probes_lib.ProbeReport
  confirmation: probes_lib.ProbeReport
  committed: tuple[commit_lib.Committed, ...]
  metrics: Mapping[str, float]


@dataclasses.dataclass(frozen=True)
class Workshop:
  """The parts that an update works with; none of them changes identity in a run."""

  settings: Settings
  source: TaskSource
  teacher: Teacher
  engine: Engine
  runner: Runner
  learner: Learner
  reference: Params  # the cold-start policy: KL anchor
  proposer: Proposer = silent  # of edits beside the policy's own
  initial_banks: Mapping[str, SkillBank] = dataclasses.field(default_factory=dict)


def run(
  shop: Workshop,
  state: LoopState,
  *,
  on_update: Callable[[LoopState, Update], None],
) -> LoopState:
  """Runs updates until `train.num_updates`; `on_update` records and checkpoints.

  Raises:
    RuntimeError: `train.max_idle_updates` updates in a row had nothing to train on.
  """
  shop.engine.publish(state.train.params, state.update)
  idle = 0
  while state.update < shop.settings.train.num_updates:
    state, update = one_update(shop, state)
    shop.engine.publish(state.train.params, state.update)
    on_update(state, update)
    idle = 0 if update.trained else idle + 1
    if idle >= shop.settings.train.max_idle_updates:
      last = next(iter(update.rollout.trajectories.values()))
      raise RuntimeError(
        f"{idle} updates in a row had nothing to train on: every episode ended in an "
        f"environment fault (train.max_idle_updates); {last.task.key}: {last.fault}"
      )
  return state


def one_update(shop: Workshop, state: LoopState) -> tuple[LoopState, Update]:
  """One update: play, probe, credit, learn, commit. The engine holds `state`'s policy."""
  settings, number = shop.settings, state.update

  # ---- Tasks and the banks of their scopes -------------------------------------------
  tasks = tasks_at(
    number, source=shop.source, split=settings.train.split, settings=settings.feed
  )
  banks, begun = begin_banks(
    tasks,
    state.banks,
    teacher=shop.teacher,
    share=settings.train.taught_banks,
    seed=settings.feed.seed,
    limits=settings.limits,
    initial=shop.initial_banks,
  )

  # ---- Rollouts: G episodes of each task, then one skill review each ---------------
  plan = independent_groups(
    tasks,
    settings.train.group_size,
    key=(Purpose.TRAIN, number),
    review=settings.train.review,
  )
  rollout = shop.runner.run(plan, banks, temperature=settings.loss.temperature)
  trained = tuple(t for t in rollout.trajectories.values() if not t.fault)

  # ---- Candidates: edits of reviews and of a teacher, null edits, audits -------------
  report, candidates, advised = EMPTY_REPORT, None, Advised()
  if settings.gate is not None:
    advised = shop.proposer(number, trained, banks)
    candidates = collect_candidates(
      rollout,
      banks,
      tasks,
      teacher=shop.teacher,
      limits=settings.limits,
      num_nulls=settings.probes.nulls_per_update if settings.probes else 0,
      num_audits=settings.gate.audits_per_update,
      update=number,
      advice=advised.advice,
    )
    report = probes_lib.unscored(candidates.all)

  # ---- Probes: every candidate in one rollout ----------------------------------------
  if settings.probes is not None:
    report = probes_lib.score_candidates(
      candidates.all,
      runner=shop.runner,
      source=shop.source,
      settings=settings.probes,
      key=(number,),
      temperature=settings.loss.temperature,
    )

  utilities = {e.candidate.name: e.utility for e in report.evidence}

  # ---- Gate: edits that beat the null edits; if asked, on other probes once more -----
  admitted, nulls, confirmation = [], state.nulls, EMPTY_REPORT
  if settings.gate is not None:
    fresh = [utilities[c.name] for c in candidates.nulls]
    nulls = (*nulls, *(u for u in fresh if np.isfinite(u)))[-settings.gate.null_window :]
    proposals = candidates.proposals(report.evidence)
    admitted, confirmation = admit(shop, proposals, nulls, number)

  # ---- Credit: one advantage per trained token ---------------------------------------
  credit = credit_lib.assign(
    trained,
    rollout.edits,
    {t.episode_id: utilities.get(policy_name(t), 0.0) for t in trained},
    settings.credit,
  )

  # ---- Learning ------------------------------------------------------------------------
  train_state, learned = learn(shop, state.train, trained, credit, number)

  # ---- Commit: edits that passed the gate enter the bank -----------------------------
  committed, new_banks = [], banks
  if settings.gate is not None:
    new_banks, committed = commit_lib.commit(
      banks, admitted, limits=settings.limits, settings=settings.gate
    )

  new_state = LoopState(
    update=number + 1,
    train=train_state,
    banks=new_banks,
    stats=tally(state.stats, rollout, banks, committed, new_banks, number),
    nulls=nulls,
    interactions=state.interactions
    + len(plan.nodes)
    + report.episodes_run
    + confirmation.episodes_run,
  )
  metrics = update_metrics(
    rollout, trained, credit, report, confirmation, candidates, committed, learned
  )
  metrics |= advised.metrics
  metrics["rollout/interactions"] = float(new_state.interactions)
  metrics["skill/bank_size"] = float(np.mean([len(b.skills) for b in new_banks.values()]))
  return new_state, Update(
    tasks,
    rollout,
    trained,
    credit,
    report,
    confirmation,
    (*begun, *committed),
    metrics,
  )


def admit(
  shop: Workshop,
  proposals: Sequence[commit_lib.Proposal],
  nulls: Sequence[float],
  number: int,
) -> tuple[list[commit_lib.Proposal], probes_lib.ProbeReport]:
  """What the gate lets through, and the report of its second look (`gate.confirm`)."""
  settings = shop.settings
  admitted = commit_lib.admitted(proposals, nulls, settings.gate)
  if not settings.gate.confirm:
    return admitted, EMPTY_REPORT
  return confirm(
    admitted,
    nulls=nulls,
    runner=shop.runner,
    source=shop.source,
    probes=settings.probes,
    gate=settings.gate,
    key=(number,),
    temperature=settings.loss.temperature,
  )


def learn(
  shop: Workshop,
  state: TrainState,
  trajectories: Sequence[Trajectory],
  credit: credit_lib.Credit,
  number: int,
) -> tuple[TrainState, dict[str, float]]:
  """The optimiser steps of one update; metrics are means over its mini-batches."""
  settings = shop.settings
  if not trajectories:  # every environment failed: report it, learn nothing
    return state, {}
  rows: list[dict[str, float]] = []
  parts = minibatches(
    len(trajectories), settings.train.minibatches, (settings.seed, number)
  )
  for part in parts:
    batch = pack(
      [trajectories[i] for i in part],
      [credit.per_token[i] for i in part],
      row_len=settings.learner.row_len,
      rows_per_batch=settings.learner.rows_per_batch,
    )
    with hosts.waiting(hosts.LEARNING):
      if settings.loss.kl_coef:
        batch = shop.learner.reference(shop.reference, batch)
      state, metrics = shop.learner.update(state, batch, num_sequences=len(part))
    rows.append(metrics)
  names = {name for row in rows for name in row}
  means = {n: float(np.mean([row[n] for row in rows if n in row])) for n in names}
  with hosts.waiting(hosts.LEARNING):
    return jax.block_until_ready(state), means
