"""The history of a bank: an append-only JSONL file of edits, each line hash-chained.

Purpose: rebuild any bank of a run from its first one, and prove that nothing is missing.
Must not know about: other bank formats, utilities' meaning, runs.
"""

import contextlib
import dataclasses
import hashlib
import math
import os
from collections.abc import Iterable
from typing import Any

from skilljax.skills import files, records
from skilljax.skills.bank import EditRejected, SkillBank
from skilljax.skills.files import BankFileError
from skilljax.types import Edit, Provenance

_RESTORE = "Restore the file from a copy; it was not changed."


@dataclasses.dataclass(frozen=True)
class LineageEntry:
  """One step: applying `edit` to the bank `parent` gives the bank `version`.

  Attributes:
    edit: as applied (`EditOutcome.edit`), not as written by the policy.
    utility: measured utility of the edit; None where it was not measured.
  """

  version: str
  parent: str
  edit: Edit
  provenance: Provenance
  utility: float | None = None


def append_history(path: str | os.PathLike, entry: LineageEntry) -> None:
  """Adds one line and syncs it to disk; creates the file if there is none.

  Raises:
    ValueError: utility is NaN or infinite.
    BankFileError: the last line is cut off or damaged, or the file system refused.
  """
  if entry.utility is not None and not math.isfinite(entry.utility):
    raise ValueError(f"utility={entry.utility} must be finite or None")
  payload = dataclasses.asdict(entry)
  try:
    with open(path, "a+b") as file:
      previous = _last_chain(path, file)
      line = {**payload, "chain": _chain(previous, payload)}
      file.write(records.canonical_json(line).encode("ascii") + b"\n")
      file.flush()
      os.fsync(file.fileno())
  except OSError as err:
    raise BankFileError(
      path, f"cannot be written: {err}", "Check space and permissions, then try again."
    ) from err


def load_history(path: str | os.PathLike) -> tuple[LineageEntry, ...]:
  """Reads all entries and verifies the chain of line hashes.

  Raises:
    BankFileError: missing, damaged or tampered with; names the line.
  """
  text = files.read_text(path)
  if text and not text.endswith("\n"):
    raise _torn(path)
  entries, chain = [], ""
  for number, line in enumerate(text.splitlines(), start=1):
    payload = files.parse_json(f"{os.fspath(path)}:{number}", line)
    try:
      claimed = payload.pop("chain")
      entry = _entry(payload)
    except (AttributeError, KeyError, TypeError, ValueError) as err:
      raise BankFileError(path, f"line {number} is damaged: {err}", _RESTORE) from err
    chain = _chain(chain, payload)
    if claimed != chain:
      raise BankFileError(
        path, f"line {number} or one before it was changed or is missing", _RESTORE
      )
    entries.append(entry)
  return tuple(entries)


def repair_history(path: str | os.PathLike) -> str:
  """Moves a cut-off last line to '<path>.torn' and returns it; '' if there is none.

  A process that dies while it appends leaves such a line. Nothing is deleted.
  """
  text = files.read_text(path)
  whole, cut, torn = text.rpartition("\n")
  if torn:
    aside = f"{os.fspath(path)}.torn"
    before = files.read_text(aside) if os.path.exists(aside) else ""
    files.write_atomically(aside, f"{before}{torn}\n")
    files.write_atomically(path, whole + cut)
  return torn


def rebuild(first: SkillBank, entries: Iterable[LineageEntry]) -> SkillBank:
  """Replays a history on its first bank and verifies every version on the way.

  Raises:
    ValueError: an entry does not fit the bank before it, or gives another version.
  """
  bank = first
  for number, entry in enumerate(entries, start=1):
    if entry.parent != bank.version:
      raise ValueError(
        f"entry {number} starts from bank {entry.parent!r}, but bank {bank.version!r}"
        " comes before it"
      )
    try:
      bank = bank.apply(entry.edit, provenance=entry.provenance)
    except EditRejected as err:
      raise ValueError(f"entry {number} cannot be applied: {err}") from err
    if entry.version != bank.version:
      raise ValueError(
        f"entry {number} should give bank {entry.version!r}, but gives {bank.version!r}"
      )
  return bank


def _entry(payload: dict[str, Any]) -> LineageEntry:
  fields = {
    **payload,
    "edit": records.edit_from_record(payload["edit"]),
    "provenance": records.provenance_from_record(payload["provenance"]),
  }
  return LineageEntry(**fields)


def _chain(previous: str, payload: dict[str, Any]) -> str:
  text = previous + records.canonical_json(payload)
  return hashlib.sha256(text.encode("ascii")).hexdigest()


def _last_chain(path: str | os.PathLike, file: Any) -> str:
  """Chain value of the last line, read from the end; '' for an empty file."""
  size = file.seek(0, os.SEEK_END)
  if not size:
    return ""
  block = 4096
  while True:
    start = max(0, size - block)
    file.seek(start)
    tail = file.read(size - start)
    if not tail.endswith(b"\n"):
      raise _torn(path)
    if start == 0 or b"\n" in tail[:-1]:
      break
    block *= 4
  line = tail[:-1].rpartition(b"\n")[2]
  with contextlib.suppress(BankFileError, UnicodeDecodeError):
    record = files.parse_json(path, line.decode("ascii"))
    if isinstance(record, dict) and isinstance(record.get("chain"), str):
      return record["chain"]
  raise BankFileError(path, "the last line is damaged", _RESTORE)


def _torn(path: str | os.PathLike) -> BankFileError:
  return BankFileError(
    path,
    "the last line is cut off (a process died while writing it)",
    "Run `repair_history` on it: it moves the line aside and loses nothing else.",
  )
