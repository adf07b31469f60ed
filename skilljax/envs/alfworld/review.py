"""What the scripted ALFWorld agents know how to teach: skills, and the review turn.

Two kinds of skill: the procedure of a family, and where an object type was found. A
review writes one of them down, corrects a shown one that the episode contradicts, or
keeps the bank.

Must not know about: games, the engine, prompts' layout beyond '[s3] title: principle'.
"""

import random
import re
from collections.abc import Sequence

from skilljax.envs.alfworld.goals import APPLIANCE_OF, Goal, likely_places
from skilljax.envs.replies import call_reply, keep_reply
from skilljax.types import Provenance, Skill

_SHOWN = re.compile(r"^\[([\w-]+)\] ([^:\n]+): (.*?)(?: \(when: .*\))?$", re.MULTILINE)
_TREAT = "take the object, {verb} it with {tool}, then move it to the target."
# family: (title, principle, when to apply)
_PROCEDURES = {
  "pick_and_place": (
    "place one",
    "find the object, take it, then move it to the target.",
    "one object must be placed.",
  ),
  "pick_two": (
    "place two",
    "carry one object at a time: move the first to the target before taking the second.",
    "two objects must be placed.",
  ),
  "look_in_light": (
    "look in light",
    "take the object, go to the lamp, then use the lamp.",
    "an object must be seen under a lamp.",
  ),
  **{
    family: (
      f"{family} and place",
      _TREAT.format(verb=family, tool=tool),
      f"the object must be {adjective}.",
    )
    for (family, tool), adjective in zip(
      APPLIANCE_OF.items(), ("hot", "cool", "clean"), strict=True
    )
  },
}
_ODD_PLACES = ("bed", "toilet", "stoveburner", "safe", "armchair", "bathtubbasin")
_SEARCH = (
  "search order",
  "check open places first, then open closed ones; visit each place once.",
  "an object is hard to find.",
)


def read_shown(text: str) -> tuple[tuple[str, str, str], ...]:
  """The skills of a prompt as (id, title, principle), in order."""
  return tuple(_SHOWN.findall(text))


def procedure_skill(family: str, *, skill_id: str) -> Skill:
  """The right procedure of a family. Raises KeyError for an unknown family."""
  return _skill(skill_id, family, _PROCEDURES[family])


def find_skill(noun: str, places: Sequence[str], *, skill_id: str) -> Skill:
  """Where to look for an object type first; `places` are receptacle types, >= 1."""
  return _skill(skill_id, "general", _find(noun, places))


def misleading_procedure(goal: Goal, rng: random.Random) -> list[Skill]:
  """The procedure of the goal's family with a wrong appliance; [] if it needs none."""
  if goal.family not in APPLIANCE_OF:
    return []
  tools = [tool for family, tool in APPLIANCE_OF.items() if family != goal.family]
  title, _, when = _PROCEDURES[goal.family]
  principle = _TREAT.format(verb=goal.family, tool=rng.choice(tools))
  return [_skill("s1", goal.family, (title, principle, when))]


def misleading_place(goal: Goal, rng: random.Random) -> list[Skill]:
  """A place where the goal's object is hardly ever found."""
  likely = likely_places(goal.noun)
  wrong = [place for place in _ODD_PLACES if place not in likely]
  return [find_skill(goal.noun, [rng.choice(wrong)], skill_id="s1")]


def hinted_places(shown: Sequence[tuple[str, str, str]], noun: str) -> tuple[str, ...]:
  """Receptacle types that shown skills name for an object type, in order."""
  texts = [principle for _, title, principle in shown if title == f"find {noun}"]
  return tuple(
    word
    for text in texts
    for word in re.findall(r"\w+", text.rpartition("look in ")[2])
    if word not in ("or", "first")
  )


def hinted_tool(shown: Sequence[tuple[str, str, str]], verb: str) -> str:
  """The appliance that a shown skill names for a verb; '' if none does."""
  for _, _, principle in shown:
    if match := re.search(rf"\b{verb} it with (\w+ \d+)", principle):
      return match[1]
  return ""


def review_reply(
  goal: Goal,
  shown: Sequence[tuple[str, str, str]],
  *,
  success: bool,
  found_at: str,
) -> str:
  """The answer to a review prompt: one think block and one tool call.

  Args:
    goal: of the episode.
    shown: skills of the prompt, see `read_shown`.
    success: the outcome.
    found_at: receptacle type where the object was taken; '' if it never was.
  """
  procedure = _PROCEDURES[goal.family]
  by_title = {title: principle for _, title, principle in shown}
  if success and by_title.get(procedure[0], procedure[1]) != procedure[1]:
    return _update(procedure, f"the way that worked: {procedure[1]}")
  find_title = f"find {goal.noun}"
  if found_at and find_title in by_title:
    known = hinted_places(shown, goal.noun)
    if found_at not in known:
      kept = [place for place in known if place in likely_places(goal.noun)]
      reason = f"the {goal.noun} was in {found_at}."
      return _update(_find(goal.noun, [found_at, *kept]), reason)
  if success and procedure[0] not in by_title:
    return _propose(goal.family, procedure, "it worked here.")
  if found_at in likely_places(goal.noun) and find_title not in by_title:
    return _propose("general", _find(goal.noun, [found_at]), f"found in {found_at}.")
  if not success and not found_at and _SEARCH[0] not in by_title:
    return _propose("general", _SEARCH, "the object was not found in time.")
  return keep_reply()


def _find(noun: str, places: Sequence[str]) -> tuple[str, str, str]:
  listed = " or ".join(places[:3])
  return (f"find {noun}", f"for {noun} look in {listed} first.", f"a {noun} is needed.")


def _skill(skill_id: str, category: str, texts: tuple[str, str, str]) -> Skill:
  title, principle, when = texts
  return Skill(
    skill_id=skill_id,
    category=category,
    title=title,
    principle=principle,
    when_to_apply=when,
    provenance=Provenance(origin="teacher"),
  )


def _texts(texts: tuple[str, str, str]) -> dict[str, str]:
  return dict(zip(("title", "principle", "when_to_apply"), texts, strict=True))


def _propose(category: str, texts: tuple[str, str, str], evidence: str) -> str:
  arguments = {"category": category, **_texts(texts), "evidence": evidence}
  return call_reply(f"new: {texts[0]}", "propose_skill", arguments)


def _update(texts: tuple[str, str, str], reason: str) -> str:
  """The skill is named by its title."""
  arguments = {"skill_id": texts[0], **_texts(texts), "reason": reason}
  return call_reply(f"wrong: {texts[0]}", "update_skill", arguments)
