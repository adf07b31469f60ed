"""Drills for ALFWorld: what is trained follows from the text before it."""

import random
import re

import pytest

from skilljax.envs.alfworld import drills
from skilljax.envs.alfworld.goals import APPLIANCE_OF, NOUNS, parse_goal

SEEDS = pytest.mark.parametrize("seed", range(6))


@SEEDS
def test_look_ups_cite_the_skills(seed):
  skills, pieces = drills.drill(seed, reading_only=True)
  assert drills.drill(seed, reading_only=True) == (skills, pieces)
  places = {s.title: s.principle.split(" look in ")[1].split()[0] for s in skills}
  for given, recalled in pieces[: drills.LOOK_UPS]:
    title = re.search(r"(find \w+) in$", given)[1]
    assert recalled == f" {places[title]}"
  assert drills.drill(seed, reading_only=False)[0] == skills


def test_goals_are_read_as_the_agents_read_them():
  rng, families = random.Random(0), set()
  places = {"apple": "bed", "cup": "safe"}
  for _ in range(60):
    (given, noun), *rest = drills.read_goal(places, rng)
    goal = parse_goal(given.removesuffix("<think>find"))
    families.add(goal.family)
    expected = [(" in", f" {places[goal.noun]}")] if goal.noun in places else []
    if goal.family in APPLIANCE_OF:
      tool = APPLIANCE_OF[goal.family]
      expected.append((",", f" {goal.family} {goal.noun} with {tool}"))
    put = f" put {goal.noun} in {goal.target}"
    expected.append((",", put if goal.target else f" use {goal.lamp}"))
    assert noun == f" {goal.noun}"
    assert rest == expected
  assert len(families) == 6


@SEEDS
def test_things_are_told_by_their_numbers(seed):
  pieces = list(drills.numbered(random.Random(seed)))
  listed = dict(re.findall(r"\ba (\w+) (\d)", pieces[0][0]))
  asked = {given.rpartition("find ")[2]: recalled for given, recalled in pieces}
  assert asked == {noun: f" {number}" for noun, number in listed.items()}
  assert len(asked) == drills.THINGS


def test_walks_tell_what_is_here_and_which():
  answers = set()
  for seed in range(12):
    seen = set()
    for given, recalled in drills.walk(random.Random(seed)):
      things = dict(re.findall(r"\ba (\w+) (\d)", given))
      seen |= set(things)
      place = re.search(r"arrive at (\w+ \d)\.", given)[1]
      noun = re.search(r"find (\w+)$", given)[1]
      assert noun in NOUNS
      number = things.get(noun)
      here = f" {number}</think><action>take {noun} {number} from {place}</action>"
      assert recalled == (here if noun in things else " not here")
      assert noun in things or noun not in seen
      answers.add(noun in things)
  assert answers == {True, False}
