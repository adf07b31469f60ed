"""ScienceWorld: the published splits, gold paths, scores, and the package's own texts."""

import dataclasses
import itertools
import os

import pytest

from skilljax.agents import parse
from skilljax.envs import base, scienceworld, table
from tests.envs.java_worlds import play, rss_mib, settings_or_skip

SHORT = (
  *("find-animal", "find-plant", "identify-life-stages-1", "chemistry-mix"),
  *("power-component", "lifespan-longest-lived"),
)


@pytest.fixture(scope="module")
def settings():
  return settings_or_skip("scienceworld")


@pytest.fixture(scope="module")
def source(settings):
  return scienceworld.ScienceworldSource(settings)


@pytest.fixture(scope="module")
def env(settings):
  env = scienceworld.ScienceworldEnv(settings)
  yield env
  env.close()


def first_task(source, family, split="train"):
  return next(task for task in source.tasks(split) if task.family == family)


# The source


def test_the_splits_are_the_published_ones(source):
  tasks = {split: source.tasks(split) for split in scienceworld.SPLITS}
  sizes = {split: len(tasks[split]) for split in tasks}
  assert sizes == {"train": 3592, "dev": 1796, "test": 1819}
  names = [task.name for task in itertools.chain(*tasks.values())]
  assert len(set(names)) == 7207
  assert len(source.families) == 30
  for split, found in tasks.items():
    assert {task.family for task in found} == set(source.families)
    assert {(t.env, t.split, t.scope) for t in found} == {
      ("scienceworld", split, "scienceworld")
    }
  assert source.tasks("dev")[0].name == "boil/14"
  with pytest.raises(ValueError, match=r"split='valid' must be one of \('train', 'dev'"):
    source.tasks("valid")


def test_the_engine_counts_variations_as_the_table_does(source, env):
  engine = env._world.engine
  names = env._world.strings(engine.getTaskNames())
  counts = {name: engine.getTaskMaxVariations(name) for name in names}
  assert counts == scienceworld.VARIATIONS
  for family in ("identify-life-stages-2", "identify-life-stages-1", "boil"):
    _check_split(engine, family)


@pytest.mark.slow
def test_the_engine_splits_every_task_type_as_we_do(env):
  for family in scienceworld.VARIATIONS:
    _check_split(env._world.engine, family)


def _check_split(engine, family):
  engine.load(family, 0, "easy", False)
  ours = scienceworld.split_variations(scienceworld.VARIATIONS[family])
  theirs = (
    engine.getVariationsTrain(),
    engine.getVariationsDev(),
    engine.getVariationsTest(),
  )
  for variations, found in zip(ours.values(), theirs, strict=True):
    ends = (found.size(), found.get(0), found.get(found.size() - 1))
    assert ends == (len(variations), variations[0], variations[-1])


def test_probes_are_other_train_variations_of_the_type(source):
  task = first_task(source, "boil", "test")
  probes = source.probes(task, 8, seed=1)
  assert probes == source.probes(task, 8, seed=1) != source.probes(task, 8, seed=2)
  assert {(p.split, p.family) for p in probes} == {("train", "boil")}
  with pytest.raises(ValueError, match=r"num=14 must be in \[0, 13\]"):
    source.probes(source.tasks("train")[0], 14, seed=0)


def test_task_types_can_be_chosen(settings):
  few = dataclasses.replace(settings, task_types=("find-plant", "boil"))
  source = scienceworld.ScienceworldSource(few)
  assert source.families == ("boil", "find-plant")
  assert len(source.tasks("train")) == 14 + 150
  assert source.stream("scienceworld", "dev") == source.tasks("dev")
  with pytest.raises(ValueError, match="scope='kitchen' must be"):
    source.stream("kitchen", "dev")


# Bad settings


@pytest.mark.parametrize(
  ("values", "message"),
  [
    ({"task_types": ("boil", "brew")}, r"\['brew'\] are none of .*env\.task_types"),
    ({"max_turns": 0}, r"max_turns=0 must be >= 1 \(config key env\.max_turns"),
    ({"simplifications": "easier"}, r"'easier' must be .*env\.simplifications"),
    ({"simplifications": "easy,openDoors"}, r"must be '', 'easy', or some of"),
    ({"simplifications": "noElectricalAction"}, r"'power-component'.*need; leave"),
  ],
)
def test_bad_settings_are_refused_with_their_key(values, message):
  with pytest.raises(ValueError, match=message):
    table.make_settings("scienceworld", values)


def test_simplifications_that_suit_the_task_types_are_taken():
  names = "noElectricalAction,openDoors"
  values = {"simplifications": names, "task_types": ("boil",)}
  assert table.make_settings("scienceworld", values).simplifications == names


# The world


@pytest.mark.parametrize("family", SHORT)
def test_gold_paths_reach_100(source, env, family):
  task = first_task(source, family)
  seen = play(env, task, source.walkthrough(task))
  assert seen[-1].terminated and seen[-1].success and not seen[-1].truncated
  assert sum(o.reward for o in seen) == pytest.approx(1.0)
  assert not any(o.success or o.ended for o in seen[:-1])
  assert seen[0].goal == source.goal(task) and seen[0].max_turns == 100


