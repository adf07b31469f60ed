"""Goal sentences of all twelve templates, and where things are looked for."""

import pytest

from skilljax.envs import alfworld
from skilljax.envs.alfworld import goals
from skilljax.envs.alfworld.goals import Goal, parse_goal


@pytest.mark.parametrize(
  ("sentence", "goal"),
  [
    ("look at cd under the desklamp.", Goal("look_in_light", "cd", lamp="desklamp")),
    ("examine the cd with the desklamp.", Goal("look_in_light", "cd", lamp="desklamp")),
    ("put a soapbottle in toilet.", Goal("pick_and_place", "soapbottle", "toilet")),
    ("put some book on sidetable.", Goal("pick_and_place", "book", "sidetable")),
    ("clean some cloth and put it in drawer.", Goal("clean", "cloth", "drawer")),
    ("put a clean cloth in drawer.", Goal("clean", "cloth", "drawer")),
    ("put a cool apple in bed.", Goal("cool", "apple", "bed")),
    ("cool some apple and put it in bed.", Goal("cool", "apple", "bed")),
    ("heat some egg and put it in fridge.", Goal("heat", "egg", "fridge")),
    ("put a hot egg in fridge.", Goal("heat", "egg", "fridge")),
    ("put two pen in desk.", Goal("pick_two", "pen", "desk")),
    ("find two pen and put them in desk.", Goal("pick_two", "pen", "desk")),
  ],
)
def test_every_template(sentence, goal):
  assert parse_goal(sentence) == goal
  text = f"[s1] x: put a hot cup in safe.\nA room.\n\nYour task is to: {sentence}"
  assert parse_goal(text) == goal
  assert goal.count == (2 if goal.family == "pick_two" else 1)


def test_other_sentences_are_refused():
  with pytest.raises(ValueError, match="'sing a song' fits no template"):
    parse_goal("Your task is to: sing a song")


def test_every_goal_of_the_benchmark_is_read_as_its_family(data_dir, tmp_path):
  if not (data_dir / "alfworld").is_dir():
    pytest.skip(f"no ALFWorld games at {data_dir / 'alfworld'}; set SKILLJAX_DATA")
  source = alfworld.AlfworldSource(
    alfworld.AlfworldSettings(
      data_dir=str(data_dir / "alfworld"), cache_dir=str(tmp_path)
    )
  )
  tasks = [t for s in ("valid_seen", "valid_unseen") for t in source.tasks(s)]
  assert [parse_goal(source.goal(task)).family for task in tasks] == [
    task.family for task in tasks
  ]


def test_places_follow_the_kind_of_thing():
  assert goals.likely_places("apple")[:2] == ("countertop", "diningtable")
  assert goals.likely_places("pan")[0] == "stoveburner"
  assert "desk" in goals.likely_places("desklamp")
  assert goals.likely_places("statue")  # unlisted: a kind of its own
