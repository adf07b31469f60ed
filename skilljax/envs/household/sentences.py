"""Rule values as sentences and back, and rules as skills.

Purpose: one canonical sentence per rule value, its inverse, and skills (right or
misleading) made of them.
Must not know about: tasks, worlds, agents, skill banks.
"""

import random
import re
from collections.abc import Iterable

from skilljax.envs.household import rules
from skilljax.types import Provenance, Skill

_FIRST_TEXT = {
  "none": "",
  "on": ", first use {tool} 1",
  "close": ", first close {tool} 1",
  "empty": ", first take tray 1 from {tool} 1",
  "clean": ", first clean it",
}
_LOOK_FIRST_TEXT = {
  "none": "",
  "on": ", first use switch 1",
  "close": ", first close curtain 1",
}


def rule_sentence(slot: str, value: rules.Value) -> str:
  """The canonical sentence of one rule, for example 'use the food cabinet 1.'.

  Raises:
    ValueError: the slot is unknown or cannot take this value.
  """
  if value not in rules.slot_values(slot):
    raise ValueError(f"value={value!r} is not a value of slot {slot!r}")
  if slot.startswith("place:"):
    return f"use the {slot.removeprefix('place:')} {value} 1."
  if slot == "lock":
    return f"safe opens by {value} 1."
  tool, first = value
  if slot == "look":
    return f"look under {tool} 1{_LOOK_FIRST_TEXT[first]}."
  return f"{slot} with {tool} 1{_FIRST_TEXT[first].format(tool=tool)}."


_RULE_OF = {
  rule_sentence(slot, value): (slot, value)
  for slot in rules.SLOTS
  for value in rules.slot_values(slot)
}
_RULE = "|".join(re.escape(sentence) for sentence in _RULE_OF)
_RULE_PATTERN = re.compile(rf"\b(?:{_RULE})")
_MARK_PATTERN = re.compile(rf"\[(?P<id>[A-Za-z0-9_-]+)\]|\b(?P<rule>{_RULE})")


def parse_rule(text: str) -> tuple[str, rules.Value] | None:
  """The first rule that `text` states, as (slot, value); None if it states none."""
  match = _RULE_PATTERN.search(text)
  return _RULE_OF[match.group()] if match else None


def find_rules(text: str) -> tuple[tuple[str, str, rules.Value], ...]:
  """All rules stated in a text, as (skill id, slot, value) in order of appearance.

  The skill id is the last '[id]' before the sentence, '' if there is none.
  """
  found = []
  skill_id = ""
  for match in _MARK_PATTERN.finditer(text):
    if match["id"] is not None:
      skill_id = match["id"]
    else:
      found.append((skill_id, *_RULE_OF[match["rule"]]))
  return tuple(found)


def rule_phrase(slot: str, value: rules.Value) -> str:
  """A rule as a thought cites it: 'use food cabinet', 'heat with toaster', …."""
  if slot.startswith("place:"):
    return f"use {slot.removeprefix('place:')} {value}"
  if slot == "lock":
    return f"safe opens by {value}"
  verb = "look under" if slot == "look" else f"{slot} with"
  return f"{verb} {value.tool}"


def rule_note(slot: str, value: rules.Value) -> str:
  """A rule that was just seen, as a thought notes it: 'note food cabinet', ….

  What must be done first is part of it: 'note heat toaster first on'.
  """
  if slot.startswith("place:"):
    return f"note {slot.removeprefix('place:')} {value}"
  if slot == "lock":
    return f"note safe {value}"
  first = "" if value.first == "none" else f" first {value.first}"
  return f"note {slot} {value.tool}{first}"


def rule_category(slot: str) -> str:
  """The retrieval category of a rule: its task family, or 'general'."""
  if slot not in rules.TOOLS:
    return "general"
  return "look_in_light" if slot == "look" else slot


def rule_title(slot: str) -> str:
  """The title of a rule's skill, for example 'place of food' or 'heat'."""
  if slot.startswith("place:"):
    return f"place of {slot.removeprefix('place:')}"
  return "safe lock" if slot == "lock" else slot


def rule_when(slot: str) -> str:
  """When to apply a rule's skill, for example 'needing food'."""
  if slot.startswith("place:"):
    return f"needing {slot.removeprefix('place:')}"
  return "needing safe" if slot == "lock" else f"needing to {slot}"


def rule_skill(slot: str, value: rules.Value, *, skill_id: str) -> Skill:
  """The skill that states one rule."""
  return Skill(
    skill_id=skill_id,
    category=rule_category(slot),
    title=rule_title(slot),
    principle=rule_sentence(slot, value),
    when_to_apply=rule_when(slot),
    provenance=Provenance(origin="teacher"),
  )


def estate_skills(
  estate: rules.Estate, slots: Iterable[str] = rules.SLOTS
) -> tuple[Skill, ...]:
  """Correct skills for the named rule slots, with ids 's1', 's2', … in that order.

  Raises:
    ValueError: unknown slot.
  """
  values = estate.as_dict()
  skills = []
  for number, slot in enumerate(slots, start=1):
    if slot not in values:
      raise ValueError(f"slot={slot!r} is not one of {rules.SLOTS}")
    skills.append(rule_skill(slot, values[slot], skill_id=f"s{number}"))
  return tuple(skills)


def misleading_skill(
  estate: rules.Estate, slot: str, rng: random.Random, *, skill_id: str = "s1"
) -> Skill:
  """A skill of the same form with a wrong place, device or appliance.

  A wrong precondition of the right appliance would still help, so the appliance is
  always a wrong one.
  """
  truth = estate.as_dict()[slot]
  name = truth.tool if isinstance(truth, rules.Method) else truth
  wrong = [
    value
    for value in rules.slot_values(slot)
    if (value.tool if isinstance(value, rules.Method) else value) != name
  ]
  return rule_skill(slot, rng.choice(wrong), skill_id=skill_id)
