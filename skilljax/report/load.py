"""Reads the folders of runs and evaluations for the report; what is absent is noted.

Texts in these files (skills, episodes, reasons) are untrusted: they are passed on as they
are and escaped where they are shown. Must not know about: HTML, charts.
"""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from skilljax.evaluation.exact import EpisodeRecord
from skilljax.skills import store
from skilljax.skills.bank import SkillBank
from skilljax.skills.files import BankFileError

Row = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class RunFiles:
  """What a training run left in its folder.

  Attributes:
    name: of the folder.
    config: the resolved config; {} if there is none.
    metrics, perf, edits, commits, episodes: rows of the JSONL files, in order.
    banks: scope -> bank that the run ended with.
    stamp: code and versions that the run was made with; {} if unknown.
    notes: files that are absent or damaged, one sentence each.
  """

  name: str
  config: Row
  metrics: tuple[Row, ...]
  perf: tuple[Row, ...]
  edits: tuple[Row, ...]
  commits: tuple[Row, ...]
  episodes: tuple[Row, ...]
  banks: Mapping[str, SkillBank]
  stamp: Row
  notes: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class EvaluationFiles:
  """What an evaluation left in its folder.

  Attributes:
    label: how the page calls it, for example 'cold start'.
    summary: the numbers; {} if there are none.
    records: one per episode.
    edits: edits of the evolving arm, in stream order within each scope.
    banks: arm -> scope -> bank at the end.
    notes: files that are absent or damaged, one sentence each.
  """

  label: str
  summary: Row
  records: tuple[EpisodeRecord, ...]
  edits: tuple[Row, ...]
  banks: Mapping[str, Mapping[str, SkillBank]]
  notes: tuple[str, ...]


def load_run(folder: str | Path) -> RunFiles:
  """Reads a training run.

  Raises:
    FileNotFoundError: the folder itself does not exist.
  """
  folder = _existing(folder)
  notes: list[str] = []
  rows = {
    name: _jsonl(folder / f"{name}.jsonl", notes)
    for name in ("metrics", "perf", "edits", "commits", "episodes")
  }
  return RunFiles(
    name=folder.resolve().name,
    config=_json(folder / "config.json", notes) or {},
    banks=_banks(folder / "banks", notes),
    stamp=_checkpoint_stamp(folder / "checkpoints"),
    notes=tuple(notes),
    **rows,
  )


def load_evaluation(label: str, folder: str | Path) -> EvaluationFiles:
  """Reads an evaluation.

  Raises:
    FileNotFoundError: the folder itself does not exist.
  """
  folder = _existing(folder)
  notes: list[str] = []
  records = []
  for row in _json(folder / "records.json", notes) or []:
    try:
      records.append(EpisodeRecord(**row))
    except TypeError as err:
      notes.append(f"{label}: records.json has a row of another form, left out ({err})")
  arms = sorted(p for p in (folder / "banks").glob("*") if p.is_dir())
  return EvaluationFiles(
    label=label,
    summary=_json(folder / "summary.json", notes) or {},
    records=tuple(records),
    edits=_jsonl(folder / "edits.jsonl", notes),
    banks={path.name: _banks(path, notes) for path in arms},
    notes=tuple(f"{label}: {note}" for note in notes),
  )


def _existing(folder: str | Path) -> Path:
  folder = Path(folder)
  if not folder.is_dir():
    raise FileNotFoundError(f"{folder} is not a folder; the report reads what runs wrote")
  return folder


def _parse(text: str) -> Any:
  """JSON in which NaN and infinities, which JSON has no word for, become None."""
  return json.loads(text, parse_constant=lambda name: None)


def _json(path: Path, notes: list[str]) -> Any:
  if not path.exists():
    notes.append(f"{path.name} is absent")
    return None
  try:
    return _parse(path.read_text(encoding="utf-8", errors="replace"))
  except ValueError as err:
    notes.append(f"{path.name} is damaged ({err})")
    return None


def _jsonl(path: Path, notes: list[str]) -> tuple[Row, ...]:
  if not path.exists():
    notes.append(f"{path.name} is absent")
    return ()
  rows, damaged = [], 0
  with open(path, encoding="utf-8", errors="replace") as file:
    for line in file:
      try:
        row = _parse(line)
      except ValueError:
        row = None
      if isinstance(row, dict):
        rows.append(row)
      else:
        damaged += 1
  if damaged:
    # A live run is cut off in its last line; anything more is worth a look.
    notes.append(f"{path.name}: {damaged} damaged line(s) left out")
  return tuple(rows)


def _banks(folder: Path, notes: list[str]) -> dict[str, SkillBank]:
  banks = {}
  for path in sorted(folder.glob("*.json")):
    try:
      banks[path.stem] = store.load_bank(path)
    except BankFileError as err:
      notes.append(f"bank {folder.name}/{path.name} is left out: {err.problem}")
  return banks


def _checkpoint_stamp(folder: Path) -> Row:
  """The stamp in the newest checkpoint's host state; {} where there is none."""
  steps = sorted((p for p in folder.glob("*") if p.name.isdigit()), key=_step)
  for step in reversed(steps):
    host = step / "host" / "metadata"
    if host.exists():
      return (_json(host, []) or {}).get("host", {}).get("stamp", {})
  return {}


def _step(path: Path) -> int:
  return int(path.name)
