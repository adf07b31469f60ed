"""A bank of any format, read and written: our file, SkillRL's JSON, SKILL.md folders.

Must not know about: what a format looks like inside (`store`, `bank_json`, `skill_md`),
prompts, runs.
"""

import dataclasses
import os
import pathlib
from collections.abc import Callable
from typing import Any

from skilljax.skills import bank_json, files, guard, skill_md, store
from skilljax.skills.bank import SkillBank
from skilljax.skills.files import BankFileError

FORMATS = ("native", "json", "folders")

_KINDS = (
  "our own file, a JSON bank of SkillRL or SkillMaster, or a folder of skills, each a"
  " folder with a SKILL.md"
)


@dataclasses.dataclass(frozen=True)
class OpenedBank:
  """A bank as it may be shown to a policy, and what reading it brought to light.

  Attributes:
    bank: cleaned by `guard.clean_bank`.
    format: one of `FORMATS`.
    findings: what cleaning changed.
    notes: a line each on what breaks a format's rules or has no place in a bank.
    extras: what the format keeps beside the skills; only the same format takes it.
  """

  bank: SkillBank
  format: str
  findings: tuple[guard.Finding, ...] = ()
  notes: tuple[str, ...] = ()
  extras: Any = None


def holds_folders(path: str | os.PathLike) -> bool:
  """True for a folder that is one bank: some folder in it holds a SKILL.md."""
  return any(pathlib.Path(path).glob(f"*/{skill_md.FILE_NAME}"))


def open_bank(path: str | os.PathLike) -> OpenedBank:
  """Reads a bank of any format and cleans its texts.

  Raises:
    BankFileError: missing, no bank, damaged, or dangerous to read; names the file.
  """
  path = pathlib.Path(path)
  if path.is_dir():
    opened = _open_folders(path)
  else:
    opened = _open_file(path)
  bank, findings = guard.clean_bank(opened.bank)
  return dataclasses.replace(opened, bank=bank, findings=findings)


def write_bank(
  path: str | os.PathLike, bank: SkillBank, *, format: str, extras: Any = None
) -> None:
  """Writes a bank in a format, to a path where nothing is yet.

  Args:
    format: one of `FORMATS`; 'json' has no place for provenance.
    extras: of a bank that was opened in this very format.
  Raises:
    ValueError: no such format.
    BankFileError: there is something at `path`, a text does not fit the format, or the
      file system refused.
  """
  if format not in FORMATS:
    raise ValueError(f"format={format!r} must be one of {FORMATS}")
  path = pathlib.Path(path)
  if os.path.lexists(path) and not (path.is_dir() and not any(path.iterdir())):
    raise BankFileError(path, "exists", "Choose another path; nothing was written.")
  write: dict[str, Callable[[], Any]] = {
    "native": lambda: store.save_bank(path, bank),
    "json": lambda: bank_json.export_json(bank, path, extras=extras),
    "folders": lambda: skill_md.export_folders(bank, path, extras=extras),
  }
  write[format]()


def _open_folders(path: pathlib.Path) -> OpenedBank:
  if not holds_folders(path):
    banks = sorted(file.name for file in path.glob("*.json"))
    advice = f"Give one of its files, such as {banks[0]}" if banks else f"Give {_KINDS}"
    raise BankFileError(
      path, "is a folder without a SKILL.md in any of its", f"{advice}."
    )
  found = skill_md.import_folders(path, strict=False)
  notes = list(found.violations)
  for skill_id, extra in found.extras.items():
    if extra.files:
      notes.append(
        f"{skill_id}: files beside it are not copied: {', '.join(extra.files)}"
      )
  return OpenedBank(found.bank, "folders", (), tuple(notes), found.extras)


def _open_file(path: pathlib.Path) -> OpenedBank:
  record = files.parse_json(path, files.read_text(path))
  kind = record.get("format") if isinstance(record, dict) else None
  if kind == store.FORMAT:
    return OpenedBank(store.load_bank(path), "native")
  try:
    found = bank_json.bank_from_record(record)
  except ValueError as err:
    raise BankFileError(
      path, f"is no bank, or a damaged one: {err}", f"Give {_KINDS}."
    ) from err
  notes = [
    f"{name} ({len(value)}) is kept in this format only"
    for name, value in found.extras.top.items()
    if isinstance(value, list | dict) and value
  ]
  return OpenedBank(found.bank, "json", (), tuple(notes), found.extras)
