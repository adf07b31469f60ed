"""What the scripted shopper knows how to teach: skills, and the review turn.

A review writes down a rule that the episode shows and that no shown skill holds, corrects
a shown one that is wrong, or keeps the bank.
Must not know about: pages, goals, prompts' layout beyond '[s3] title: principle'.
"""

import re
from collections.abc import Sequence

from skilljax.envs.replies import call_reply, keep_reply
from skilljax.types import Provenance, Skill

_SHOWN = re.compile(r"^\[([\w-]+)\] ([^:\n]+): (.*?)(?: \(when: .*\))?$", re.MULTILINE)
# title: (principle, when to apply, a principle that is wrong)
RULES = {
  "choose options": (
    "click the value of every option that the goal names, then Buy Now.",
    "the goal names a color, a size or another option.",
    "options do not matter: open the product and click Buy Now.",
  ),
  "check the options": (
    "a product without a wanted option is the wrong one: click < Prev and open the next.",
    "a product page is open.",
    "buy the first product even if a wanted option is not on its page.",
  ),
  "search words": (
    "search with the kind of product, its attributes and option values, not the price.",
    "the search page is open.",
    "search with the last two words of the goal.",
  ),
  "mind the price": (
    "open only products whose lowest price is below the limit of the goal.",
    "results are listed and the goal has a price limit.",
    "prices do not matter: open what fits best.",
  ),
}


def read_shown(text: str) -> tuple[tuple[str, str, str], ...]:
  """The skills of a prompt as (id, title, principle), in order."""
  return tuple(_SHOWN.findall(text))


def taught(shown: Sequence[tuple[str, str, str]]) -> dict[str, bool]:
  """Title -> whether the rule is stated as it is; only rules that the prompt states."""
  return {
    title: _folded(principle) == _folded(RULES[title][0])
    for _, title, principle in shown
    if title in RULES
  }


def rule_skill(title: str, *, category: str, wrong: bool, skill_id: str = "s1") -> Skill:
  """One rule as a skill. Raises KeyError for a title that `RULES` lacks."""
  right, when, false = RULES[title]
  return Skill(
    skill_id=skill_id,
    category=category,
    title=title,
    principle=false if wrong else right,
    when_to_apply=when,
    provenance=Provenance(origin="teacher"),
  )


def review_reply(
  shown: Sequence[tuple[str, str, str]],
  *,
  success: bool,
  family: str,
  num_options: int,
  num_chosen: int,
  opened: int,
) -> str:
  """The answer to a review prompt: one think block and one tool call.

  Args:
    shown: skills of the prompt, see `read_shown`.
    success: the outcome.
    family: category of a new skill.
    num_options: how many options the goal named.
    num_chosen: how many of them were clicked.
    opened: how many products were opened.
  """
  by_title = {title: principle for _, title, principle in shown}
  learned = []
  if success:
    learned += ["choose options"] * (num_options > 0) + ["search words"] * (opened == 1)
  elif num_chosen < num_options:
    learned += ["choose options", "check the options"]
  else:
    learned += ["search words", "mind the price"]
  learned += ["check the options"] * (opened > 1)
  for title in learned:
    if title in by_title and by_title[title] != _folded(RULES[title][0]):
      return _update(title)
  for title in learned:
    if title not in by_title:
      return _propose(title, family)
  return keep_reply()


def _folded(principle: str) -> str:
  # As prompts show it: marks become round brackets, so that no text leaves its fence.
  return " ".join(principle.translate(str.maketrans("<>[]", "()()")).split())


def _texts(title: str) -> dict[str, str]:
  principle, when, _ = RULES[title]
  return {"title": title, "principle": principle, "when_to_apply": when}


def _propose(title: str, family: str) -> str:
  arguments = {"category": family, **_texts(title), "evidence": "this episode."}
  return call_reply(f"new: {title}", "propose_skill", arguments)


def _update(title: str) -> str:
  """The skill is named by its title."""
  arguments = {"skill_id": title, **_texts(title), "reason": "this episode."}
  return call_reply(f"wrong: {title}", "update_skill", arguments)
