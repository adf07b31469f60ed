"""The skill bank: an immutable, content-hashed value; forks are free.

Purpose: hold skills, apply structurally valid edits, name and compare versions.
Must not know about: cleaning and limits (edits.py), files, statistics, JAX.
"""

import dataclasses
import functools
from collections.abc import Iterable

from skilljax.skills.records import CONTENT_FIELDS, short_hash, skill_index
from skilljax.types import Edit, Provenance, Skill

GENERAL = "general"


class EditRejected(Exception):
  """An edit that a bank cannot take.

  Attributes:
    status: 'duplicate', 'not_found', 'empty' or 'malformed' here; `edits.py` has more.
    reason: one sentence with the offending value.
  """

  def __init__(self, status: str, reason: str):
    super().__init__(f"{status}: {reason}")
    self.status = status
    self.reason = reason


@dataclasses.dataclass(frozen=True)
class SkillBank:
  """A set of skills under stable ids. Equal content means equal banks and versions.

  Skills are kept in the order of their ids, which is the order of their creation, so
  two banks with the same content are the same whatever edits led to them.

  Attributes:
    skills: in id order, whatever order the constructor gets.
    next_index: number of the next new skill. Ids of retired skills are never reused.
      Not part of equality or of the version.
    parent: version of the bank this one was made from; '' for a first bank. Not part
      of equality or of the version.
  """

  skills: tuple[Skill, ...] = ()
  next_index: int = dataclasses.field(default=1, compare=False)
  parent: str = dataclasses.field(default="", compare=False)

  def __post_init__(self):
    indices = [skill_index(skill.skill_id) for skill in self.skills]
    if len(set(indices)) != len(indices):
      twice = sorted({f"s{i}" for i in indices if indices.count(i) > 1})
      raise ValueError(f"skills: ids must be unique, repeated: {twice}")
    if self.next_index <= max(indices, default=0):
      raise ValueError(
        f"next_index={self.next_index} must be above the largest skill number"
        f" {max(indices, default=0)}"
      )
    ordered = tuple(sorted(self.skills, key=lambda skill: skill_index(skill.skill_id)))
    object.__setattr__(self, "skills", ordered)

  def __hash__(self):
    return hash(self.version)

  @functools.cached_property
  def version(self) -> str:
    """16 hex characters of SHA-256 over ids, categories and texts of all skills."""
    names = ("skill_id", *CONTENT_FIELDS)
    return short_hash([[getattr(s, name) for name in names] for s in self.skills])

  def get(self, skill_id: str) -> Skill | None:
    """The skill with this id, or None."""
    return next((s for s in self.skills if s.skill_id == skill_id), None)

  def by_category(self, category: str) -> tuple[Skill, ...]:
    """All skills of a category in id order."""
    return tuple(s for s in self.skills if s.category == category)

  def apply(self, edit: Edit, *, provenance: Provenance) -> "SkillBank":
    """Returns the bank after an edit; this bank stays as it is.

    Checks structure only (`structural_fault`); `edits.apply_edit` also cleans the text
    and checks categories and limits, and is what untrusted edits go through.

    Args:
      edit: 'keep' returns this very object.
      provenance: stored with the new or changed skill; its `parent` becomes this
        bank's version, an empty `reason` becomes the edit's.
    Raises:
      EditRejected: with the status and the reason.
    """
    fault = structural_fault(self, edit)
    if fault is not None:
      raise EditRejected(*fault)
    if edit.kind == "keep":
      return self
    index = self.next_index
    kept = tuple(s for s in self.skills if s.skill_id != edit.skill_id)
    if edit.kind == "retire":
      return SkillBank(kept, index, self.version)
    origin = dataclasses.replace(
      provenance, parent=self.version, reason=provenance.reason or edit.reason
    )
    texts = (edit.title, edit.principle, edit.when_to_apply, origin)
    if edit.kind == "propose":
      new = Skill(f"s{index}", edit.category, *texts)
      return SkillBank((*self.skills, new), index + 1, self.version)
    (target,) = (s for s in self.skills if s.skill_id == edit.skill_id)
    changed = Skill(target.skill_id, target.category, *texts)
    return SkillBank((*kept, changed), index, self.version)