@pytest.mark.slow
def test_gold_paths_of_all_types_reach_100(source, settings):
  env = scienceworld.ScienceworldEnv(dataclasses.replace(settings, max_turns=1000))
  failed = []
  for family in source.families:
    task = first_task(source, family)
    seen = play(env, task, source.walkthrough(task))
    if not seen[-1].success:
      failed.append(family)
  env.close()
  assert failed == []


def test_the_texts_and_scores_are_those_of_the_package(source, settings):
  package = pytest.importorskip("scienceworld")
  task = first_task(source, "find-animal")
  commands = ("help", "blah", *source.walkthrough(task))
  ours = scienceworld.ScienceworldEnv(dataclasses.replace(settings, admissible=True))
  seen = play(ours, task, commands)
  theirs = package.ScienceWorldEnv("", envStepLimit=100)
  theirs.load("find-animal", 0, "easy", generateGoldPath=False)
  text, info = theirs.reset()
  parts = (text.strip(), info["inv"].strip(), theirs.get_task_description().strip())
  assert seen[0].text == "\n\n".join(parts)
  assert list(seen[0].admissible) == info["valid"]
  score = 0
  for command, observation in zip(commands, seen[1:], strict=False):
    text, _, done, info = theirs.step(command.lower())
    score += observation.reward
    assert observation.text == text.strip()
    assert round(100 * score) == info["score"] and observation.ended == done
    if not done:
      assert list(observation.admissible) == info["valid"]
  assert len(seen) > 10 and seen[-1].success
  theirs.close()
  ours.close()


def test_reset_shows_room_inventory_and_task(env, source):
  observation = env.reset(first_task(source, "boil"))
  around, inventory, task = observation.text.split("\n\n")
  assert "the agent" in around and inventory.startswith("In your inventory")
  assert task == observation.goal and task.startswith("Your task is to boil")
  assert observation.admissible == ()


def test_the_wrong_focus_ends_the_episode_and_counts_as_0(env, source):
  task = first_task(source, "find-living-thing")
  plan = source.walkthrough(task)
  focus = next(i for i, command in enumerate(plan) if command.startswith("focus"))
  seen = play(env, task, [*plan[:focus], "focus on air", "look around"])
  assert seen[-1].terminated and not seen[-1].success
  assert sum(o.reward for o in seen[:-1]) > 0.0
  assert sum(o.reward for o in seen) == pytest.approx(0.0)


def test_unknown_commands_answer_and_the_cap_truncates(settings, source):
  env = scienceworld.ScienceworldEnv(dataclasses.replace(settings, max_turns=3))
  task = first_task(source, "boil")
  texts = [o.text for o in play(env, task, ["", "fly", "x" * 5000])]
  assert texts[1:] == ["No known action matches that input."] * 3
  last = play(env, task, ["look around"] * 9)
  assert len(last) == 4 and last[-1].truncated and not last[-1].terminated
  with pytest.raises(ValueError, match="call reset first"):
    env.step("look around")
  env.close()


def test_tasks_of_other_worlds_are_refused(env, source):
  task = source.tasks("train")[0]
  for other in (
    dataclasses.replace(task, env="household"),
    dataclasses.replace(task, name="brew/1"),
    dataclasses.replace(task, name="boil/x"),
    dataclasses.replace(task, name="boil/²"),
  ):
    with pytest.raises(base.UnplayableTask, match="is not one of 'scienceworld'"):
      env.reset(other)
  with pytest.raises(base.UnplayableTask, match="exceeds the total number of variations"):
    env.reset(dataclasses.replace(task, name="boil/30"))
  with pytest.raises(ValueError, match="call reset first"):
    env.step("look around")
  assert env.reset(task).goal  # the object survives all of it


def test_worlds_of_one_process_do_not_disturb_each_other(settings, source):
  """Static fields of the engine say which rules are simplified, and draw at random."""
  settings = dataclasses.replace(settings, admissible=True)
  env, other = (scienceworld.ScienceworldEnv(settings) for _ in range(2))
  assert other._world.pid == env._world.pid
  task = first_task(source, "find-animal")
  commands = ["open door", "1", "teleport to outside", *["wait", "look around"] * 3]
  alone = play(env, task, commands)
  between = [env.reset(task)]
  other.reset(first_task(source, "power-component"))  # may connect things; others may not
  for command in commands:
    other.step("wait1")
    between.append(env.step(command))
  assert between == alone
  assert alone[1].text.startswith("Ambiguous request")  # choices in order of hashes
  env.close()
  other.close()


def test_the_teacher_plays_gold_paths_in_the_policys_form(settings, source):
  teacher = table.make_teacher("scienceworld", settings)
  task = first_task(source, "find-plant")
  agent = teacher.agent(task, 0)
  plan = source.walkthrough(task)
  for command in (*plan, "look around"):
    parsed = parse.parse_action(agent.reply("This room is called the kitchen."))
    assert parsed.action == command.lower(), parsed.rejection


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_memory_is_flat_over_many_episodes(env, source):
  tasks = [first_task(source, family) for family in SHORT]
  plans = {task: source.walkthrough(task) for task in tasks}
  sizes = []
  for number in range(300):
    task = tasks[number % len(tasks)]
    assert play(env, task, plans[task])[-1].success
    if number in (100, 299):
      sizes.append((rss_mib(env._world.pid), rss_mib(os.getpid())))
  assert sizes[1][0] - sizes[0][0] < 60.0, sizes
  assert sizes[1][1] - sizes[0][1] < 10.0, sizes
  assert sizes[1][0] < 450.0, sizes
