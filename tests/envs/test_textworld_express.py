"""TextWorldExpress: every game is won by its gold path; folds, parameters, refusals."""

import dataclasses
import itertools
import os

import pytest

from skilljax.agents import parse
from skilljax.envs import base, table, textworld_express
from tests.envs.java_worlds import play, rss_mib, settings_or_skip


@pytest.fixture(scope="module")
def settings():
  return settings_or_skip("textworld_express")


@pytest.fixture(scope="module")
def source(settings):
  return textworld_express.ExpressSource(settings)


@pytest.fixture(scope="module")
def env(settings):
  env = textworld_express.ExpressEnv(settings)
  yield env
  env.close()


def tasks_of(source, game, split="train"):
  return [task for task in source.tasks(split) if task.family == game]


# The source


def test_splits_have_as_many_tasks_as_asked_and_share_none(source):
  tasks = {split: source.tasks(split) for split in ("train", "dev", "test")}
  assert [len(found) for found in tasks.values()] == [8000, 800, 800]
  names = [task.name for task in itertools.chain(*tasks.values())]
  assert len(set(names)) == 9600
  assert tasks["dev"][0].name == "cookingworld/10000"
  assert source.families == textworld_express.GAMES
  with pytest.raises(ValueError, match=r"split='valid' must be one of \('train', 'dev'"):
    source.tasks("valid")
  with pytest.raises(ValueError, match="scope='kitchen' must be"):
    source.stream("kitchen", "dev")


def test_the_engine_has_these_games_and_folds(env):
  engine = env._world.engine
  assert env._world.strings(engine.getGameNames()) == textworld_express.GAMES
  firsts = [
    seeds.get(0)
    for seeds in (engine.getSeedsTrain(), engine.getSeedsDev(), engine.getSeedsTest())
  ]
  assert firsts == list(textworld_express.FIRST_SEED.values())


def test_games_parameters_and_sizes_can_be_chosen(settings):
  small = dataclasses.replace(
    settings,
    games=("coin", "twc"),
    params=("coin:numLocations=1, includeDoors=0",),
    train_tasks=5,
  )
  source = textworld_express.ExpressSource(small)
  assert [task.family for task in source.tasks("train")] == ["coin"] * 5 + ["twc"] * 5
  assert len(source.probes(source.tasks("dev")[0], 5, seed=0)) == 5
  env = textworld_express.ExpressEnv(small)
  for task in tasks_of(source, "coin"):
    assert "To the" not in env.reset(task).text  # one room has no exits
    assert env.step("take coin").success
  assert "Your task is to pick up" in env.reset(tasks_of(source, "twc")[0]).text
  env.close()


# Bad settings


@pytest.mark.parametrize(
  ("values", "message"),
  [
    ({"games": ("coin", "chess")}, r"\['chess'\] are none of .*env\.games"),
    ({"games": ()}, r"games=\(\) must be some of"),
    ({"games": ("coin", "coin")}, "each once"),
    ({"dev_tasks": 0}, r"dev_tasks=0 must be in \[1, 10000\] .*env\.dev_tasks"),
    ({"train_tasks": 10_001}, r"train_tasks=10001 must be in"),
    ({"max_turns": 0}, r"max_turns=0 must be >= 1"),
    ({"params": ("coin",)}, r"'coin' must read 'game:name=number.*env\.params"),
    ({"params": ("coin:numLocations",)}, "must read"),
    ({"params": ("coin:a=b",)}, "must read"),
    ({"params": ("chess:a=1",)}, "must read"),
    ({"params": ("coin:a=1", "coin:b=1")}, "must read"),
  ],
)
def test_bad_settings_are_refused_with_their_key(values, message):
  with pytest.raises(ValueError, match=message):
    table.make_settings("textworld_express", values)


@pytest.mark.parametrize(
  ("params", "message"),
  [
    ("coin:rooms=3", r"'coin': Unrecognized property name \(rooms\).*env\.params"),
    ("twc:numLocations=99", r"'twc': Number of locations must be less .*env\.params"),
  ],
)
def test_parameters_that_the_engine_refuses_stop_the_start(settings, params, message):
  with pytest.raises(ValueError, match=message):
    textworld_express.ExpressEnv(dataclasses.replace(settings, params=(params,)))


# The world


@pytest.mark.parametrize("game", textworld_express.GAMES)
def test_gold_paths_score_1_in_every_fold(source, env, game):
  for split in ("train", "dev", "test"):
    task = tasks_of(source, game, split)[0]
    seen = play(env, task, source.walkthrough(task))
    assert seen[-1].success and seen[-1].terminated and not seen[-1].truncated
    assert sum(o.reward for o in seen) == pytest.approx(1.0)
    assert not any(o.success or o.ended for o in seen[:-1])
    assert seen[0].goal == source.goal(task) and seen[0].text.endswith(seen[0].goal)
    assert seen[0].admissible and seen[-1].admissible == ()


