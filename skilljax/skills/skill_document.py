"""One skill as the text of one SKILL.md, and back.

Purpose: the mapping between our fields and the Agent Skills document.
Must not know about: folders, other files, banks.

Mapping: when_to_apply is the `description`, principle is the body; id, category, title
and provenance are `metadata`. Where a text cannot stand in such a file as it is (empty,
too long, control characters), the file shows the nearest printable text, and the
metadata key `skilljax-exact` holds the original as JSON. An editor's change to the shown
text wins over it.
"""

import json
import re
import unicodedata
from collections.abc import Mapping
from typing import Any

from skilljax.skills import front_matter, records
from skilljax.skills.bank import GENERAL
from skilljax.types import Provenance, Skill

PREFIX = "skilljax-"

_ID = f"{PREFIX}id"
_EXACT = f"{PREFIX}exact"


def to_fields(skill: Skill) -> tuple[str, str, dict[str, str]]:
  """Description, body and metadata that `from_fields` turns into the very same skill."""
  description, body, metadata = _shown(skill)
  back = _from_shown(description, body, metadata)
  # Equality of skills leaves provenance out.
  if (back, back.provenance) != (skill, skill.provenance):
    metadata[_EXACT] = json.dumps(records.skill_to_record(skill))
  return description, body, metadata


def from_fields(front: Mapping[str, Any], body: str, *, folder: str) -> Skill:
  """The skill of a parsed document.

  A document of others has no id of ours: it gets id '', category 'general' and the
  folder name as title.

  Raises:
    ValueError: metadata of ours that is damaged.
  """
  ours = {
    key: value
    for key, value in _mapping(front.get("metadata")).items()
    if key.startswith(PREFIX) and isinstance(value, str)
  }
  description = front.get("description", "")
  description = description if isinstance(description, str) else ""
  if _ID not in ours:
    origin = Provenance(origin="import")
    return Skill("", GENERAL, folder, body, description, origin)
  exact = ours.pop(_EXACT, "")
  if exact:
    kept = _exact(exact)
    if _shown(kept) == (description, body, ours):
      return kept
  return _from_shown(description, body, ours)


def foreign_metadata(front: Mapping[str, Any]) -> dict[str, Any]:
  """Metadata that is not ours; {} where metadata is no map."""
  metadata = _mapping(front.get("metadata"))
  return {key: value for key, value in metadata.items() if not key.startswith(PREFIX)}


def folder_name(skill: Skill) -> str:
  """Letters and digits of the title, then the id: a valid name, unique in a bank."""
  title = unicodedata.normalize("NFKD", skill.title[: 4 * front_matter.MAX_NAME_CHARS])
  plain = title.encode("ascii", "ignore").decode().lower()
  words = re.findall(r"[a-z0-9]+", plain) or ["skill"]
  room = front_matter.MAX_NAME_CHARS - len(skill.skill_id) - 1
  slug = "-".join(words)[:room].strip("-")
  return f"{slug}-{skill.skill_id}"


def _shown(skill: Skill) -> tuple[str, str, dict[str, str]]:
  """Description, body and metadata as they stand in the file."""
  description = _one_line(skill.when_to_apply)
  if not description.strip():
    description = "No condition given."
  if len(description) > front_matter.MAX_DESCRIPTION_CHARS:
    description = description[: front_matter.MAX_DESCRIPTION_CHARS - 1] + "…"
  body = "\n".join(printable(line) for line in skill.principle.split("\n"))
  values = {
    "id": skill.skill_id,
    "category": skill.category,
    "title": skill.title,
    "origin": skill.provenance.origin,
    "task": skill.provenance.task,
    "policy-version": str(skill.provenance.policy_version),
    "parent": skill.provenance.parent,
    "reason": skill.provenance.reason,
  }
  metadata = {f"{PREFIX}{key}": _one_line(value) for key, value in values.items()}
  return description, body, metadata


def _from_shown(description: str, body: str, metadata: Mapping[str, str]) -> Skill:
  """The skill a file shows; raises ValueError for an id or a number that is none."""

  def value(key: str, default: str) -> str:
    return metadata.get(f"{PREFIX}{key}", default)

  records.skill_index(value("id", ""))
  provenance = Provenance(
    origin=value("origin", "import"),
    task=value("task", ""),
    policy_version=int(value("policy-version", "-1")),
    parent=value("parent", ""),
    reason=value("reason", ""),
  )
  texts = (value("category", GENERAL), value("title", ""), body, description)
  return Skill(value("id", ""), *texts, provenance)


def _exact(text: str) -> Skill:
  try:
    return records.skill_from_record(json.loads(text))
  except (KeyError, RecursionError, ValueError) as err:
    raise ValueError(f"metadata key {PREFIX}exact is damaged: {err}") from err


def _one_line(text: str) -> str:
  return printable(text.replace("\n", " ").replace("\t", " "))


def printable(line: str) -> str:
  """Every character that a text file or YAML may not keep becomes U+FFFD."""
  return "".join(c if c.isprintable() or c == "\t" else "\ufffd" for c in line)


def _mapping(value: Any) -> dict[str, Any]:
  return value if isinstance(value, dict) else {}