def from_skills(
  skills: Iterable[Skill], *, next_index: int = 1, parent: str = ""
) -> SkillBank:
  """Builds a bank; skills with an empty id get the next free ids in the given order.

  Args:
    skills: any order; given ids must be unique.
    next_index: smallest number for a new skill; raised above all given ids.
    parent: version of the bank these skills come from.
  Raises:
    ValueError: repeated or malformed ids.
  """
  skills = tuple(skills)
  taken = max((skill_index(s.skill_id) for s in skills if s.skill_id), default=0)
  free = max(next_index, taken + 1)
  named = []
  for skill in skills:
    if not skill.skill_id:
      skill = dataclasses.replace(skill, skill_id=f"s{free}")
      free += 1
    named.append(skill)
  return SkillBank(tuple(named), free, parent)


def fold(text: str) -> str:
  """Case-folded text with every run of white space as one space."""
  return " ".join(text.casefold().split())


def structural_fault(bank: SkillBank, edit: Edit) -> tuple[str, str] | None:
  """Why a bank cannot take an edit, as (status, reason), or None.

  Definition of 'duplicate': after `fold`, the title or the principle equals that of
  another skill of the bank, in any category. For 'update' the edited skill itself does
  not count as another; an update whose three texts are all unchanged after `fold` is a
  'duplicate' too, for it has no content.
  """
  if any(not isinstance(value, str) for value in vars(edit).values()):
    return "malformed", "every field of an edit must be a string"
  if edit.kind not in ("propose", "update", "keep", "retire"):
    return "malformed", (
      f"kind={edit.kind!r:.40} must be 'propose', 'update', 'keep' or 'retire'"
    )
  if edit.kind == "keep":
    return None
  target = bank.get(edit.skill_id)
  if edit.kind != "propose" and target is None:
    return "not_found", f"skill_id={edit.skill_id!r:.40} is not in the bank"
  if edit.kind == "retire":
    return None
  needed = ["title", "principle", "when_to_apply"]
  if edit.kind == "propose":
    needed.append("category")
  for name in needed:
    if not getattr(edit, name).strip():
      return "empty", f"{name} is empty"
  return _duplicate(bank, edit, target if edit.kind == "update" else None)


def _duplicate(
  bank: SkillBank, edit: Edit, target: Skill | None
) -> tuple[str, str] | None:
  title, principle = fold(edit.title), fold(edit.principle)
  for skill in bank.skills:
    same = [fold(skill.title) == title, fold(skill.principle) == principle]
    if skill is target:
      if all(same) and fold(skill.when_to_apply) == fold(edit.when_to_apply):
        return "duplicate", f"the update leaves {skill.skill_id} as it is"
    elif any(same):
      what = "title" if same[0] else "principle"
      return "duplicate", f"{what} equals that of {skill.skill_id}"
  return None


@dataclasses.dataclass(frozen=True)
class BankDiff:
  """What changed between two banks; skills are matched by id.

  Attributes:
    added, retired: skills only in the new, only in the old bank.
    updated: (old, new) pairs whose content differs.
  """

  added: tuple[Skill, ...] = ()
  updated: tuple[tuple[Skill, Skill], ...] = ()
  retired: tuple[Skill, ...] = ()

  def render(self) -> str:
    """A few readable lines; 'no change' for an empty diff."""
    lines = [f"+ {_line(skill)}" for skill in self.added]
    lines += [f"- {_line(skill)}" for skill in self.retired]
    for old, new in self.updated:
      lines.append(f"~ {_line(new)}")
      for name in CONTENT_FIELDS:
        before, after = getattr(old, name), getattr(new, name)
        if before != after:
          lines += [f"    {name}:", f"      - {before}", f"      + {after}"]
    return "\n".join(lines) or "no change"


def diff(old: SkillBank, new: SkillBank) -> BankDiff:
  """Compares two banks by skill id; provenance does not count."""
  before = {skill.skill_id: skill for skill in old.skills}
  after = {skill.skill_id: skill for skill in new.skills}
  return BankDiff(
    added=tuple(s for s in new.skills if s.skill_id not in before),
    updated=tuple(
      (before[s.skill_id], s)
      for s in new.skills
      if s.skill_id in before and before[s.skill_id] != s
    ),
    retired=tuple(s for s in old.skills if s.skill_id not in after),
  )


def _line(skill: Skill) -> str:
  return f"{skill.skill_id} [{skill.category}] {skill.title}: {skill.principle}"
