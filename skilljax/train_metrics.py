"""The metric rows of one update. Names, units, healthy ranges: docs/metrics.md.

A number that is unknown in an update (nothing was probed, nobody reviewed) is left out.
Must not know about: files, how anything was measured.
"""

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from skilljax.rl.rewards import EditStatus
from skilljax.rollout.candidates import Candidates
from skilljax.rollout.commit import Committed
from skilljax.rollout.credit import Credit
from skilljax.rollout.probes import ProbeReport
from skilljax.rollout.runner import Rollout
from skilljax.types import Role, Trajectory

# What the learner calls it -> what the metric is called.
TRAIN_NAMES = {
  "loss": "train/loss",
  "surrogate": "train/surrogate",
  "ref_kl": "train/kl",
  "approx_kl": "train/approx_kl",
  "ratio": "train/ratio",
  "clip_low": "train/clip_fraction_low",
  "clip_high": "train/clip_fraction_high",
  "clip_dual": "train/clip_fraction_dual",
  "behavior_gap": "train/behavior_gap",
  "entropy": "train/entropy",
  "act/entropy": "train/entropy_act",
  "edit/entropy": "train/entropy_edit",
  "grad_norm": "train/grad_norm",
}


def update_metrics(
  rollout: Rollout,
  trained: Sequence[Trajectory],
  credit: Credit,
  report: ProbeReport,
  confirmation: ProbeReport,
  candidates: Candidates | None,
  committed: Sequence[Committed],
  learned: Mapping[str, float],
) -> dict[str, float]:
  """All metrics of one update that follow from config and seed."""
  rows = {TRAIN_NAMES[k]: v for k, v in learned.items() if k in TRAIN_NAMES}
  if not trained:  # every environment failed: nothing else is known
    return {**rows, "env/faults": float(len(rollout.trajectories))}
  rows["train/num_tokens"] = float(sum(t.loss_mask.sum() for t in trained))
  rows |= _rollout(rollout, trained)
  if credit.per_turn is not None:
    compared = sum(np.count_nonzero(values) for values in credit.per_turn)
    turns = sum(t.num_act_turns for t in trained)
    rows["rollout/compared_turn_rate"] = float(compared / turns)
  rows |= _reviews(trained, credit)
  if candidates is not None:
    rows |= _probes(report, confirmation, candidates)
    rows["skill/committed"] = float(len(committed))
  return rows


def _rollout(rollout: Rollout, trained: Sequence[Trajectory]) -> dict[str, float]:
  acts = [turn for t in trained for turn in t.turns if turn.role == Role.ACT]
  groups: dict[int, set[float]] = {}
  for t in trained:
    groups.setdefault(t.group_id, set()).add(t.episode_return)
  return {
    "rollout/success": float(np.mean([t.success for t in trained])),
    "rollout/return": float(np.mean([t.episode_return for t in trained])),
    "rollout/turns": float(np.mean([t.num_act_turns for t in trained])),
    "rollout/valid_action_rate": float(np.mean([not turn.rejection for turn in acts])),
    "rollout/response_tokens": float(np.mean([turn.stop - turn.start for turn in acts])),
    "rollout/length_stop_rate": float(
      np.mean([turn.finish == "length" for turn in acts])
    ),
    "rollout/flat_group_rate": float(np.mean([len(v) == 1 for v in groups.values()])),
    "rollout/shown_skills": float(np.mean([len(t.shown_skills) for t in trained])),
    "rollout/episodes": float(len(trained)),
    "env/faults": float(len(rollout.trajectories) - len(trained)),
    "env/truncated_rate": float(np.mean([t.truncated for t in trained])),
  }


def _reviews(trained: Sequence[Trajectory], credit: Credit) -> dict[str, float]:
  statuses = [status for status in credit.statuses if status is not None]
  if not statuses:
    return {}
  kinds = Counter(t.edit.kind for t in trained if t.edit is not None)
  num, counts = len(statuses), Counter(statuses)
  valid = counts[EditStatus.KEPT] + sum(counts[s] for s in counts if s.makes_candidate)
  return {
    "skill/valid_edit_rate": valid / num,
    "skill/propose_rate": kinds["propose"] / num,
    "skill/update_rate": kinds["update"] / num,
    "skill/keep_rate": kinds["keep"] / num,
    "skill/duplicate_rate": counts[EditStatus.DUPLICATE] / num,
    "skill/edit_reward": float(np.nanmean(credit.rewards[:, 1])),
  }


def _probes(
  report: ProbeReport, confirmation: ProbeReport, candidates: Candidates
) -> dict[str, float]:
  values = {e.candidate.name: e.utility for e in report.evidence}
  rows = {
    "skill/probe_episodes": float(report.episodes_run),
    "skill/probe_episodes_naive": float(report.episodes_naive),
    "skill/probe_cost_ratio": report.cost_ratio,
    "skill/candidates": float(len(candidates.policy)),
    "env/probe_faults": float(report.faults + confirmation.faults),
  }
  if confirmation.evidence:
    again = [e.utility for e in confirmation.evidence if np.isfinite(e.utility)]
    rows["skill/confirm_episodes"] = float(confirmation.episodes_run)
    rows["skill/finalists"] = float(len(confirmation.evidence))
    if again:
      rows["skill/confirm_utility_mean"] = float(np.mean(again))
  for name, group in (("", candidates.policy), ("null_", candidates.nulls)):
    known = [values[c.name] for c in group if np.isfinite(values[c.name])]
    if known:
      rows[f"skill/{name}utility_mean"] = float(np.mean(known))
      rows[f"skill/{name}utility_std"] = float(np.std(known))
  return rows
