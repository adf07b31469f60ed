"""Success along the streams of tasks, and by task family: where a bank pays off.

Must not know about: HTML templates, files.
"""

import dataclasses
import itertools
from collections.abc import Sequence

from skilljax.evaluation import paired
from skilljax.evaluation.exact import EpisodeRecord
from skilljax.report import charts
from skilljax.report.formats import percent, percent_interval
from skilljax.report.headline import (
  Cell,
  Table,
  arm_name,
  arm_tone,
  difference_cell,
)
from skilljax.report.load import EvaluationFiles

WINDOW = 5  # positions; odd


def position_chart(evaluation: EvaluationFiles):
  """Success by position in the stream, one line an arm."""
  series = []
  for arm, group in paired.by_arm(evaluation.records).items():
    by_position: dict[int, list[bool]] = {}
    for record in group:
      by_position.setdefault(record.position, []).append(record.success)
    points = tuple(
      (float(p + 1), sum(by_position[p]) / len(by_position[p]))
      for p in sorted(by_position)
    )
    series.append(charts.Series(name=arm_name(arm), points=points, tone=arm_tone(arm)))
  return charts.line_chart(
    series,
    title=f"{evaluation.label}: success by position in the stream",
    x_name="position in the stream",
    y_format=lambda value: f"{100 * value:.0f} %",
    y_range=(0.0, 1.0),
    window=WINDOW,
    width=480,
    height=240,
  )


def thirds(evaluation: EvaluationFiles) -> Table | None:
  """Success in the first, middle and last third of the streams; None if too short."""
  records = evaluation.records
  length = max((r.position for r in records), default=-1) + 1
  if length < 3:
    return None
  cuts = [0, round(length / 3), round(2 * length / 3), length]
  parts = [
    [r for r in records if low <= r.position < high]
    for low, high in itertools.pairwise(cuts)
  ]
  heads = tuple(f"positions {low + 1}–{high}" for low, high in itertools.pairwise(cuts))
  arms = list(paired.by_arm(records))
  rows = [
    (arm_name(arm), tuple(_success([r for r in part if r.arm == arm]) for part in parts))
    for arm in arms
  ]
  for arm in arms:
    if arm != "no_bank" and "no_bank" in arms:
      cells = tuple(_difference(part, arm) for part in parts)
      rows.append((f"{arm_name(arm)} − no bank", cells))
  return Table(heads, tuple(rows))


def families(evaluations: Sequence[EvaluationFiles]) -> Table:
  """Task families × (stage, arm), each with its count."""
  columns = [
    (evaluation.label, arm, group)
    for evaluation in evaluations
    for arm, group in paired.by_arm(evaluation.records).items()
  ]
  names = sorted({r.family for e in evaluations for r in e.records})
  rows = [
    (name, tuple(_share([r for r in group if r.family == name]) for *_, group in columns))
    for name in names
  ]
  rows.append(("all", tuple(_share(group) for *_, group in columns)))
  heads = tuple(f"{label}: {arm_name(arm)}" for label, arm, _ in columns)
  return Table(heads, tuple(rows))


def _success(records: Sequence[EpisodeRecord]) -> Cell:
  if not records:
    return Cell("–")
  estimate = dataclasses.asdict(paired.mean(records))
  return Cell(percent(estimate["mean"]), percent_interval(estimate))


def _share(records: Sequence[EpisodeRecord]) -> Cell:
  if not records:
    return Cell("–")
  won = sum(r.success for r in records)
  return Cell(percent(won / len(records)), f"{won} of {len(records)}")


def _difference(records: Sequence[EpisodeRecord], arm: str) -> Cell:
  try:
    return difference_cell(dataclasses.asdict(paired.difference(records, arm, "no_bank")))
  except ValueError:
    # Later passes shuffle the streams, so a third need not hold the same tasks.
    return Cell("other tasks")
