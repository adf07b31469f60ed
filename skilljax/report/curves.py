"""The learning curves of a run, as small multiples.

Names and meanings of metrics: docs/metrics.md. Must not know about: templates, files.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from markupsafe import Markup

from skilljax.report import charts
from skilljax.report.formats import number, percent
from skilljax.report.load import RunFiles

MAX_POINTS = 300
SMOOTH_FROM = 15  # updates; below, a moving average hides more than it shows


@dataclasses.dataclass(frozen=True, kw_only=True)
class Curve:
  """One chart: metrics by legend name, and what a reader should see in it."""

  title: str
  note: str
  metrics: Mapping[str, tuple[str, str]]  # legend name -> (metric, tone)
  y_format: Callable[[float], str] = number
  band: tuple[str, str, str] | None = None  # (legend name, mean metric, std metric)
  scale: float = 1.0


def _share(value: float) -> str:
  return percent(value).replace(".0 %", " %")


CURVES = (
  Curve(
    title="Success in training",
    note="Share of training episodes that reach the goal; every update has new tasks.",
    metrics={"success": ("rollout/success", "blue")},
    y_format=_share,
  ),
  Curve(
    title="Utility of edits against luck",
    note="Mean utility U of the policy's edits, and of content-free null edits ± one "
    "standard deviation: what luck alone gives.",
    metrics={
      "policy's edits": ("skill/utility_mean", "orange"),
      "null edits": ("skill/null_utility_mean", "grey"),
    },
    band=("null edits", "skill/null_utility_mean", "skill/null_utility_std"),
  ),
  Curve(
    title="Bank size and commits",
    note="Skills in a bank (mean over scopes), and edits that passed the gate.",
    metrics={
      "bank size": ("skill/bank_size", "orange"),
      "committed": ("skill/committed", "green"),
    },
  ),
  Curve(
    title="Valid edits and actions",
    note="Share of reviews, and of turns, that the strict parser accepts.",
    metrics={
      "edits": ("skill/valid_edit_rate", "orange"),
      "actions": ("rollout/valid_action_rate", "blue"),
    },
    y_format=_share,
  ),
  Curve(
    title="What reviews decide",
    note="Share of reviews that propose, update or keep. 0 or 1: the choice collapsed.",
    metrics={
      "propose": ("skill/propose_rate", "orange"),
      "update": ("skill/update_rate", "purple"),
      "keep": ("skill/keep_rate", "grey"),
    },
    y_format=_share,
  ),
  Curve(
    title="Turns of an episode",
    note="Fewer is better: the step cap is tight, and the score rewards short solutions.",
    metrics={"turns": ("rollout/turns", "blue")},
  ),
  Curve(
    title="KL to the cold start",
    note="How far the policy moved, in nats per token.",
    metrics={"KL": ("train/kl", "purple")},
  ),
  Curve(
    title="Entropy",
    note="In nats per token. A collapse ends exploration; reviews collapse first.",
    metrics={
      "acting": ("train/entropy_act", "blue"),
      "reviews": ("train/entropy_edit", "orange"),
    },
  ),
  Curve(
    title="Cost of probes",
    note="Probe episodes played, as a share of what an uncached evaluator would play.",
    metrics={"share": ("skill/probe_cost_ratio", "green")},
    y_format=_share,
  ),
  Curve(
    title="Groups without a signal",
    note="Share of task groups whose returns are all equal: nothing to learn from them.",
    metrics={"flat groups": ("rollout/flat_group_rate", "grey")},
    y_format=_share,
  ),
  Curve(
    title="Memory",
    note="Of the training process, in GiB.",
    metrics={
      "now": ("perf/rss_bytes", "blue"),
      "peak": ("perf/peak_rss_bytes", "grey"),
    },
    scale=2.0**-30,
  ),
  Curve(
    title="Time of an update",
    note="Wall seconds, the first one with compilation.",
    metrics={"seconds": ("perf/update_s", "blue")},
  ),
)


def draw(run: RunFiles) -> list[tuple[Curve, Markup | None]]:
  """(curve, chart) each; None where the run has none of the curve's metrics."""
  rows = [*run.metrics, *run.perf]
  return [(curve, _draw(curve, rows)) for curve in CURVES]


def _draw(curve: Curve, rows: Sequence[Mapping[str, Any]]) -> Markup | None:
  series = []
  for name, (metric, tone) in curve.metrics.items():
    points = _points(rows, metric, curve.scale)
    band = ()
    if curve.band and curve.band[0] == name:
      band = _band(rows, *curve.band[1:])
    series.append(charts.Series(name=name, points=points, tone=tone, band=band))
  if not any(s.points for s in series):
    return None
  longest = max(len(s.points) for s in series)
  return charts.line_chart(
    series,
    title=curve.title,
    x_name="update",
    y_format=curve.y_format,
    window=5 if longest >= SMOOTH_FROM else 1,
  )


def _points(rows, metric: str, scale: float) -> tuple[tuple[float, float], ...]:
  """(update, value); a long run is thinned evenly, its last point kept."""
  found = [
    (float(row["step"]), scale * row[metric])
    for row in rows
    if row.get(metric) is not None and "step" in row
  ]
  return tuple(thin(found, MAX_POINTS))


def _band(rows, mean: str, std: str) -> tuple[tuple[float, float, float], ...]:
  found = [
    (float(row["step"]), row[mean] - row[std], row[mean] + row[std])
    for row in rows
    if row.get(mean) is not None and row.get(std) is not None
  ]
  return tuple(thin(found, MAX_POINTS))


def thin(items: Sequence, most: int) -> list:
  """At most `most` items, evenly spaced, the first and the last among them."""
  if len(items) <= most:
    return list(items)
  return [items[round(i * (len(items) - 1) / (most - 1))] for i in range(most)]
