"""The banks that a training run starts from: read, cleaned and checked before it starts.

Must not know about: training, policies.
"""

from collections.abc import Collection, Mapping
from pathlib import Path

from skilljax.config import ConfigError
from skilljax.envs.base import TaskSource
from skilljax.skills import files, formats
from skilljax.skills.bank import GENERAL, SkillBank
from skilljax.skills.edits import EditLimits, apply_edit, proposal
from skilljax.skills.records import short_hash

_KEY = "(config key train.initial_banks)"


def read_initial_banks(
  path: str | Path, *, source: TaskSource, split: str, limits: EditLimits
) -> dict[str, SkillBank]:
  """Scope -> bank, for the scopes that start with one.

  Args:
    path: a bank of any format (`skills/formats`), with which every scope starts, or a
      folder with one bank file a scope, `<scope>.json`; scopes without a file, or with
      an empty bank, start empty.
    source, split: of the training tasks.
    limits: what a skill may be.
  Raises:
    ConfigError: nothing there, no bank, no skill in any, an unknown scope, or a skill
      that no edit could have written: its category is no family, it is too long…
  """
  path, scopes = Path(path), tuple(source.scopes(split))
  categories = (*source.families, GENERAL)
  if path.is_file() or formats.holds_folders(path):
    bank = _read(path, categories, limits)
    return _not_empty(path, dict.fromkeys(scopes, bank))
  if not path.is_dir():
    raise ConfigError(f"initial_banks={str(path)!r} does not exist {_KEY}")
  found = {file.stem: file for file in sorted(path.glob("*.json"))}
  if not found:
    raise ConfigError(f"initial_banks={str(path)!r} holds no .json file {_KEY}")
  unknown = sorted(set(found) - set(scopes))
  if unknown:
    raise ConfigError(
      f"initial_banks={str(path)!r}: {unknown[:3]} are no scopes of split {split!r}; a "
      f"file is named as its scope, for example {scopes[0]}.json {_KEY}"
    )
  banks = {scope: _read(file, categories, limits) for scope, file in found.items()}
  return _not_empty(path, banks)


def fingerprint(banks: Mapping[str, SkillBank]) -> str:
  """16 hex digits that change with the content of any bank; '' without banks."""
  if not banks:
    return ""
  return short_hash([[scope, banks[scope].version] for scope in sorted(banks)])


def _not_empty(path: Path, banks: dict[str, SkillBank]) -> dict[str, SkillBank]:
  if not any(bank.skills for bank in banks.values()):
    raise ConfigError(f"{path} holds no skill: the run would start without banks {_KEY}")
  return banks


def _read(path: Path, categories: Collection[str], limits: EditLimits) -> SkillBank:
  try:
    bank = formats.open_bank(path).bank
  except files.BankFileError as error:
    raise ConfigError(f"{error} {_KEY}") from error
  admitted = SkillBank()
  for skill in bank.skills:
    outcome = apply_edit(
      admitted,
      proposal(skill, reason="initial"),
      categories=categories,
      limits=limits,
      provenance=skill.provenance,
    )
    if not outcome.accepted:
      raise ConfigError(
        f"{path}: skill {skill.skill_id} is {outcome.status}: {outcome.reason} {_KEY}"
      )
    admitted = outcome.bank
  return bank
