"""Task drawing and oracle plans."""

import collections
import dataclasses

import pytest

from skilljax.envs.household import rules, source, tasks


def test_each_round_of_six_holds_every_family_once():
  for estate in (0, 9, 123_456):
    for start in range(0, 60, 6):
      families = [tasks.family_at(estate, start + offset) for offset in range(6)]
      assert sorted(families) == sorted(tasks.FAMILIES)
  orders = {tuple(tasks.family_at(5, 6 * n + k) for k in range(6)) for n in range(10)}
  assert len(orders) > 3  # shuffled anew in each round


def test_specs_follow_the_rules_of_their_family():
  goals = set()
  for index in range(300):
    estate = rules.draw_estate(index)
    for position in range(6):
      spec = tasks.task_spec(estate, position)
      home = estate.as_dict()[f"place:{spec.kind}"]
      goals.add(spec.goal)
      assert rules.KIND_OF[spec.noun] == spec.kind
      assert spec.noun not in spec.others
      objects = [*spec.others, *[spec.noun] * spec.count]
      kinds = collections.Counter(rules.KIND_OF[noun] for noun in objects)
      assert kinds == dict.fromkeys(rules.KINDS, 2)
      assert spec.target != home
      assert spec.count == (2 if spec.family == "pick_two" else 1)
  assert {
    "put a hot apple in shelf.",
    "put some mug in safe.",
    "put two book in safe.",
  } & (goals)


def test_seed_changes_only_the_other_objects():
  estate = rules.draw_estate(4)
  specs = [tasks.task_spec(estate, 3, seed) for seed in range(8)]
  bare = {dataclasses.replace(spec, others=()) for spec in specs}
  assert len(bare) == 1
  assert len(set(specs)) > 1
  assert tasks.task_spec(estate, 3, 5) == specs[5]


def _estate(**values):
  """An estate with hand-picked rules."""
  base = {
    **{f"place:{kind}": "cabinet" for kind in rules.KINDS},
    "heat": rules.Method("toaster", "clean"),
    "cool": rules.Method("fridge", "empty"),
    "clean": rules.Method("bathtub", "none"),
    "look": rules.Method("floorlamp", "close"),
    "lock": "bell",
  }
  return rules.Estate(index=0, rules=tuple((base | values).items()))


def _spec(family, target, *, count=1):
  others = ("egg", "mug", "sock", "map")
  return tasks.TaskSpec(family, "food", "apple", count, target, others, "")


def test_oracle_plans_by_hand():
  fetch = ("go to cabinet 1", "open cabinet 1", "take apple 1 from cabinet 1")
  assert tasks.oracle_plan(_estate(), _spec("heat", "desk")) == (
    *fetch,
    *("go to bathtub 1", "clean apple 1 with bathtub 1"),
    *("go to toaster 1", "heat apple 1 with toaster 1"),
    *("go to desk 1", "move apple 1 to desk 1"),
  )
  assert tasks.oracle_plan(_estate(), _spec("cool", "box")) == (
    *fetch,
    *("go to fridge 1", "take tray 1 from fridge 1", "cool apple 1 with fridge 1"),
    *("go to box 1", "open box 1", "move apple 1 to box 1"),
  )
  assert tasks.oracle_plan(_estate(), _spec("look_in_light", "")) == (
    *fetch,
    *("go to floorlamp 1", "close curtain 1", "use floorlamp 1"),
  )
  assert tasks.oracle_plan(_estate(), _spec("pick_two", "safe", count=2)) == (
    *fetch,
    *("take apple 2 from cabinet 1", "go to safe 1", "use bell 1"),
    *("move apple 1 to safe 1", "move apple 2 to safe 1"),
  )


@pytest.mark.parametrize("name", ["estate-3", "3/4", "estate--1/2", "estate-1/x", ""])
def test_malformed_names_raise(name):
  task = dataclasses.replace(source.HouseholdSource().task(0, 0), name=name)
  with pytest.raises(ValueError, match=r"task\.name"):
    tasks.parse_name(task)