def test_a_wrong_move_can_lose_the_game(env, source):
  task = tasks_of(source, "sorting")[0]
  largest_first = [source.walkthrough(task)[i] for i in (-2, -1)]
  seen = play(env, task, largest_first)
  assert seen[-1].terminated and not seen[-1].success
  assert sum(o.reward for o in seen) < 1.0


def test_the_texts_and_scores_are_those_of_the_package(env, source):
  package = pytest.importorskip("textworld_express")
  theirs = package.TextWorldExpressEnv(envStepLimit=100)
  for game in ("coin", "cookingworld", "simonsays"):
    task = tasks_of(source, game, "dev")[3]
    seed = int(task.name.partition("/")[2])
    commands = ("fly", *source.walkthrough(task))
    seen = play(env, task, commands)
    text, info = theirs.reset(seed=seed, gameFold="dev", gameName=game, gameParams="")
    assert seen[0].text.startswith(text.strip())
    assert seen[0].goal == info["taskDescription"].strip()
    assert list(seen[0].admissible) == sorted(info["validActions"])
    score = 0.0
    for command, observation in zip(commands, seen[1:], strict=False):
      text, _, done, info = theirs.step(command)
      score += observation.reward
      assert observation.text == text.strip() and observation.ended == done
      assert score == pytest.approx(info["score"])
  theirs.close()


def test_unknown_commands_change_nothing_and_the_cap_truncates(settings, source):
  env = textworld_express.ExpressEnv(
    dataclasses.replace(settings, max_turns=3, admissible=False)
  )
  task = tasks_of(source, "twc")[0]
  seen = play(env, task, ["", "fly", "x" * 5000, "look around"])
  assert [o.text for o in seen[1:]] == ["Unknown action: I'm not sure what you mean."] * 3
  assert seen[-1].truncated and not seen[-1].terminated
  assert all(o.admissible == () for o in seen)
  with pytest.raises(ValueError, match="call reset first"):
    env.step("look around")
  again = env.reset(task)
  assert again == seen[0] and "Unknown" not in env.step(" LOOK Around ").text
  env.close()


def test_tasks_of_other_worlds_are_refused(env, settings, source):
  task = tasks_of(source, "coin")[0]
  for other in (
    dataclasses.replace(task, env="household"),
    dataclasses.replace(task, name="chess/1"),
    dataclasses.replace(task, name="coin/x"),
    dataclasses.replace(task, name="coin/²"),
    dataclasses.replace(task, split="valid"),
  ):
    with pytest.raises(base.UnplayableTask, match="is not one of 'textworld_express'"):
      env.reset(other)
  with pytest.raises(ValueError, match="call reset first"):
    env.step("look around")
  assert env.reset(task).goal  # the object survives all of it


def test_worlds_of_one_process_do_not_disturb_each_other(env, settings, source):
  task = tasks_of(source, "cookingworld")[0]
  plan = source.walkthrough(task)
  alone = play(env, task, plan)
  other = textworld_express.ExpressEnv(settings)
  assert other._world.pid == env._world.pid
  between = [env.reset(task)]
  for number, command in enumerate(plan):
    other.reset(tasks_of(source, "mapreader")[number])
    other.step("look around")
    between.append(env.step(command.lower()))
    if between[-1].ended:
      break
  assert between == alone
  other.close()


def test_the_teacher_plays_gold_paths_in_the_policys_form(settings, source):
  teacher = table.make_teacher("textworld_express", settings)
  for game in set(textworld_express.GAMES) - {"coin", "twc"}:  # these search at random
    task = tasks_of(source, game)[1]
    agent = teacher.agent(task, 0)
    for command in (*source.walkthrough(task), "look around"):
      parsed = parse.parse_action(agent.reply("You are in the kitchen."))
      assert parsed.action == command.lower(), parsed.rejection


@pytest.mark.slow
def test_memory_is_flat_over_many_episodes(env, source):
  tasks = [tasks_of(source, game)[2] for game in textworld_express.GAMES]
  plans = {task: source.walkthrough(task) for task in tasks}
  sizes = []
  for number in range(500):
    task = tasks[number % len(tasks)]
    assert play(env, task, plans[task])[-1].success
    if number in (200, 499):
      sizes.append((rss_mib(env._world.pid), rss_mib(os.getpid())))
  assert sizes[1][0] - sizes[0][0] < 30.0, sizes
  assert sizes[1][1] - sizes[0][1] < 10.0, sizes
  assert sizes[1][0] < 300.0, sizes
