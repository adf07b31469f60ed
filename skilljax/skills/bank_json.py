"""Import and export of the JSON bank of SkillRL and SkillMaster.

Purpose: read and write `general_skills`, `task_specific_skills` {category: [...]} and
`common_mistakes` without losing a field, known or not.
Must not know about: prompts, retrieval, runs. Texts are taken as they are: run
`guard.clean_bank` before they reach a prompt.

Format (SkillRL, arXiv:2602.08234, released bank files): a skill has skill_id, title,
principle, when_to_apply; a mistake has mistake_id, description, why_it_happens,
how_to_avoid. The bank holds skills only; all the rest travels in `JsonExtras`.
"""

import dataclasses
import os
from collections.abc import Mapping
from typing import Any

from skilljax.skills import files, records
from skilljax.skills.bank import GENERAL, SkillBank, from_skills
from skilljax.skills.files import BankFileError
from skilljax.types import Provenance, Skill

_TEXTS = ("title", "principle", "when_to_apply")
_SECTIONS = ("general_skills", "task_specific_skills")


@dataclasses.dataclass(frozen=True)
class JsonExtras:
  """What a JSON bank holds beyond our skills.

  Attributes:
    originals: the object of each skill as it was read, by our skill id.
    categories: keys of `task_specific_skills` in their order, empty ones included.
    top: all other top-level fields, `common_mistakes` among them.
  """

  originals: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)
  categories: tuple[str, ...] = ()
  top: Mapping[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class JsonBank:
  """An imported JSON bank; export it with both parts to get the same file back."""

  bank: SkillBank
  extras: JsonExtras


def import_json(path: str | os.PathLike) -> JsonBank:
  """Reads a JSON bank.

  Ids of our form are kept if all are of it, unique and rising within each list (as in
  what `export_json` writes); otherwise skills are numbered in file order and their own
  ids stay in the extras.

  Raises:
    BankFileError: missing, damaged, or not such a bank.
  """
  try:
    return bank_from_record(files.parse_json(path, files.read_text(path)))
  except ValueError as err:
    raise BankFileError(path, str(err), "Correct the file; it was not changed.") from err


def export_json(
  bank: SkillBank, path: str | os.PathLike, *, extras: JsonExtras | None = None
) -> None:
  """Writes a JSON bank atomically, over an existing file if there is one.

  The format has no place for provenance; the native file (store.py) keeps it.

  Raises:
    BankFileError: the file system refused.
  """
  record = bank_to_record(bank, extras or JsonExtras())
  files.write_atomically(path, files.pretty_json(record))


def bank_from_record(record: Any) -> JsonBank:
  """A parsed JSON bank; raises ValueError when it is none."""
  if not isinstance(record, dict) or not any(name in record for name in _SECTIONS):
    raise ValueError(f"is not a JSON bank: it needs {' and '.join(_SECTIONS)}")
  placed = _placed(record)
  keep = _ids_are_ours(placed)
  top = {key: value for key, value in record.items() if key not in _SECTIONS}
  next_index, parent = _own_fields(top)
  skills = [_skill(category, item, keep) for category, item in placed]
  bank = from_skills(skills, next_index=next_index, parent=parent)
  ids = [s.skill_id for s in (skills if keep else bank.skills)]
  originals = {i: item for i, (_, item) in zip(ids, placed, strict=True)}
  categories = tuple(record.get("task_specific_skills", {}))
  return JsonBank(bank, JsonExtras(originals, categories, top))


def bank_to_record(bank: SkillBank, extras: JsonExtras) -> dict[str, Any]:
  """The JSON bank as a record; the texts come from `bank`, the rest from `extras`."""
  specific: dict[str, list] = {name: [] for name in extras.categories}
  general = []
  for skill in bank.skills:
    original = extras.originals.get(skill.skill_id)
    if original is None:
      item = {"skill_id": skill.skill_id, **dict.fromkeys(_TEXTS, "")}
    else:
      item = dict(original)
    for name in _TEXTS:
      text = getattr(skill, name)
      if name in item or text:  # a field that the file never had stays absent
        item[name] = text
    if skill.category == GENERAL:
      general.append(item)
    else:
      specific.setdefault(skill.category, []).append(item)
  record = {"general_skills": general, "task_specific_skills": specific}
  record.update(extras.top or {"common_mistakes": []})
  metadata = record.get("metadata", {})
  own = {"next_index": bank.next_index, "parent": bank.parent}
  # A file of others comes back as it was: our field is added only when it says more
  # than an import would conclude without it.
  plain = from_skills(bank.skills)
  says_more = (plain.next_index, plain.parent) != (bank.next_index, bank.parent)
  if isinstance(metadata, dict) and ("skilljax" in metadata or says_more):
    record["metadata"] = {**metadata, "skilljax": own}
  return record


def _placed(record: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
  """(category, skill object) in file order."""
  specific = record.get("task_specific_skills", {})
  if not isinstance(specific, dict):
    raise ValueError("task_specific_skills must be an object of lists")
  if GENERAL in specific:
    raise ValueError(
      f"task_specific_skills has the category {GENERAL!r}; it belongs in general_skills"
    )
  lists = [(GENERAL, record.get("general_skills", [])), *specific.items()]
  placed = []
  for category, items in lists:
    if not isinstance(items, list):
      raise ValueError(f"skills of category {category!r:.60} must be a list")
    for number, item in enumerate(items):
      where = f"skill {number} of category {category!r:.60}"
      if not isinstance(item, dict):
        raise ValueError(f"{where} must be an object")
      for name in _TEXTS:
        if not isinstance(item.get(name, ""), str):
          raise ValueError(f"{where}: {name} must be a string")
      placed.append((category, item))
  return placed


def _ids_are_ours(placed: list[tuple[str, dict[str, Any]]]) -> bool:
  ids = [item.get("skill_id") for _, item in placed]
  if not all(records.is_skill_id(i) for i in ids) or len(set(ids)) != len(ids):
    return False
  last: dict[str, int] = {}
  for category, item in placed:
    index = records.skill_index(item["skill_id"])
    if index < last.get(category, 0):
      return False
    last[category] = index
  return True


def _skill(category: str, item: Mapping[str, Any], keep_id: bool) -> Skill:
  skill_id = item["skill_id"] if keep_id else ""
  title, principle, when = (item.get(name, "") for name in _TEXTS)
  origin = Provenance(origin="import")
  return Skill(skill_id, category, title, principle, when, origin)


def _own_fields(top: Mapping[str, Any]) -> tuple[int, str]:
  metadata = top.get("metadata")
  own = metadata.get("skilljax") if isinstance(metadata, dict) else None
  own = own if isinstance(own, dict) else {}
  next_index, parent = own.get("next_index", 1), own.get("parent", "")
  if type(next_index) is not int or next_index < 1 or not isinstance(parent, str):
    raise ValueError("metadata.skilljax must hold a next_index >= 1 and a parent")
  return next_index, parent
