"""One self-contained HTML page that tells the story of a run.

  page.write("a.html", run="runs/rl", evaluations={"trained": "runs/eval"}, title="A run")

No external resource, no framework, works from file://. The template, the style and the
scripts lie beside this file and are package data. Texts of runs are untrusted: jinja2
escapes them in HTML, `payload.embed` in JSON, and the scripts write text nodes only.

Must not know about: how runs are made.
"""

import json
import os
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from skilljax.report import charts, curves, headline, lineage, payload, streams
from skilljax.report.formats import number, signed
from skilljax.report.load import EvaluationFiles, RunFiles, load_evaluation, load_run

SCRIPTS = ("page.js", "charts.js", "edits.js", "episodes.js")
MAX_ESTATES = 60  # banks shown in full per section; the rest is counted


def write(
  path: str | os.PathLike,
  *,
  run: str | Path,
  evaluations: Mapping[str, str | Path],
  title: str,
) -> None:
  """Builds the page and writes it to `path`; arguments as in `build`."""
  text = build(run=run, evaluations=evaluations, title=title)
  # A lone surrogate, which JSON can hold and UTF-8 cannot, becomes a question mark.
  Path(path).write_bytes(text.encode("utf-8", errors="replace"))


def build(*, run: str | Path, evaluations: Mapping[str, str | Path], title: str) -> str:
  """The page as one string.

  Args:
    run: folder of a training run.
    evaluations: label -> folder of an evaluation; the first is the baseline that later
      ones are compared with. May be empty.
    title: of the page.
  Raises:
    FileNotFoundError: a folder does not exist; the page notes missing files in it.
  """
  files = load_run(run)
  stages = [load_evaluation(label, folder) for label, folder in evaluations.items()]
  environment = jinja2.Environment(
    loader=jinja2.PackageLoader("skilljax", "report"),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
  )
  environment.filters |= {"signed": signed, "number": number}
  return environment.get_template("template.html").render(
    title=title,
    style=_asset("style.css"),
    script=Markup("\n").join(_asset(name) for name in SCRIPTS),
    run=files,
    notes=[*files.notes, *(note for stage in stages for note in stage.notes)],
    **_headline(files, stages),
    **_streams(stages),
    curves=curves.draw(files),
    **_banks(files, stages),
    **_payloads(files),
    **_provenance(files, stages),
  )


def _asset(name: str) -> Markup:
  """A file of this package; ours, hence not escaped."""
  return Markup(resources.files("skilljax.report").joinpath(name).read_text("utf-8"))


def _headline(run: RunFiles, stages: list[EvaluationFiles]) -> dict[str, Any]:
  played = [stage for stage in stages if stage.summary]
  return {
    "trained": headline.trained_sentence(run),
    "verdict": headline.verdict(played),
    "headline": headline.table(played) if played else None,
    "intervals": headline.interval_chart(played),
    "played": [(stage.label, stage.summary) for stage in played],
  }


def _streams(stages: list[EvaluationFiles]) -> dict[str, Any]:
  recorded = [stage for stage in stages if stage.records]
  return {
    "positions": [
      (stage.label, streams.position_chart(stage), streams.thirds(stage))
      for stage in recorded
    ],
    "window": streams.WINDOW,
    "families": streams.families(recorded) if recorded else None,
  }


def _banks(run: RunFiles, stages: list[EvaluationFiles]) -> dict[str, Any]:
  estates = lineage.of_commits(run.commits)
  return {
    "estates": estates[:MAX_ESTATES],
    "num_estates": len(estates),
    "estates_proven": all(estate.proven for estate in estates),
    "final_banks": [
      (
        stage.label,
        lineage.of_evaluation(stage)[:MAX_ESTATES],
        list(stage.banks["evolving"].items())[:MAX_ESTATES],
      )
      for stage in stages
      if "evolving" in stage.banks
    ],
  }


def _payloads(run: RunFiles) -> dict[str, Any]:
  edits, episodes = payload.edits(run), payload.episodes(run)
  return {
    "edits": edits,
    "edits_json": payload.embed(edits),
    "utilities": _utility_chart(run),
    "episodes": episodes,
    "episodes_json": payload.embed(episodes),
  }


def _utility_chart(run: RunFiles) -> Markup | None:
  groups = [
    charts.Series(
      name=name,
      tone=tone,
      points=tuple(
        (row["utility"], 1.0)
        for row in run.edits
        if row.get("kind") in kinds and row.get("utility") is not None
      ),
    )
    for name, tone, kinds in (
      ("null edits", "grey", ("null",)),
      ("policy's edits", "orange", ("policy",)),
      ("those that would enter, second look", "green", ("confirm",)),
    )
  ]
  groups = [group for group in groups if group.points]
  if not groups:
    return None
  return charts.histogram(groups, title="utility of edits", x_name="utility U")


def _provenance(run: RunFiles, stages: list[EvaluationFiles]) -> dict[str, Any]:
  stamps = [(run.name, run.stamp)] if run.stamp else []
  stamps += [(s.label, s.summary["stamp"]) for s in stages if s.summary.get("stamp")]
  return {
    "stamps": [(name, list(flatten(stamp))) for name, stamp in stamps],
    "config": list(flatten(run.config)),
  }


def flatten(tree: Mapping[str, Any], prefix: str = ""):
  """Yields (dotted name, text) of every leaf, in order."""
  for name, value in tree.items():
    if isinstance(value, Mapping):
      yield from flatten(value, f"{prefix}{name}.")
    else:
      text = value if isinstance(value, str) else json.dumps(value)
      yield f"{prefix}{name}", text
