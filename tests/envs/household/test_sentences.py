"""Rule sentences and skills: round trips, ids, misleading values."""

import random

import pytest

from skilljax.envs.household import rules, sentences

ALL_RULES = [(slot, v) for slot in rules.SLOTS for v in rules.slot_values(slot)]


@pytest.mark.parametrize(("slot", "value"), ALL_RULES)
def test_every_sentence_round_trips(slot, value):
  sentence = sentences.rule_sentence(slot, value)
  assert sentences.parse_rule(sentence) == (slot, value)
  assert sentences.parse_rule(f"[s12] title: {sentence} Always.") == (slot, value)


def test_sentences_are_canonical():
  method = rules.Method
  assert [
    sentences.rule_sentence("place:food", "cabinet"),
    sentences.rule_sentence("heat", method("stoveburner", "on")),
    sentences.rule_sentence("cool", method("fridge", "empty")),
    sentences.rule_sentence("heat", method("toaster", "clean")),
    sentences.rule_sentence("look", method("floorlamp", "close")),
    sentences.rule_sentence("lock", "keypad"),
  ] == [
    "use the food cabinet 1.",
    "heat with stoveburner 1, first use stoveburner 1.",
    "cool with fridge 1, first take tray 1 from fridge 1.",
    "heat with toaster 1, first clean it.",
    "look under floorlamp 1, first close curtain 1.",
    "safe opens by keypad 1.",
  ]
  texts = {sentences.rule_sentence(slot, value) for slot, value in ALL_RULES}
  assert len(texts) == len(ALL_RULES)


@pytest.mark.parametrize(
  ("slot", "value"),
  [("lock", "key"), ("place:food", "safe"), ("look", rules.Method("desklamp", "clean"))],
)
def test_impossible_values_raise(slot, value):
  with pytest.raises(ValueError, match=slot):
    sentences.rule_sentence(slot, value)


@pytest.mark.parametrize(
  "text",
  ["", "use the food cabinet 2.", "heat with fridge 1.", "use thefood box 1."],
)
def test_other_text_states_no_rule(text):
  assert sentences.parse_rule(text) is None


def test_find_rules_remembers_the_id_before_the_sentence():
  text = (
    "safe opens by bell 1.\n[s3] place of food\n  use the food box 1. When: needing "
    "food.\n[s7] heat: be careful.\n[s9] heat with toaster 1."
  )
  assert sentences.find_rules(text) == (
    ("", "lock", "bell"),
    ("s3", "place:food", "box"),
    ("s9", "heat", rules.Method("toaster", "none")),
  )


def test_estate_skills_are_true_and_categorised():
  estate = rules.draw_estate(77)
  skills = sentences.estate_skills(estate)
  assert [skill.skill_id for skill in skills] == [f"s{n}" for n in range(1, 10)]
  assert [sentences.parse_rule(skill.principle) for skill in skills] == list(estate.rules)
  categories = {skill.title: skill.category for skill in skills}
  assert categories["heat"] == "heat"
  assert categories["look"] == "look_in_light"
  assert categories["place of food"] == categories["safe lock"] == "general"
  with pytest.raises(ValueError, match="'warm'"):
    sentences.estate_skills(estate, ["warm"])


@pytest.mark.parametrize("slot", rules.SLOTS)
def test_misleading_skill_names_a_wrong_thing(slot):
  for index in range(20):
    estate = rules.draw_estate(index)
    skill = sentences.misleading_skill(estate, slot, random.Random(index), skill_id="s4")
    right = sentences.estate_skills(estate, [slot])[0]
    found, value = sentences.parse_rule(skill.principle)
    truth = estate.as_dict()[slot]
    assert found == slot
    assert skill.skill_id == "s4"
    if isinstance(truth, rules.Method):
      assert value.tool != truth.tool
    else:
      assert value != truth
    assert (skill.title, skill.category) == (right.title, right.category)
