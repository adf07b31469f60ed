"""Admission of untrusted edits: cleaning, categories, limits, then the bank's own rules.

Purpose: one total function from (bank, edit) to a status, a reason and a bank.
Must not know about: parsing of responses, utilities, files.
"""

import dataclasses
from collections.abc import Collection

from skilljax.skills import guard
from skilljax.skills.bank import SkillBank, fold, structural_fault
from skilljax.types import Edit, Provenance, Skill

ACCEPTED = ("added", "updated", "kept", "retired")
REJECTED = (
  "malformed",  # a field is not a string, or the kind is unknown
  "too_long",
  "unclean",  # control characters, invisible characters, special tokens, tags
  "not_found",
  "empty",
  "wrong_category",
  "duplicate",
  "bank_full",
)

_DONE = {"propose": "added", "update": "updated", "keep": "kept", "retire": "retired"}


@dataclasses.dataclass(frozen=True)
class EditLimits:
  """Sizes an edit must keep, in characters after cleaning.

  Title and when_to_apply follow the `name` (64) and `description` (1024) limits of the
  Agent Skills specification, so that every admitted skill exports without a cut. The
  specification sets no limit for the body; ours keeps prompts small.

  Attributes:
    max_title_chars, max_principle_chars, max_when_to_apply_chars: of each text.
    max_reason_chars: longer reasons are cut, not rejected; they are no content.
    max_skills_per_category, max_skills: of the bank after the edit.
    reject_unclean: False admits dangerous text after neutralising it.
  """

  max_title_chars: int = 64
  max_principle_chars: int = 1024
  max_when_to_apply_chars: int = 1024
  max_reason_chars: int = 1024
  max_skills_per_category: int = 64
  max_skills: int = 512
  reject_unclean: bool = True

  def __post_init__(self):
    for name, value in vars(self).items():
      if name.startswith("max_") and value < 1:
        raise ValueError(f"{name}={value} must be >= 1 (config key skills.limits.{name})")


@dataclasses.dataclass(frozen=True)
class EditOutcome:
  """What became of an edit.

  Attributes:
    bank: after the edit; the unchanged object when it was rejected or kept.
    status: one of `ACCEPTED` or `REJECTED`.
    reason: why it was rejected; '' when it was not.
    edit: as applied, that is with clean texts; what lineage files record.
    findings: what cleaning changed.
  """

  bank: SkillBank
  status: str
  reason: str
  edit: Edit
  findings: tuple[guard.Finding, ...] = ()

  @property
  def accepted(self) -> bool:
    """True when the edit was valid; 'kept' counts."""
    return self.status in ACCEPTED


def proposal(skill: Skill, *, reason: str) -> Edit:
  """The edit that adds a skill which exists already, a teacher's for example."""
  return Edit(
    kind="propose",
    category=skill.category,
    title=skill.title,
    principle=skill.principle,
    when_to_apply=skill.when_to_apply,
    reason=reason,
  )


def check_edit(
  bank: SkillBank,
  edit: Edit,
  *,
  categories: Collection[str],
  limits: EditLimits | None = None,
) -> str:
  """The status `apply_edit` would give. Total."""
  return _judge(bank, edit, categories, limits or EditLimits())[0]


def apply_edit(
  bank: SkillBank,
  edit: Edit,
  *,
  categories: Collection[str],
  limits: EditLimits | None = None,
  provenance: Provenance,
) -> EditOutcome:
  """Applies an untrusted edit. Total: no edit makes it raise.

  Args:
    bank: stays as it is.
    edit: as parsed; its texts may hold anything.
    categories: those the edit may touch, for 'propose' by its category, for 'update'
      and 'retire' by that of the target; usually the task's family and 'general'.
    limits: sizes; None means the defaults.
    provenance: as in `SkillBank.apply`.

  'update' and 'retire' may name their target by its title, which is unique.
  """
  limits = limits or EditLimits()
  status, reason, edit, findings = _judge(bank, edit, categories, limits)
  if status in ACCEPTED:
    bank = bank.apply(edit, provenance=provenance)
  return EditOutcome(bank, status, reason, edit, findings)


