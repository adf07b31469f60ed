"""Reading exercises for ALFWorld, in the form of `household.drills`.

Purpose: what a small model must learn to look up before it can play: the place that a
skill names, the object of a goal, whether it is in sight and which one.
Must not know about: tokens, losses, games.
"""

import random
from collections.abc import Iterator

from skilljax.envs.alfworld import review
from skilljax.envs.alfworld.goals import (
  APPLIANCE_OF,
  GOAL_MARK,
  NOUNS,
  PLACES,
  parse_goal,
)
from skilljax.types import Skill

Piece = tuple[str, str]  # given, recalled

LOOK_UPS, THINGS, GOALS, VIEWS = 12, 10, 6, 8
_GOALS = (
  "put a {noun} in {place}.",
  "put some {noun} on {place}.",
  "put two {noun} in {place}.",
  "find two {noun} and put them in {place}.",
  "look at {noun} under the desklamp.",
  "examine the {noun} with the desklamp.",
  "put a hot {noun} in {place}.",
  "put a cool {noun} in {place}.",
  "clean some {noun} and put it in {place}.",
  "heat some {noun} and put it in {place}.",
)


def drill(
  seed: int, *, reading_only: bool
) -> tuple[tuple[Skill, ...], tuple[Piece, ...]]:
  """Skills that name random places for random objects, and exercises on them.

  With `reading_only`, skills and goals are read; else places are looked over.
  """
  rng = random.Random(f"alfworld/drill/{seed}")
  nouns = rng.sample(NOUNS, rng.randint(3, 7))
  numbers = sorted(rng.sample(range(1, 25), len(nouns)), reverse=True)
  places = {noun: rng.choice(PLACES) for noun in nouns}
  skills = tuple(
    review.find_skill(noun, [places[noun]], skill_id=f"s{number}")
    for noun, number in zip(nouns, numbers, strict=True)
  )
  if reading_only:
    pieces = [
      *look_ups(places, rng),
      *numbered(rng),
      *(piece for _ in range(GOALS) for piece in read_goal(places, rng)),
    ]
  else:
    pieces = [*walk(rng)]
  return skills, tuple(pieces)


def look_ups(places: dict[str, str], rng: random.Random) -> Iterator[Piece]:
  """Places by object: ', find apple in' -> ' fridge'."""
  lead = "<think>"
  for noun in rng.choices(list(places), k=LOOK_UPS):
    yield f"{lead}find {noun} in", f" {places[noun]}"
    lead = ", "


def read_goal(places: dict[str, str], rng: random.Random) -> Iterator[Piece]:
  """The object of a goal, where a skill says it is, and what must be done with it."""
  noun = rng.choice([*places, rng.choice(NOUNS)])
  target = rng.choice(PLACES)
  goal = rng.choice(_GOALS).format(noun=noun, place=target)
  yield f".\n\n{GOAL_MARK} {goal}<think>find", f" {noun}"
  if noun in places:
    yield " in", f" {places[noun]}"
  read = parse_goal(goal)
  if read.lamp:
    yield ",", f" use {read.lamp}"
    return
  if read.family in APPLIANCE_OF:
    yield ",", f" {read.family} {noun} with {APPLIANCE_OF[read.family]}"
  yield ",", f" put {noun} in {target}"


def numbered(rng: random.Random) -> Iterator[Piece]:
  """Things and their numbers, each asked for by its noun: ', find mug' -> ' 3'."""
  held = {noun: rng.randint(1, 9) for noun in rng.sample(NOUNS, THINGS)}
  lead = f"\n\nYou see a {_listed(held)}.<think>"
  for noun in rng.sample(list(held), THINGS):
    yield f"{lead}find {noun}", f" {held[noun]}"
    lead = ", "


def walk(rng: random.Random) -> Iterator[Piece]:
  """What some places hold: whether the object looked for is here, and if so, which.

  As in an episode, an object is looked for until it is seen: one that was seen before is
  here.
  """
  unseen = set(NOUNS)
  for _ in range(VIEWS):
    place = f"{rng.choice(PLACES)} {rng.randint(1, 4)}"
    held = {noun: rng.randint(1, 4) for noun in rng.sample(NOUNS, rng.randint(1, 6))}
    unseen -= set(held)
    seen = f"\n\nYou arrive at {place}. On the {place}, you see a {_listed(held)}."
    if rng.random() < 0.5:
      noun = rng.choice(list(held))
      thing = f"{noun} {held[noun]}"
      action = f"take {thing} from {place}"
      yield (
        f"{seen}<think>find {noun}",
        (f" {held[noun]}</think><action>{action}</action>"),
      )
    else:
      yield f"{seen}<think>find {rng.choice(sorted(unseen))}", " not here"


def _listed(held: dict[str, int]) -> str:
  """As the engine lists things, after the first article."""
  things = [f"{noun} {number}" for noun, number in held.items()]
  return ", a ".join(things[:-1]) + (", and a " if things[1:] else "") + things[-1]
