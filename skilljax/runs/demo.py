"""The whole story in one call: cold start, evaluation, RL, evaluation, report.

Each stage leaves a complete folder behind, and a stage whose result exists is skipped; so
an interrupted demo goes on where it stopped. Must not know about: flags.
"""

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from skilljax.metrics import clock, peak_rss_bytes
from skilljax.report import page
from skilljax.runs import cold_start, comparison, evaluation, training
from skilljax.settings import Settings


def run(settings: Settings, folder: str | Path) -> Path:
  """Runs everything; returns the path of the report page.

  Args:
    settings: of a config with the sections `model`, `cold_start` and `sft`.
    folder: of the demo; subfolders `cold`, `rl`, `eval_cold`, `eval_rl`.
  """
  folder, begin = Path(folder), time.perf_counter()
  cold_start.check(settings)

  def say(text: str):
    print(f"[{clock(time.perf_counter() - begin)}] {text}", flush=True)

  say("cold start: scripted demonstrations, then supervised fine-tuning")
  cold_policy = cold_start.run(settings, folder / "cold")
  say("evaluation of the cold start on held-out tasks, three arms")
  summaries = {"cold start": evaluate(settings, cold_policy, folder / "eval_cold")}
  say("reinforcement learning: acting and skill editing together")
  policy = training.run(settings, cold_policy, folder / "rl")
  say("evaluation of the trained policy")
  summaries["trained"] = evaluate(settings, policy, folder / "eval_rl")
  report = folder / "report.html"
  page.write(
    report,
    run=folder / "rl",
    evaluations={"cold start": folder / "eval_cold", "trained": folder / "eval_rl"},
    title="SkillMaster on household",
  )
  print(compare(summaries))
  try:
    print(comparison.edits_table([folder / "rl"]))
  except ValueError as error:  # a short run may have no edits of one kind
    print(f"edits not compared: {error}")
  say(f"peak memory {peak_rss_bytes() / 2**30:.2f} GiB; report: {report.resolve()}")
  return report


def evaluate(settings: Settings, policy: Path, folder: Path) -> dict[str, Any]:
  """The summary of an evaluation, read back if it is there already."""
  path = folder / "summary.json"
  if path.exists():
    return json.loads(path.read_text())
  return evaluation.run(settings, policy, folder)


def compare(summaries: Mapping[str, Mapping[str, Any]]) -> str:
  """Success by stage and arm with 95 % intervals, as plain text."""
  arms = list(next(iter(summaries.values()))["arms"])
  name = next(iter(summaries.values()))["name"]
  lines = ["", f"success on {name}, 95 % intervals over scopes"]
  lines.append(f"{'':<12}" + "".join(f"{arm:>26}" for arm in arms))
  for stage, summary in summaries.items():
    cells = []
    for arm in arms:
      value = summary["arms"][arm]["success"]
      cells.append(f"{value['mean']:.1%} [{value['low']:.1%}, {value['high']:.1%}]")
    lines.append(f"{stage:<12}" + "".join(f"{cell:>26}" for cell in cells))
  for stage, summary in summaries.items():
    for label, value in summary["differences"].items():
      lines.append(
        f"{stage}: {label} = {value['mean']:+.1%} "
        f"[{value['low']:+.1%}, {value['high']:+.1%}]"
      )
  return "\n".join(lines)
