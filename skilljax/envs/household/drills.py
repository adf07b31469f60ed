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
LOOK_UPS, THINGS, GOALS = 12, 8, 6
WANTED, REFUSALS, REPORTS = 2, 10, 4
NUMBERS = 6  # of things here: copying the right one cannot be guessed


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
      *numbered(rng),
      *(piece for goal in goals for piece in read_goal(estate, goal, known)),
    ]
  elif kind == 1:
    pieces = [refusal(rng) for _ in range(REFUSALS)]
  elif kind == 2:
    pieces = [report(rng) for _ in range(REPORTS)]
  else:  # the half of all: telling what is here is learned last
    pieces = [*walk(rng)]
  return skills, tuple(pieces)


def look_ups(known: dict[str, rules.Value], rng: random.Random) -> Iterator[Piece]:
  """Rules as thoughts cite them: ', use food' -> ' cabinet'."""
  lead = "<think>"
  for slot in rng.choices(list(known), k=LOOK_UPS):
    given, _, recalled = sentences.rule_phrase(slot, known[slot]).rpartition(" ")
    yield f"{lead}{given}", f" {recalled}"
    lead = ", "


def numbered(rng: random.Random) -> Iterator[Piece]:
  """Things and their numbers, each asked for by its noun: ', find mug' -> ' 3'."""
  held = {
    noun: rng.randint(1, NUMBERS) for noun in rng.sample(list(rules.KIND_OF), THINGS)
  }
  listed = ", ".join(f"a {noun} {number}" for noun, number in held.items())
  lead = f"\n\nYou see {listed}.<think>"
  for noun in rng.sample(list(held), THINGS):
    yield f"{lead}find {noun}", f" {held[noun]}"
    lead = ", "


def read_goal(
  estate: rules.Estate, position: int, known: dict[str, rules.Value]
) -> Iterator[Piece]:
  """The object of a goal, its kind, and where that kind is kept if a skill says so."""
  spec = task_spec(estate, position)
  yield f".\n\n{GOAL_MARK} {spec.goal}<think>find", f" {spec.noun}"
  place = known.get(f"place:{spec.kind}")
  yield ", use", f" {spec.kind}" + (f" {place}" if place else "")


def walk(rng: random.Random) -> Iterator[Piece]:
  """Through all places of a house: what to note of each, and what is here.

  As in an episode, an object is looked for until it is seen: one that was seen before is
  here.
  """
  place_of = {kind: rng.choice(rules.PLACES) for kind in rules.KINDS}
  things = {kind: rng.sample(nouns, 2) for kind, nouns in rules.KINDS.items()}
  start, unseen = rng.randrange(len(rules.PLACES)), set(rules.KIND_OF)
  for place in rules.PLACES[start:] + rules.PLACES[:start]:
    kinds = [kind for kind in rules.KINDS if place_of[kind] == place]
    nouns = sorted(noun for kind in kinds for noun in things[kind])
    held = {noun: rng.randint(1, NUMBERS) for noun in nouns}
    unseen -= set(nouns)
    listed = ", ".join(f"a {noun} {held[noun]}" for noun in held) or "nothing"
    lead = f"\n\nYou arrive at {place} 1. You see {listed}.<think>"
    for kind in dict.fromkeys(rules.KIND_OF[noun] for noun in held):
      yield f"{lead}note", f" {kind} {place}"
      lead = ", "
    for _ in range(WANTED):
      here = held and rng.random() < 0.5
      wanted = rng.choice(nouns if here else sorted(unseen))
      yield f"{lead}find {wanted}", f" {held[wanted]}" if here else " not here"
      lead = ", "


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
