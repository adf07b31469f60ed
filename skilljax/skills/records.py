"""Plain-JSON records of skills, edits and provenance, and the hashes made from them.

Purpose: one canonical spelling, so that equal content has equal bytes everywhere.
Must not know about: banks, files, environments, JAX.
"""

import dataclasses
import hashlib
import json
import re
import typing
from collections.abc import Mapping
from typing import Any

from skilljax.types import Edit, Provenance, Skill

CONTENT_FIELDS = ("category", "title", "principle", "when_to_apply")

# Nine digits keep every id, and every folder named after one, short.
_SKILL_ID = re.compile(r"s([1-9][0-9]{0,8})")


def skill_index(skill_id: str) -> int:
  """Number of a skill id: 's12' -> 12.

  Raises:
    ValueError: not of the form 's1' … 's999999999'.
  """
  match = _SKILL_ID.fullmatch(skill_id)
  if match is None:
    raise ValueError(
      f"skill_id={skill_id!r} is not a skill id; allowed: 's1', 's2', … 's999999999'"
    )
  return int(match.group(1))


def is_skill_id(value: object) -> bool:
  """True for 's1', 's2', …"""
  return isinstance(value, str) and _SKILL_ID.fullmatch(value) is not None


def canonical_json(record: Any) -> str:
  """The one spelling of a record: sorted keys, no spaces, ASCII escapes, no NaN."""
  return json.dumps(record, sort_keys=True, separators=(",", ":"), allow_nan=False)


def short_hash(record: Any) -> str:
  """First 16 hex characters of SHA-256 over the canonical JSON of a record."""
  return hashlib.sha256(canonical_json(record).encode("ascii")).hexdigest()[:16]


def skill_hash(skill: Skill) -> str:
  """Content hash of one skill: category and texts, without id and provenance.

  The id stays out so that a skill keeps its statistics when it moves between banks.
  """
  return short_hash([getattr(skill, name) for name in CONTENT_FIELDS])


def skill_to_record(skill: Skill) -> dict[str, Any]:
  """A skill with its provenance as a JSON object."""
  return dataclasses.asdict(skill)


def skill_from_record(record: Any) -> Skill:
  """Inverse of `skill_to_record`.

  Raises:
    ValueError: a field is missing, unknown or of the wrong type.
  """
  fields = _checked(record, Skill, skip=("provenance",))
  skill_index(fields["skill_id"])
  return Skill(**fields, provenance=provenance_from_record(record["provenance"]))


def provenance_from_record(record: Any) -> Provenance:
  """Inverse of `dataclasses.asdict` on a provenance; raises ValueError."""
  return Provenance(**_checked(record, Provenance))


def edit_from_record(record: Any) -> Edit:
  """Inverse of `dataclasses.asdict` on an edit; raises ValueError."""
  return Edit(**_checked(record, Edit))


def _checked(record: Any, kind: type, skip: tuple[str, ...] = ()) -> dict[str, Any]:
  """The fields of a dataclass `kind`, all there and of their types."""
  if not isinstance(record, Mapping):
    raise ValueError(f"{kind.__name__}: expected an object, got {type(record).__name__}")
  wanted = typing.get_type_hints(kind)
  if set(record) != set(wanted):
    missing, unknown = (
      sorted(set(wanted) - set(record)),
      sorted(set(record) - set(wanted)),
    )
    raise ValueError(f"{kind.__name__}: missing fields {missing}, unknown {unknown}")
  values = {name: record[name] for name in wanted if name not in skip}
  for name, value in values.items():
    # `type` and not isinstance: True is an int, and no field is a bool.
    if type(value) is not wanted[name]:
      raise ValueError(
        f"{kind.__name__}.{name}={value!r:.80} must be of type {wanted[name].__name__}"
      )
  return values
