"""Drills: what is trained follows from the text before it, never from habit."""

import random
import re

import pytest

from skilljax.envs.household import (
  HouseholdEnv,
  HouseholdSource,
  drills,
  rules,
  sentences,
  tasks,
)

SEEDS = pytest.mark.parametrize("seed", range(8))


def make(seed):
  """(skills, rules by slot, rng) of one estate."""
  rng = random.Random(seed)
  estate = rules.draw_estate(seed)
  slots = rng.sample(rules.SLOTS, 5)
  known = {slot: estate.as_dict()[slot] for slot in slots}
  skills = [
    sentences.rule_skill(slot, value, skill_id=f"s{3 * number}")
    for number, (slot, value) in enumerate(known.items(), start=1)
  ]
  return skills, known, rng


@SEEDS
def test_look_ups_cite_known_rules(seed):
  _, known, rng = make(seed)
  stated = {sentences.rule_phrase(slot, value) for slot, value in known.items()}
  pieces = list(drills.look_ups(known, rng))
  assert len(pieces) == drills.LOOK_UPS
  for given, recalled in pieces:
    assert (given + recalled).removeprefix(", ").removeprefix("<think>") in stated
    assert len(recalled.split()) == 1  # the value alone


@SEEDS
def test_goals_are_read(seed):
  estate = rules.draw_estate(seed)
  known = {"place:food": estate.as_dict()["place:food"]}
  for position in range(12):
    (goal, noun), (_, kind) = drills.read_goal(estate, position, known)
    noun = noun.strip()
    assert re.search(rf"\b{noun} (in|under) ", goal)
    kept = f" {known['place:food']}" if rules.KIND_OF[noun] == "food" else ""
    assert kind == f" {rules.KIND_OF[noun]}{kept}"


@SEEDS
def test_things_are_told_by_their_numbers(seed):
  pieces = list(drills.numbered(random.Random(seed)))
  listed = dict(re.findall(r"a (\w+) (\d)", pieces[0][0]))
  asked = {given.rpartition("find ")[2]: recalled for given, recalled in pieces}
  assert asked == {noun: f" {number}" for noun, number in listed.items()}
  assert len(asked) == drills.THINGS


@SEEDS
def test_walks_tell_what_is_here(seed):
  seen, here, noted, answers = set(), {}, set(), []
  for given, recalled in drills.walk(random.Random(seed)):
    if view := re.search(r"arrive at (\w+) 1\. You see ([^.]*)\.", given):
      place, here = view[1], dict(re.findall(r"a (\w+) (\d)", view[2]))
      assert (view[2] == "nothing") == (not here)
      seen |= set(here)
    if given.endswith("note"):
      kind, where = recalled.split()
      assert where == place and kind in {rules.KIND_OF[noun] for noun in here}
      noted.add(kind)
      continue
    wanted = re.search(r"find (\w+)$", given)[1]
    assert recalled == (f" {here[wanted]}" if wanted in here else " not here")
    assert wanted in here or wanted not in seen
    answers.append(wanted in here)
  assert noted == set(rules.KINDS)
  assert len(seen) == 2 * len(rules.KINDS)
  assert 0 < sum(answers) < len(answers) == drills.WANTED * len(rules.PLACES)


def test_refusals_are_noted_and_met():
  rng, firsts = random.Random(0), set()
  methods = {
    sentences.rule_note(slot, method): (slot, method)
    for slot, values in rules.METHODS.items()
    for method in values
  }
  for _ in range(60):
    said, recalled = drills.refusal(rng)
    assert said.endswith(".<think>note")
    note, _, rest = f"note{recalled}".partition(", ")
    slot, method = methods[note]
    action = tasks.preparation(slot, *method)
    assert rest == f"first {action.split()[0]}</think><action>{action}</action>"
    firsts.add(method.first)
  assert firsts == {"on", "close", "empty"}


def test_refusals_are_the_worlds_own_words():
  source, env, met = HouseholdSource(), HouseholdEnv(), set()
  for index in range(60):
    estate = rules.draw_estate(index)
    for position in range(6):
      task = source.task(index, position)
      slot = "look" if task.family == "look_in_light" else task.family
      method = estate.as_dict().get(slot)
      if slot not in rules.TOOLS or method.first not in tasks.OBSTACLES:
        continue
      plan = tasks.oracle_plan(estate, tasks.task_spec(estate, position, task.seed))
      ready = tasks.preparation(slot, *method)
      env.reset(task)
      for command in plan[: plan.index(ready)]:
        env.step(command)
      said = env.step(plan[plan.index(ready) + 1]).text
      assert said == tasks.obstacle(slot, *method)
      met.add((slot, method.first))
  assert len(met) >= 8


def test_reports_say_what_their_note_says():
  rng, tools = random.Random(0), set()
  for _ in range(60):
    given, sentence = drills.report(rng)
    slot, value = sentences.parse_rule(sentence)
    assert sentences.rule_sentence(slot, value) == sentence
    assert sentences.rule_note(slot, value) in given
    tools.add("propose_skill" if "propose_skill" in given else "update_skill")
  assert tools == {"propose_skill", "update_skill"}


def test_a_drill_holds_every_kind_and_repeats():
  options = {"reading_only": False, "tasks_per_estate": 18}
  skills, pieces = drills.drill(5, **options)
  assert drills.drill(5, **options) == (skills, pieces)
  drawn = [drills.drill(seed, **options)[1] for seed in range(6)]
  text = "".join(given + recalled for pieces in drawn for given, recalled in pieces)
  for part in ("find", "not here", "is off.", '"principle": "'):
    assert part in text
  _, reading = drills.drill(5, reading_only=True, tasks_per_estate=18)
  assert not any("here" in recalled for _, recalled in reading)
  assert any("You see a" in given for given, _ in reading)
  ids = [skill.skill_id for skill in skills]
  assert len(set(ids)) == len(ids) >= 4
