"""Evaluations of several seeds and recipes, and what their edits were worth, compared.

Must not know about: flags, how the runs were made.
"""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from skilljax.config import flatten
from skilljax.evaluation import paired, seeds
from skilljax.evaluation.exact import EpisodeRecord
from skilljax.evaluation.paired import Estimate


def read_evaluation(folder: str | Path) -> list[EpisodeRecord]:
  """The records of an evaluation folder.

  Raises:
    ValueError: the folder holds no readable records; names the file.
  """
  path = Path(folder) / "records.json"
  try:
    records = [EpisodeRecord(**row) for row in json.loads(path.read_text())]
  except (OSError, ValueError, TypeError) as error:
    raise ValueError(f"{path} holds no records of an evaluation: {error}") from error
  if not records or any(not isinstance(r.success, bool) for r in records):
    raise ValueError(f"{path} holds no records, or some without an outcome")
  return records


def read_together(folders: Sequence[str | Path]) -> tuple[EpisodeRecord, ...]:
  """The records of evaluations of the same tasks, by any version. Errors as above."""
  records = [record for folder in folders for record in read_evaluation(folder)]
  return paired.with_clusters(records, {r.task: r.cluster for r in records if r.cluster})


def compare(evaluations: Mapping[str, Sequence[str | Path]]) -> str:
  """A table of recipes: label -> evaluation folders, one a seed.

  Raises:
    ValueError: unreadable folders, one that is named twice, folders that did not play the
      same tasks, or folders of one recipe that did not in the same arms.
  """
  recipes = {}
  for label, folders in evaluations.items():
    _check_distinct(folders)
    recipes[label] = [read_evaluation(folder) for folder in folders]
    arms = [{r.arm for r in run} for run in recipes[label]]
    for folder, theirs in zip(folders, arms, strict=True):
      if theirs != arms[0]:
        raise ValueError(f"{folders[0]} and {folder} did not play the same arms")
  everything = [
    (folder, run)
    for label, folders in evaluations.items()
    for folder, run in zip(folders, recipes[label], strict=True)
  ]
  _check_same_tasks(everything)
  clusters = {r.task: r.cluster for _, run in everything for r in run if r.cluster}
  same = {
    label: [paired.with_clusters(run, clusters) for run in runs]
    for label, runs in recipes.items()
  }
  return "\n".join([seeds.table(same), *_notes(evaluations)])


def _check_same_tasks(
  evaluations: Sequence[tuple[str | Path, Sequence[EpisodeRecord]]],
) -> None:
  """In every arm of every folder."""
  played: dict[tuple[str, str], set[tuple[int, str]]] = {}
  for folder, run in evaluations:
    for record in run:
      tasks = played.setdefault((str(folder), record.arm), set())
      tasks.add((record.pass_index, record.task))
  first, *others = played
  for other in others:
    alone = sorted(played[first] ^ played[other])
    if alone:
      index, task = alone[0]
      who = first if alone[0] in played[first] else other
      raise ValueError(
        f"{first[0]} and {other[0]} did not play the same tasks: only arm {who[1]!r} of "
        f"{who[0]} has {task} in pass {index}, and {len(alone) - 1} more differ"
      )


# No result depends on the first two; what the others change, the table shows.
_OWN = ("env.data_dir", "env.cache_dir", "eval.arms", "eval.passes")


def _notes(evaluations: Mapping[str, Sequence[str | Path]]) -> list[str]:
  """A line for each folder that was evaluated with other settings than the first."""
  first, *others = (folder for folders in evaluations.values() for folder in folders)
  ours = _evaluated_with(first)
  lines = []
  for folder in others:
    theirs = _evaluated_with(folder)
    changed = [
      f"{key}={theirs[key]!r} (there: {ours[key]!r})"
      for key in sorted(ours.keys() & theirs.keys())
      if ours[key] != theirs[key]
    ]
    if changed:
      lines.append(f"note: {folder} was not evaluated as {first}: {', '.join(changed)}")
  return lines


def _evaluated_with(folder: str | Path) -> dict[str, Any]:
  path = Path(folder) / "config.json"
  if not path.exists():
    return {}
  leaves = flatten(json.loads(path.read_text()))
  return {
    key: value
    for key, value in leaves.items()
    if key.startswith(("env.", "eval.", "agent.")) and key not in _OWN
  }


def edits_against_nulls(folders: Sequence[str | Path]) -> Estimate:
  """Mean utility of the policy's own edits minus that of null edits, over all runs.

  Resamples runs, and in each the places its tasks come from (estates in `household`).
  The probes of an edit are not the episodes that it was written in.

  Args:
    folders: of training runs, one a seed.
  Raises:
    ValueError: a folder is named twice, has no readable `edits.jsonl` of a training run,
      or edits of one kind only; names the file.
  """
  _check_distinct(folders)
  return seeds.difference_of_means([_utilities(folder) for folder in folders])


def probe_cost(folders: Sequence[str | Path]) -> float | None:
  """Probe episodes played over the naive count, all runs together; None: no probes.

  Args:
    folders: of training runs, with their `metrics.jsonl`.
  """
  played = naive = 0.0
  for folder in folders:
    for line in (Path(folder) / "metrics.jsonl").read_text().splitlines():
      row = json.loads(line)
      played += row.get("skill/probe_episodes", 0)
      naive += row.get("skill/probe_episodes_naive", 0)
  return played / naive if naive else None


def edits_table(folders: Sequence[str | Path]) -> str:
  """What the edits of training runs were worth and what it cost to know, as text.

  Raises:
    ValueError: as `edits_against_nulls`.
  """
  worth, cost = edits_against_nulls(folders), probe_cost(folders)
  return (
    f"utility of own edits - null edits: {worth.mean:+.3f} "
    f"[{worth.low:+.3f}, {worth.high:+.3f}] ({worth.count} edits)\n"
    f"probe episodes, share of the naive count: {'-' if cost is None else f'{cost:.0%}'}"
  )


def _utilities(folder: str | Path) -> seeds.Groups:
  path = Path(folder) / "edits.jsonl"
  if not path.exists():
    raise ValueError(f"{path} does not exist: not a training run with probes")
  rows = []
  for number, line in enumerate(path.read_text().splitlines(), start=1):
    try:
      row = json.loads(line)
      kind, utility, task = row["kind"], row["utility"], row["task"]
    except (ValueError, KeyError, TypeError) as error:
      raise ValueError(
        f"{path}:{number} is no edit of a training run: {error}"
      ) from error
    if kind in ("policy", "null") and _is_number(utility):
      rows.append((utility, kind == "policy", task.rpartition("/")[0]))
  if len({treated for _, treated, _ in rows}) < 2:
    raise ValueError(f"{path} needs utilities of own edits and of null edits")
  return seeds.Groups(*zip(*rows, strict=True))


def _check_distinct(folders: Sequence[str | Path]) -> None:
  paths = [Path(folder).resolve() for folder in folders]
  if len(set(paths)) < len(paths):
    raise ValueError(f"a folder is named twice among {[str(f) for f in folders]}")


def _is_number(value: float | None) -> bool:
  return value is not None and math.isfinite(value)
