"""What a run writes down for readers: edits with their evidence, episodes, lineage.

Each file is JSONL with a `step` in every row, cut back on resume like the metrics:

  edits.jsonl      one row a candidate: edit, task, status, probe pairs, utility
  commits.jsonl    one row a committed edit, with the bank before and after
  episodes.jsonl   whole trajectories of some updates: text pieces with role and advantage
  faults.jsonl     one row a training episode that its environment broke off, with why

Must not know about: how anything was decided, HTML.
"""

import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from skilljax.data.tokenizer import Tokenizer
from skilljax.metrics import truncate_rows
from skilljax.rollout.candidates import policy_name
from skilljax.rollout.commit import Committed
from skilljax.rollout.credit import Credit
from skilljax.rollout.probes import Evidence
from skilljax.skills.edits import EditOutcome
from skilljax.train import Update
from skilljax.types import Edit, Role, Trajectory

FILES = ("edits.jsonl", "commits.jsonl", "episodes.jsonl", "faults.jsonl")


class Recorder:
  """Appends the records of a run to its folder."""

  def __init__(self, folder: Path, tokenizer: Tokenizer, *, resume_step: int | None):
    """Opens the files; rows after `resume_step` are cut, None cuts all."""
    self._folder = folder
    self._tokenizer = tokenizer
    last = -1 if resume_step is None else resume_step
    for name in FILES:
      truncate_rows(str(folder / name), last)

  def write(self, step: int, update: Update, *, episodes: bool) -> None:
    """Records one update; `episodes` adds one whole group of trajectories."""
    probed = (*update.report.evidence, *update.confirmation.evidence)
    evidence = {e.candidate.name: e for e in probed}
    reviewed = {}
    for trajectory in update.trained:
      name = policy_name(trajectory)
      outcome = update.rollout.edits.get(trajectory.episode_id)
      if name in evidence and outcome is not None:
        reviewed[name] = edit_row(outcome, trajectory, evidence[name])
    others = {}
    for name, item in evidence.items():
      if name not in reviewed:
        kind, _, first = name.partition(":")
        known = {"edit": reviewed[first]["edit"]} if first in reviewed else {}
        others[name] = {"kind": kind, **known, **evidence_row(item)}
    rows = [{"name": name, **row} for name, row in {**reviewed, **others}.items()]
    self._append("edits.jsonl", step, rows)
    self._append("commits.jsonl", step, map(commit_row, update.committed))
    broken = [t for t in update.rollout.trajectories.values() if t.fault]
    rows = [
      {"episode": t.episode_id, "task": t.task.key, "reason": t.fault} for t in broken
    ]
    self._append("faults.jsonl", step, rows)
    if episodes and update.trained:
      group = update.trained[0].group_id
      pairs = zip(update.trained, update.credit.per_token, strict=True)
      self._append(
        "episodes.jsonl",
        step,
        [
          episode_row(t, advantages, update.credit, index, self._tokenizer)
          for index, (t, advantages) in enumerate(pairs)
          if t.group_id == group
        ],
      )

  def _append(self, name: str, step: int, rows: Iterable[dict[str, Any]]) -> None:
    lines = [json.dumps({"step": step, **row}) + "\n" for row in rows]
    with open(self._folder / name, "a", encoding="utf-8") as file:
      file.write("".join(lines))


def finite(value: float) -> float | None:
  """The number rounded for reading, None where it is not finite."""
  return round(float(value), 5) if math.isfinite(value) else None


def edit_fields(edit: Edit) -> dict[str, str]:
  """The non-empty fields of an edit."""
  return {name: value for name, value in vars(edit).items() if value}


def edit_row(outcome: EditOutcome, trajectory: Trajectory, item: Evidence):
  """One reviewed edit with its evidence."""
  return {
    "kind": "policy",
    "edit": edit_fields(outcome.edit),
    "status": outcome.status,
    "source_success": trajectory.success,
    **evidence_row(item),
  }


def evidence_row(item: Evidence) -> dict[str, Any]:
  """The probe pairs and the utility of one candidate."""
  return {
    "task": item.candidate.task.key,
    "family": item.candidate.task.family,
    "before": item.candidate.before.version,
    "after": item.candidate.after.version,
    "utility": finite(item.utility),
    "pairs": [
      {
        "task": pair.task.key,
        "before": [pair.before_success, pair.before_turns, finite(pair.before_score)],
        "after": [pair.after_success, pair.after_turns, finite(pair.after_score)],
        "ran": pair.ran,
      }
      for pair in item.pairs
    ],
  }


def commit_row(item: Committed) -> dict[str, Any]:
  """One step of a bank's lineage."""
  return {
    "chain": item.chain,
    "edit": edit_fields(item.edit),
    "task": item.provenance.task,
    "policy_version": item.provenance.policy_version,
    "parent": item.parent,
    "version": item.version,
    "utility": finite(item.utility),
  }


def episode_row(
  trajectory: Trajectory, advantages, credit: Credit, index: int, tokenizer: Tokenizer
) -> dict[str, Any]:
  """A trajectory as runs of tokens with equal role, mask and advantage."""
  return {
    "episode": trajectory.episode_id,
    "task": trajectory.task.key,
    "goal": trajectory.goal,
    "success": trajectory.success,
    "turns": trajectory.num_act_turns,
    "max_turns": trajectory.max_turns,
    "bank_version": trajectory.bank_version,
    "rewards": [finite(value) for value in credit.rewards[index]],
    "pieces": token_runs(trajectory, advantages, tokenizer),
  }


def token_runs(trajectory: Trajectory, advantages, tokenizer: Tokenizer):
  """Consecutive tokens that share turn, role, mask and advantage, as text."""
  runs: list[dict[str, Any]] = []
  start, num = 0, len(trajectory.tokens)
  for stop in range(1, num + 1):
    if stop < num and trajectory.turn_index[stop] == trajectory.turn_index[start]:
      continue
    runs.append(
      {
        "text": tokenizer.decode(trajectory.tokens[start:stop]),
        "role": Role(int(trajectory.role[start])).name.lower(),
        "trained": bool(trajectory.loss_mask[start]),
        "advantage": finite(advantages[start]),
        "tokens": stop - start,
      }
    )
    start = stop
  return runs
