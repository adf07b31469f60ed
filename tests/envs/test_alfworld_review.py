"""What the scripted agents teach: exactly one well-formed call, for the right reason."""

import json
import random
import re

import pytest

from skilljax.agents import parse
from skilljax.envs.alfworld import review
from skilljax.envs.alfworld.goals import Goal

HEAT = Goal("heat", "apple", "fridge")
RIGHT = "take the object, heat it with microwave 1, then move it to the target."


def _call(reply: str) -> tuple[str, dict]:
  match = re.fullmatch(r"<think>[^<>]+</think><tool_call>(.*)</tool_call>", reply)
  call = json.loads(match[1])
  assert set(call) == {"name", "arguments"}
  parsed = parse.parse_edit(reply, ("heat", "look_in_light", "general"))
  assert parsed.edit is not None, parsed.rejection
  return call["name"], call["arguments"]


def _shown(*skills):
  lines = [f"[{s.skill_id}] {s.title}: {s.principle}" for s in skills]
  return review.read_shown("<skills>\n" + "\n".join(lines) + "\n</skills>")


def _decide(shown, *, success=True, found_at="countertop"):
  return _call(review.review_reply(HEAT, shown, success=success, found_at=found_at))


def test_skills_of_both_prompt_styles_are_read():
  text = "x\n[s3] heat it: do this: now.\n[s12] find egg: look. (when: an egg (raw))\ny"
  assert review.read_shown(text) == (
    ("s3", "heat it", "do this: now."),
    ("s12", "find egg", "look."),
  )


def test_a_success_without_skills_proposes_the_procedure():
  assert _decide(()) == (
    "propose_skill",
    {
      "category": "heat",
      "title": "heat and place",
      "principle": RIGHT,
      "when_to_apply": "the object must be hot.",
      "evidence": "it worked here.",
    },
  )


def test_a_known_procedure_makes_room_for_the_place():
  name, arguments = _decide(_shown(review.procedure_skill("heat", skill_id="s1")))
  assert name == "propose_skill"
  assert arguments["category"] == "general"
  assert arguments["principle"] == "for apple look in countertop first."


def test_what_is_known_already_is_kept():
  shown = _shown(
    review.procedure_skill("heat", skill_id="s1"),
    review.find_skill("apple", ["countertop"], skill_id="s2"),
  )
  assert _decide(shown) == ("keep_skill", {"reason": "nothing new."})


def test_a_wrong_procedure_is_updated_by_its_title():
  (wrong,) = review.misleading_procedure(HEAT, random.Random(0))
  assert wrong.principle != RIGHT and wrong.title == "heat and place"
  name, arguments = _decide((("s7", wrong.title, wrong.principle),))
  assert (name, arguments["skill_id"], arguments["principle"]) == (
    *("update_skill", "heat and place"),
    RIGHT,
  )


def test_a_wrong_place_is_replaced_and_a_plausible_one_kept():
  right = review.procedure_skill("heat", skill_id="s1")
  (odd,) = review.misleading_place(HEAT, random.Random(0))
  name, arguments = _decide(_shown(right, odd))
  assert name == "update_skill"
  assert arguments["principle"] == "for apple look in countertop first."
  plausible = review.find_skill("apple", ["fridge"], skill_id="s2")
  _, arguments = _decide(_shown(right, plausible))
  assert arguments["principle"] == "for apple look in countertop or fridge first."


def test_a_failure_teaches_nothing_about_the_procedure():
  name, arguments = _decide((), success=False, found_at="")
  assert (name, arguments["title"]) == ("propose_skill", "search order")
  shown = (("s1", "search order", arguments["principle"]),)
  assert _decide(shown, success=False, found_at="")[0] == "keep_skill"


def test_an_odd_finding_is_not_a_lesson():
  shown = _shown(review.procedure_skill("heat", skill_id="s1"))
  assert _decide(shown, found_at="bed")[0] == "keep_skill"


def test_hints_are_read_back():
  shown = _shown(
    review.find_skill("apple", ["fridge", "desk"], skill_id="s1"),
    review.procedure_skill("cool", skill_id="s2"),
  )
  assert review.hinted_places(shown, "apple") == ("fridge", "desk")
  assert review.hinted_places(shown, "egg") == ()
  assert review.hinted_tool(shown, "cool") == "fridge 1"
  assert review.hinted_tool(shown, "heat") == ""


@pytest.mark.parametrize("family", ["pick_and_place", "pick_two", "look_in_light"])
def test_families_without_an_appliance_have_no_wrong_one(family):
  assert review.misleading_procedure(Goal(family, "cd", "desk"), random.Random(0)) == []