def _judge(
  bank: SkillBank, edit: Edit, categories: Collection[str], limits: EditLimits
) -> tuple[str, str, Edit, tuple[guard.Finding, ...]]:
  if any(not isinstance(value, str) for value in vars(edit).values()):
    return "malformed", "every field of an edit must be a string", edit, ()
  fault = _oversized(edit, limits)
  findings: tuple[guard.Finding, ...] = ()
  if fault is None:
    edit, findings = _clean(edit, limits)
    edit = _by_title(bank, edit)
    fault = (
      _too_long(edit, limits)
      or _unclean(findings, limits)
      or structural_fault(bank, edit)
      or _wrong_category(bank, edit, categories)
      or _full(bank, edit, limits)
    )
  if fault is not None:
    return *fault, edit, findings
  return _DONE[edit.kind], "", edit, findings


def _by_title(bank: SkillBank, edit: Edit) -> Edit:
  """The edit with the id of its target, where it names the target by its title.

  Edits keep titles unique; in an imported bank a title that stands twice names nothing.
  Small models cite what they can look up by reading on, and a title is that; large ones
  mix ids and titles up.
  """
  if edit.kind in ("propose", "keep") or bank.get(edit.skill_id) is not None:
    return edit
  name = fold(edit.skill_id)
  named = [skill.skill_id for skill in bank.skills if fold(skill.title) == name]
  return dataclasses.replace(edit, skill_id=named[0]) if len(named) == 1 else edit


def _texts(edit: Edit, limits: EditLimits) -> dict[str, int]:
  """The texts an edit would store, with their limits."""
  if edit.kind not in ("propose", "update"):
    return {}
  return {
    "title": limits.max_title_chars,
    "principle": limits.max_principle_chars,
    "when_to_apply": limits.max_when_to_apply_chars,
  }


def _oversized(edit: Edit, limits: EditLimits) -> tuple[str, str] | None:
  """Refuses huge text before any work is spent on it."""
  for name in _texts(edit, limits):
    size = len(getattr(edit, name))
    if size > guard.MAX_RAW_CHARS:
      return "too_long", f"{name} has {size} characters, at most {guard.MAX_RAW_CHARS}"
  return None


def _clean(edit: Edit, limits: EditLimits) -> tuple[Edit, tuple[guard.Finding, ...]]:
  texts, findings = {}, []
  for name in _texts(edit, limits):
    cleaned = guard.clean_text(getattr(edit, name), field=name)
    texts[name] = cleaned.text
    findings += cleaned.findings
  # A reason is kept for readers only: it is cleaned and cut, never a cause to reject.
  reason = guard.clean_text(edit.reason, max_chars=limits.max_reason_chars).text
  return dataclasses.replace(edit, **texts, reason=reason), tuple(findings)


def _too_long(edit: Edit, limits: EditLimits) -> tuple[str, str] | None:
  for name, most in _texts(edit, limits).items():
    size = len(getattr(edit, name))
    if size > most:
      return "too_long", (
        f"{name} has {size} characters, at most {most}"
        f" (config key skills.limits.max_{name}_chars)"
      )
  return None


def _unclean(
  findings: tuple[guard.Finding, ...], limits: EditLimits
) -> tuple[str, str] | None:
  bad = next((finding for finding in findings if finding.dangerous), None)
  if bad is None or not limits.reject_unclean:
    return None
  return "unclean", f"{bad.field} holds a {bad.kind}: {bad.detail}"


def _wrong_category(
  bank: SkillBank, edit: Edit, categories: Collection[str]
) -> tuple[str, str] | None:
  if edit.kind == "keep":
    return None
  target = bank.get(edit.skill_id)
  category = target.category if edit.kind != "propose" and target else edit.category
  if category in categories:
    return None
  return "wrong_category", (
    f"category={category!r:.60} must be one of {sorted(categories)}"
  )


def _full(bank: SkillBank, edit: Edit, limits: EditLimits) -> tuple[str, str] | None:
  if edit.kind != "propose":
    return None
  if len(bank.skills) >= limits.max_skills:
    return "bank_full", (
      f"the bank holds {len(bank.skills)} skills, at most {limits.max_skills}"
      " (config key skills.limits.max_skills)"
    )
  held = len(bank.by_category(edit.category))
  if held >= limits.max_skills_per_category:
    return "bank_full", (
      f"category {edit.category!r} holds {held} skills, at most"
      f" {limits.max_skills_per_category}"
      " (config key skills.limits.max_skills_per_category)"
    )
  return None
