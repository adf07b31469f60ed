"""Exercises of WebShop: what is recalled follows from what was given."""

import dataclasses
import re

import pytest

from skilljax.agents import parse
from skilljax.envs import table
from skilljax.envs.webshop import drills
from skilljax.envs.webshop.shopper import read_goal

_GOAL = re.compile(r"Instruction:\n(.*)\nSearch")
POOL = drills.Pool(
  kinds=("soft shoes for women", "green tea"),
  values={"color": ("red", "blue", "pale green"), "size": ("7", "8 wide", "9")},
  titles=("Alpha Boots", "Beta Tea", "Gamma Lamp"),
)
SEEDS = pytest.mark.parametrize("seed", range(20))


def goals(pieces):
  return [_GOAL.search(given)[1] for given, _ in pieces if _GOAL.search(given)]


@SEEDS
def test_goals_are_copied_word_by_word(seed):
  pieces = drills.drill(seed, pool=POOL, reading_only=True)
  sentences = goals(pieces)
  assert len(sentences) == drills.COPIES
  for sentence in sentences:
    wish = read_goal(sentence)
    start = next(i for i, (given, _) in enumerate(pieces) if sentence in given)
    replies = [given[given.rfind("<think>") :] + recalled for given, recalled in pieces]
    said = [parse.parse_action(reply) for reply in replies[start:]]
    assert said[0].action == f"search[{wish.phrase}]"
    listed = pieces[start + 1][0].split("\n")[1]
    assert said[1] == parse.ParsedAction(f"click[{listed}]".lower(), "", f"open {listed}")
    for (name, value), reply in zip(wish.options.items(), said[2:], strict=False):
      assert reply.action == f"click[{value}]"
      assert reply.think == f"choose {name}: {value}"
    assert said[2 + len(wish.options)].action == "click[buy now]"


@SEEDS
def test_a_visit_ends_with_a_product_that_has_every_wanted_option(seed):
  pieces = drills.drill(seed, pool=POOL, reading_only=False)
  sentences = goals(pieces)
  assert len(sentences) == drills.VISITS
  actions = [parse.parse_action(reply).action for _, reply in pieces]
  assert all(actions) and actions.count("click[buy now]") == drills.VISITS
  wanted = [value for s in sentences for value in read_goal(s).options.values()]
  clicked = [a for a in actions if a[6:-1] in wanted and a.startswith("click[")]
  assert clicked == [f"click[{value}]" for value in wanted]


def test_some_products_lack_an_option_and_are_left():
  replies = [
    reply
    for seed in range(20)
    for _, reply in drills.drill(seed, pool=POOL, reading_only=False)
  ]
  left = [reply for reply in replies if "click[< prev]" in reply]
  assert len(left) > 5 and all(" missing" in reply for reply in left)
  assert not any(" missing" in reply for reply in replies if reply not in left)


def test_half_of_what_is_copied_was_never_said_before():
  pieces = [
    p for seed in range(20) for p in drills.drill(seed, pool=POOL, reading_only=True)
  ]
  known = sum(any(kind in goal for kind in POOL.kinds) for goal in goals(pieces))
  assert 30 < known < 90 and len(goals(pieces)) == 100


def test_exercises_depend_on_the_seed_alone():
  for reading_only in (True, False):
    first = drills.drill(3, pool=POOL, reading_only=reading_only)
    assert first == drills.drill(3, pool=POOL, reading_only=reading_only)
    assert first != drills.drill(4, pool=POOL, reading_only=reading_only)


def test_the_pool_of_a_teacher_has_train_goals_only(settings, source, shop):
  teacher = table.make_teacher("webshop", settings)
  skills, pieces = teacher.drill(0, reading_only=True)
  assert skills == () and len(goals(pieces)) == drills.COPIES
  pool = teacher._pool
  assert {"color", "size", "flavor name"} <= set(pool.values)
  assert not any(f"{name}: " in kind for kind in pool.kinds for name in pool.values)
  train = " ".join(source.goal(task) for task in source.tasks("train"))
  assert all(f"{n}: {v}" in train for n, values in pool.values.items() for v in values)


def test_goals_without_options_have_nothing_to_copy(shop):
  plain = dataclasses.replace(shop[1].goals[0], instruction="Find me tea")
  with pytest.raises(ValueError, match=r"none of 1 train goals.*cold_start\.drills=0"):
    drills.make_pool([plain])
