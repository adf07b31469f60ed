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
    return [EpisodeRecord(**row) for row in json.loads(path.read_text())]
  except (OSError, ValueError, TypeError) as error:
    raise ValueError(f"{path} holds no records of an evaluation: {error}") from error


def compare(evaluations: Mapping[str, Sequence[str | Path]]) -> str:
  """A table of recipes: label -> evaluation folders, one a seed.

  Raises:
    ValueError: unreadable folders, or recipes that did not play the same tasks.
  """
  recipes = {
    label: [read_evaluation(folder) for folder in folders]
    for label, folders in evaluations.items()
  }
  return seeds.table(recipes)


def edits_against_nulls(folders: Sequence[str | Path]) -> Estimate:
  """Mean utility of the policy's own edits minus that of null edits, over all runs.

  Resamples scopes. The probes of an edit are not the episodes that it was written in.

  Args:
    folders: of training runs, one a seed.
  Raises:
    ValueError: a run has no `edits.jsonl`, or edits of one kind only.
  """
  values, treated, clusters = [], [], []
  for folder in folders:
    path = Path(folder) / "edits.jsonl"
    if not path.exists():
      raise ValueError(f"{path} does not exist: not a training run with probes")
    for line in path.read_text().splitlines():
      row = json.loads(line)
      if row["kind"] not in ("policy", "null") or not _is_number(row["utility"]):
        continue
      values.append(row["utility"])
      treated.append(row["kind"] == "policy")
      clusters.append(f"{folder}/{row['task'].rpartition('/')[0]}")
  return seeds.difference_of_means(values, treated, clusters)


def _is_number(value: float | None) -> bool:
  return value is not None and math.isfinite(value)
