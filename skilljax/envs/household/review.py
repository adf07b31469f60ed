"""What the scripted agent writes after an episode: exactly one bank tool call.

Purpose: choose propose / update / keep from what was shown and what was found out, and
render it in the exact tag and JSON form that the parser accepts.
Must not know about: the world, acting, skill banks.
"""

from collections.abc import Mapping, Sequence

from skilljax.envs.household import rules, sentences
from skilljax.envs.replies import call_reply, keep_reply


def review_reply(
  shown: Sequence[tuple[str, str, rules.Value]],
  known: Mapping[str, rules.Value],
  *,
  kind: str,
  own_slot: str,
) -> str:
  """The reply to a review prompt.

  A shown skill that proved wrong is updated; else the most valuable rule that no shown
  skill states is proposed (storage of the task's kind, then the task's own rule, then
  what was seen by the way); else the bank is kept.

  Args:
    shown: (skill id, slot, value) of the skills in the prompt.
    known: what the episode revealed, by slot.
    kind: kind of the goal object, for example 'food'.
    own_slot: the task's second rule: an appliance verb, 'look' or 'lock'.
  """
  first = (f"place:{kind}", own_slot)
  order = [*first, *(slot for slot in rules.SLOTS if slot not in first)]
  revealed = [slot for slot in order if slot in known]
  for slot in revealed:
    of_slot = [value for _, other, value in shown if other == slot]
    if of_slot and all(value != known[slot] for value in of_slot):
      return update(slot, known[slot])
  stated = {slot for _, slot, _ in shown}
  # A review may only add to its own family and to 'general'.
  categories = ("general", sentences.rule_category(own_slot))
  for slot in revealed:
    if slot not in stated and sentences.rule_category(slot) in categories:
      return propose(slot, known[slot])
  return keep_reply()


def propose(slot: str, value: rules.Value) -> str:
  """The review that adds the skill of one rule."""
  title = sentences.rule_title(slot)
  arguments = {
    "category": sentences.rule_category(slot),
    "title": title,
    "principle": sentences.rule_sentence(slot, value),
    "when_to_apply": sentences.rule_when(slot),
    "evidence": "seen here.",
  }
  return call_reply(
    f"{sentences.rule_note(slot, value)}, new", "propose_skill", arguments
  )


def update(slot: str, value: rules.Value) -> str:
  """The review that corrects the skill of one rule, which it names by its title."""
  title = sentences.rule_title(slot)
  arguments = {
    "skill_id": title,
    "title": title,
    "principle": sentences.rule_sentence(slot, value),
    "when_to_apply": sentences.rule_when(slot),
    "reason": "it was wrong.",
  }
  return call_reply(
    f"{sentences.rule_note(slot, value)}, wrong", "update_skill", arguments
  )
