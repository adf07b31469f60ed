"""The top of the page: what was trained, the main numbers, a verdict in one sentence.

Intervals come from the evaluation's own summary; differences between stages are paired
here, task by task. Must not know about: HTML templates, files.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from skilljax.evaluation import paired
from skilljax.report import charts
from skilljax.report.formats import percent, percent_interval, points, points_interval
from skilljax.report.load import EvaluationFiles, RunFiles

ARM_NAMES = {"no_bank": "no bank", "frozen": "frozen bank", "evolving": "evolving bank"}
ARM_TONES = {"no_bank": "grey", "frozen": "blue", "evolving": "orange"}


@dataclasses.dataclass(frozen=True)
class Cell:
  """A number, its interval, and whether the interval leaves out zero."""

  value: str = ""
  interval: str = ""
  clear: bool = False


@dataclasses.dataclass(frozen=True)
class Table:
  """Column heads and (row head, cells)."""

  heads: tuple[str, ...]
  rows: tuple[tuple[str, tuple[Cell, ...]], ...]


def arm_name(arm: str) -> str:
  """'no_bank' -> 'no bank'; an unknown arm keeps its name."""
  return ARM_NAMES.get(arm, arm)


def arm_tone(arm: str) -> str:
  """The colour class of an arm, the same in every chart."""
  return ARM_TONES.get(arm, "green")


def arms_of(evaluations: Sequence[EvaluationFiles]) -> list[str]:
  """Every arm that some evaluation played, in order of first appearance."""
  return list(
    dict.fromkeys(arm for e in evaluations for arm in e.summary.get("arms", {}))
  )


def difference_cell(estimate: Mapping[str, Any]) -> Cell:
  """A paired difference as a cell."""
  clear = estimate["low"] > 0 or estimate["high"] < 0
  return Cell(points(estimate["mean"]), points_interval(estimate), clear)


def table(evaluations: Sequence[EvaluationFiles]) -> Table:
  """Stages × (arms, differences to no bank), then each stage less the first."""
  arms = arms_of(evaluations)
  others = [arm for arm in arms if arm != "no_bank"]
  rows = []
  for evaluation in evaluations:
    summary = evaluation.summary
    cells = []
    for arm in arms:
      estimate = summary.get("arms", {}).get(arm, {}).get("success")
      cells.append(
        Cell(percent(estimate["mean"]), percent_interval(estimate))
        if estimate
        else Cell("not played")
      )
    for arm in others:
      estimate = summary.get("differences", {}).get(f"{arm} - no_bank")
      cells.append(difference_cell(estimate) if estimate else Cell())
    rows.append((evaluation.label, tuple(cells)))
  for evaluation in evaluations[1:]:
    first = evaluations[0]
    cells = [between_stages(first, evaluation, arm) for arm in arms]
    head = f"{evaluation.label} − {first.label}"
    rows.append((head, (*cells, *(Cell() for _ in others))))
  heads = [arm_name(arm) for arm in arms]
  heads += [f"{arm_name(arm)} − no bank" for arm in others]
  return Table(tuple(heads), tuple(rows))


def between_stages(first: EvaluationFiles, later: EvaluationFiles, arm: str) -> Cell:
  """Paired difference of one arm between two evaluations of the same tasks."""
  # The stages take the place of arms, so that the one paired estimator serves both.
  records = [
    dataclasses.replace(record, arm=stage)
    for stage, evaluation in (("first", first), ("later", later))
    for record in evaluation.records
    if record.arm == arm
  ]
  try:
    estimate = paired.difference(records, "later", "first")
  except ValueError:
    return Cell("other tasks")
  return difference_cell(dataclasses.asdict(estimate))


def interval_chart(evaluations: Sequence[EvaluationFiles]):
  """Success by stage and arm with intervals; '' if there is nothing to draw."""
  rows = []
  for evaluation in evaluations:
    for arm, numbers in evaluation.summary.get("arms", {}).items():
      value = numbers["success"]
      name = f"{evaluation.label}, {arm_name(arm)}"
      rows.append((name, value["mean"], value["low"], value["high"], arm_tone(arm)))
  return charts.interval_chart(rows, title="success by stage and arm") if rows else ""


def verdict(evaluations: Sequence[EvaluationFiles]) -> list[str]:
  """One or two sentences on the last evaluation; [] if there is none."""
  played = [e for e in evaluations if e.summary.get("arms")]
  if not played:
    return []
  last = played[-1]
  summary, arms = last.summary, last.summary["arms"]
  best = max(arms, key=lambda arm: arms[arm]["success"]["mean"])
  shown = "evolving" if "evolving" in arms else best
  value = arms[shown]["success"]
  sentences = [
    f"On {summary.get('num_tasks', value['count'])} held-out tasks the policy "
    f"“{last.label}” succeeds in {percent(value['mean'])} of episodes with "
    f"{_article(shown)} ({percent_interval(value)})."
  ]
  estimate = summary.get("differences", {}).get(f"{shown} - no_bank")
  if estimate:
    sentences.append(_bank_sentence(estimate))
  if len(played) > 1:
    cell = between_stages(played[0], last, shown)
    if cell.interval:
      sentences.append(
        f"Against “{played[0].label}” in the same arm: {cell.value} ({cell.interval})."
      )
  return sentences


def _article(arm: str) -> str:
  name = arm_name(arm)
  return name if name == "no bank" else f"{'an' if name[0] in 'aeiou' else 'a'} {name}"


def _bank_sentence(estimate: Mapping[str, Any]) -> str:
  text = f"{points(estimate['mean'])} ({points_interval(estimate)})"
  if estimate["low"] > 0:
    return f"The skills that it writes along the way help: {text} against no bank."
  if estimate["high"] < 0:
    return f"Its skills hurt: {text} against no bank."
  return (
    f"Against no bank that is {text}: the interval includes zero, so this evaluation "
    "does not show whether the skills help."
  )


def trained_sentence(run: RunFiles) -> str:
  """What the run did, from its config and its last metrics."""
  config, last = run.config, run.metrics[-1] if run.metrics else {}
  train = config.get("train", {})
  env = config.get("env", {}).get("name", "an unnamed environment")
  parts = [f"A language-model policy was trained on {env}"]
  if run.metrics:
    parts.append(f" for {last.get('step', len(run.metrics))} updates")
  tasks = config.get("feed", {}).get("tasks_per_update")
  group = train.get("group_size")
  if tasks and group:
    parts.append(f" of {tasks} tasks × {group} episodes")
  if "rollout/interactions" in last:
    parts.append(
      f" ({last['rollout/interactions']:,.0f} episodes in all, probes included)"
    )
  if train.get("review", True):
    parts.append(
      ": to act, and after every episode to review it and edit a skill bank that later "
      "tasks read."
    )
  else:
    parts.append(": to act only, without skill reviews.")
  return "".join(parts)
