"""The scripted agent: headroom, reading, falling back, formats."""

import random
import re
import statistics

import pytest

from skilljax.envs.household import (
  HouseholdAgent,
  HouseholdSource,
  draw_estate,
  estate_skills,
  misleading_skill,
  rules,
  task_spec,
)
from skilljax.envs.household.sentences import rule_note

SOURCE = HouseholdSource()
ESTATES = SOURCE.estates("test")[:40]
OWN_SLOT = {"heat": "heat", "cool": "cool", "clean": "clean", "look_in_light": "look"}


def episodes(play, make, count=12):
  """Plays `count` tasks per estate; make(estate, spec, task) -> options of play."""
  played = []
  for index in ESTATES:
    estate = draw_estate(index)
    for position in range(count):
      task = SOURCE.task(index, position)
      options = make(estate, task_spec(estate, position), task)
      played.append(play(task, seed=1000 * index + position, **options))
  return played


def rate(played):
  return statistics.mean(episode.success for episode in played)


def explorer(estate, spec, task):
  return {}


def test_expert_always_succeeds_and_is_as_short_as_the_oracle(play):
  played = episodes(play, lambda estate, spec, task: {"knowledge": estate.as_dict()})
  assert rate(played) == 1.0
  assert all(episode.turns == episode.max_turns - 5 for episode in played)


def test_reader_with_the_full_bank_equals_the_expert(play):
  played = episodes(play, lambda estate, *_: {"skills": estate_skills(estate)}, count=6)
  expert = episodes(play, lambda estate, *_: {"knowledge": estate.as_dict()}, count=6)
  assert [episode.replies for episode in played] == [
    episode.replies for episode in expert
  ]


def test_explorer_leaves_headroom_overall_and_in_each_family(play):
  played = episodes(play, explorer)
  assert 0.35 <= rate(played) <= 0.55
  families = [SOURCE.task(i, p).family for i in ESTATES for p in range(12)]
  for family in SOURCE.families:
    of_family = [e for e, name in zip(played, families, strict=True) if name == family]
    assert 0.2 <= rate(of_family) <= 0.75, family


@pytest.mark.parametrize("which", ["storage", "own"])
def test_a_right_skill_helps_and_a_wrong_one_hurts(play, which):
  def slot(spec, task):
    own = OWN_SLOT.get(task.family, "lock")
    return f"place:{spec.kind}" if which == "storage" else own

  def right(estate, spec, task):
    return {"skills": estate_skills(estate, [slot(spec, task)])}

  def wrong(estate, spec, task):
    rng = random.Random(task.key)
    return {"skills": (misleading_skill(estate, slot(spec, task), rng),)}

  base = rate(episodes(play, explorer))
  assert rate(episodes(play, right)) >= base + 0.1
  assert rate(episodes(play, wrong)) <= base - 0.03


def test_content_free_skill_changes_nothing(play):
  task = SOURCE.task(9, 2)
  (skill,) = estate_skills(draw_estate(9), ["lock"])
  empty = [type(skill)("s1", "general", "note", "be careful.", "always")]
  assert play(task, seed=4, skills=empty).replies == play(task, seed=4).replies


def test_same_seed_same_replies_other_seed_other_order(play):
  task = SOURCE.task(9, 0)
  assert play(task, seed=7) == play(task, seed=7)
  assert len({play(task, seed=seed).replies for seed in range(6)}) > 1


def split_notes(thought):
  """([each note], what follows them) of a thought."""
  parts = thought.removeprefix("<think>").split(", ")
  notes = [part for part in parts if part.startswith("note ")]
  return notes, ", ".join(parts[len(notes) :])


def test_replies_have_the_exact_form(play):
  for episode in episodes(play, explorer, count=6):
    for turn, reply in enumerate(episode.replies):
      match = re.fullmatch(
        r"<think>([a-z0-9 ,]+)</think><action>([a-z0-9 ]+)</action>", reply
      )
      assert match, reply
      # The first thought is the plan of the whole task.
      notes, rest = split_notes(match[1])
      assert 1 <= len(rest.split()) <= (5 if turn else 12)
      assert turn or not notes


def test_what_was_seen_is_noted_once_in_the_next_thought(play):
  noted = 0
  for number, episode in enumerate(episodes(play, explorer, count=6)):
    truth = draw_estate(ESTATES[number // 6]).as_dict()
    true_notes = {rule_note(slot, value) for slot, value in truth.items()}
    notes = [
      note
      for reply in episode.replies
      for note in split_notes(reply.partition("</think>")[0])[0]
    ]
    assert set(notes) <= true_notes
    assert len(notes) == len(set(notes))
    noted += len(notes)
  assert noted >= 6


def test_explorer_never_repeats_a_failed_try(play):
  for episode in episodes(play, explorer, count=6):
    answers = zip(episode.replies, episode.texts[1:], strict=True)
    vain = [r for r, text in answers if text.endswith(("broken.", "Nothing happens."))]
    assert len(vain) == len(set(vain))


def test_wrong_precondition_is_dropped_and_the_rest_is_used():
  """A skill that asks for a switch-on that does not exist costs one turn, no more."""
  agent = HouseholdAgent(seed=0)
  opening = (
    "[s2] heat: heat with toaster 1, first use toaster 1.\n"
    "[s5] place of food: use the food shelf 1.\n"
    "You are in the middle of a room. You see a desk 1, a microwave 1, a shelf 1, a "
    "stoveburner 1, a toaster 1.\n\nYour task is to: put a hot egg in desk."
  )
  script = [
    (
      opening,
      "<think>use food shelf, heat with toaster, egg in desk</think>"
      "<action>go to shelf 1</action>",
    ),
    (
      "You arrive at shelf 1. You see a egg 1.",
      "<think>find egg 1</think><action>take egg 1 from shelf 1</action>",
    ),
    (
      "You take the egg 1.",
      "<think>heat with toaster</think><action>go to toaster 1</action>",
    ),
    (
      "You arrive at toaster 1.",
      "<think>first use</think><action>use toaster 1</action>",
    ),
    (
      "Nothing happens.",
      "<think>heat egg</think><action>heat egg 1 with toaster 1</action>",
    ),
    (
      "You heat the egg 1.",
      "<think>note heat toaster, egg in desk</think><action>go to desk 1</action>",
    ),
  ]
  for context, expected in script:
    assert agent.reply(context) == expected
  assert agent.known["heat"] == rules.Method("toaster", "none")
  review = agent.reply("You arrive at desk 1. You see nothing. Review the episode.")
  assert '"name": "update_skill", "arguments": {"skill_id": "heat"' in review
  assert '"principle": "heat with toaster 1."' in review


def test_unknown_goal_raises():
  with pytest.raises(ValueError, match="no known goal"):
    HouseholdAgent(seed=0).reply("You see a box 1.\n\nYour task is to: win.")
