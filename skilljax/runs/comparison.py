"""Evaluations of several seeds and recipes, and what their edits were worth, compared.

Must not know about: flags, how the runs were made.
"""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from skilljax.evaluation import seeds
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


def compare(evaluations: Mapping[str, Sequence[str | Path]]) -> str:
  """A table of recipes: label -> evaluation folders, one a seed.

  Raises:
    ValueError: unreadable folders, one that is named twice, or folders of one recipe
      that did not play the same tasks in the same arms.
  """
  recipes = {}
  for label, folders in evaluations.items():
    _check_distinct(folders)
    recipes[label] = [read_evaluation(folder) for folder in folders]
    played = [{(r.arm, r.pass_index, r.task) for r in run} for run in recipes[label]]
    for folder, tasks in zip(folders, played, strict=True):
      if tasks != played[0]:
        raise ValueError(
          f"{folders[0]} and {folder} did not play the same tasks and arms"
        )
  return seeds.table(recipes)


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
