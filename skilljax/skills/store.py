"""The native bank file: one JSON document that proves its own content.

Purpose: save and load a bank without loss; refuse damaged or tampered files.
Must not know about: other formats, runs, checkpoints.
"""

import hashlib
import os
from typing import Any

from skilljax.skills import files, records
from skilljax.skills.bank import SkillBank
from skilljax.skills.files import BankFileError

FORMAT = "skilljax-bank"
FORMAT_VERSION = 1

_RESTORE = "Restore it from a copy or a checkpoint; it was not changed."


def bank_to_record(bank: SkillBank) -> dict[str, Any]:
  """A bank with provenance as a JSON object; `bank_from_record` reads it back exactly.

  `version` covers the skills' content; `checksum` covers every other byte too.
  """
  record = {
    "format": FORMAT,
    "format_version": FORMAT_VERSION,
    "version": bank.version,
    "parent": bank.parent,
    "next_index": bank.next_index,
    "skills": [records.skill_to_record(skill) for skill in bank.skills],
  }
  return {**record, "checksum": _checksum(record)}


def bank_from_record(record: Any) -> SkillBank:
  """Inverse of `bank_to_record`.

  Raises:
    ValueError: another format or version, damaged or tampered content.
  """
  if not isinstance(record, dict) or record.get("format") != FORMAT:
    raise ValueError(f"is not a bank: format must be {FORMAT!r}")
  if record.get("format_version") != FORMAT_VERSION:
    raise ValueError(
      f"has format_version={record.get('format_version')!r}; this code reads"
      f" {FORMAT_VERSION}"
    )
  unsigned = {key: value for key, value in record.items() if key != "checksum"}
  if record.get("checksum") != _checksum(unsigned):
    raise ValueError("was changed after it was written: the checksum does not match")
  try:
    skills = tuple(records.skill_from_record(item) for item in record["skills"])
    next_index, parent = record["next_index"], record["parent"]
    if type(next_index) is not int or not isinstance(parent, str):
      raise ValueError("next_index must be an integer and parent a string")
    bank = SkillBank(skills, next_index, parent)
  except (KeyError, TypeError, ValueError) as err:
    raise ValueError(f"has an invalid field: {err}") from err
  if bank.version != record.get("version"):
    raise ValueError(
      f"has version={record.get('version')!r}, but its skills hash to {bank.version!r}"
    )
  return bank


def save_bank(path: str | os.PathLike, bank: SkillBank) -> None:
  """Writes a bank atomically. An existing file is replaced only if it is a sound bank.

  Raises:
    BankFileError: the file system refused, or what is there now is not a sound bank.
  """
  if os.path.lexists(path):
    try:
      load_bank(path)
    except BankFileError as err:
      raise BankFileError(
        path,
        f"would be overwritten, but {err.problem}",
        "Move it away (it may be all that is left of a bank), then save again.",
      ) from err
  # One field a line keeps files readable and diffs small; hashes do not see the layout.
  files.write_atomically(path, files.pretty_json(bank_to_record(bank)))


def load_bank(path: str | os.PathLike) -> SkillBank:
  """Reads a bank and verifies both hashes.

  Raises:
    BankFileError: missing, damaged, cut off, tampered with, or of another version.
  """
  record = files.parse_json(path, files.read_text(path))
  try:
    return bank_from_record(record)
  except ValueError as err:
    raise BankFileError(path, str(err), _RESTORE) from err


def _checksum(record: dict[str, Any]) -> str:
  return hashlib.sha256(records.canonical_json(record).encode("ascii")).hexdigest()
