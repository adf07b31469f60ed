"""Reading exercises: what a small model must learn to look up before it can play.

Purpose: one drill is a skill section and a list of (given, recalled) pieces, of which
only `recalled` is trained: it follows from the text before it, never from habit.
Must not know about: tokens, losses, worlds.
"""

import random
from collections.abc import Iterator

from skilljax.envs.household import review, rules, sentences
from skilljax.envs.household.agent import GOAL_MARK
from skilljax.envs.household.tasks import (
  OBSTACLES,
  obstacle,
  preparation,
  task_spec,
)
from skilljax.types import Skill

Piece = tuple[str, str]  # given, recalled

# Together about as long as an episode.
LOOK_UPS, GOALS = 12, 8
VIEWS, REFUSALS, REPORTS = 10, 10, 4


def drill(
  seed: int, *, reading_only: bool, tasks_per_estate: int
) -> tuple[tuple[Skill, ...], tuple[Piece, ...]]:
  """Some rules of a random train estate as skills, and exercises on them.

  Looking up comes before everything else, and is found soonest if nothing else is asked
  for: with `reading_only`, skills and goals are read. Else `seed` decides on the kind.
  """
  rng = random.Random(f"drill/{seed}")
  estates = rules.SplitIndices("train")
  estate = rules.draw_estate(estates[rng.randrange(len(estates))])
  values = estate.as_dict()
  slots = rng.sample(rules.SLOTS, rng.randint(4, len(rules.SLOTS)))
  numbers = sorted(rng.sample(range(1, len(slots) + 4), len(slots)), reverse=True)
  skills = tuple(
    sentences.rule_skill(slot, values[slot], skill_id=f"s{number}")
    for slot, number in zip(slots, numbers, strict=True)
  )
  known = {slot: values[slot] for slot in slots}
  kind = seed % 6
  if reading_only or kind == 0:
    goals = rng.sample(range(tasks_per_estate), GOALS)
    pieces = [
      *look_ups(known, rng),
      *(piece for goal in goals for piece in read_goal(estate, goal, known)),
    ]
  elif kind == 1:
    pieces = [refusal(rng) for _ in range(REFUSALS)]
  elif kind == 2:
    pieces = [report(rng) for _ in range(REPORTS)]
  else:  # the half of all: telling what is here is learned last
    pieces = [piece for _ in range(VIEWS) for piece in view(rng)]
  return skills, tuple(pieces)


def look_ups(known: dict[str, rules.Value], rng: random.Random) -> Iterator[Piece]:
  """Rules as thoughts cite them: ', use food' -> ' cabinet'."""
  lead = "<think>"
  for slot in rng.choices(list(known), k=LOOK_UPS):
    given, _, recalled = sentences.rule_phrase(slot, known[slot]).rpartition(" ")
    yield f"{lead}{given}", f" {recalled}"
    lead = ", "


def read_goal(
  estate: rules.Estate, position: int, known: dict[str, rules.Value]
) -> Iterator[Piece]:
  """The object of a goal, its kind, and where that kind is kept if a skill says so."""
  spec = task_spec(estate, position)
  yield f".\n\n{GOAL_MARK} {spec.goal}<think>find", f" {spec.noun}"
  place = known.get(f"place:{spec.kind}")
  yield ", use", f" {spec.kind}" + (f" {place}" if place else "")


def view(rng: random.Random) -> Iterator[Piece]:
  """What a place holds: what to note of it, and whether the object looked for is here.

  As in an estate, it holds two objects of a kind or none, and the one looked for is here
  if its kind is.
  """
  place = rng.choice(rules.PLACES)
  held = rng.sample(list(rules.KINDS), rng.choice((1, 1, 2)))
  things = sorted(noun for kind in held for noun in rng.sample(rules.KINDS[kind], 2))
  listed = ", ".join(f"a {noun} 1" for noun in things)
  kinds = list(dict.fromkeys(rules.KIND_OF[noun] for noun in things))
  seen = f"You arrive at {place} 1. You see {listed}."
  yield f"\n\n{seen}<think>note", f" {kinds[0]} {place}"
  for kind in kinds[1:]:
    yield ", note", f" {kind} {place}"
  others = [noun for noun, kind in rules.KIND_OF.items() if kind not in held]
  here = rng.random() < 0.5
  wanted = rng.choice(things if here else others)
  yield f", find {wanted}", " 1" if here else " not here"


def refusal(rng: random.Random) -> Piece:
  """An appliance that asks for something first: the note, and what to do about it."""
  slot = rng.choice(list(rules.TOOLS))
  value = rng.choice([v for v in rules.slot_values(slot) if v.first in OBSTACLES])
  note, action = sentences.rule_note(slot, value), preparation(slot, *value)
  return f"\n\n{obstacle(slot, *value)}<think>note", (
    f"{note.removeprefix('note')}, first {action.split()[0]}</think>"
    f"<action>{action}</action>"
  )


def report(rng: random.Random) -> Piece:
  """A review from its thought on: the sentence of the skill follows from the note."""
  slot = rng.choice(rules.SLOTS)
  value = rng.choice(rules.slot_values(slot))
  text = rng.choice((review.propose, review.update))(slot, value)
  sentence = sentences.rule_sentence(slot, value)
  return f"\n\n{text.partition(sentence)[0]}", sentence
