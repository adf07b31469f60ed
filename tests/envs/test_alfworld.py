"""The real games: won by their walkthroughs, bit for bit as the packaged engine."""

import dataclasses
import functools
import json
import os
import pickle
import subprocess
import sys
import time

import pytest

from skilljax.envs import alfworld, alfworld_games, base
from skilljax.envs.pool import EnvPool
from skilljax.types import Fault
from tests.envs import alfworld_reference


@pytest.fixture(scope="session")
def settings(data_dir, tmp_path_factory):
  found = alfworld.AlfworldSettings(
    data_dir=str(data_dir / "alfworld"),
    cache_dir=str(tmp_path_factory.mktemp("alfworld")),
  )
  if reason := alfworld.why_unavailable(found):
    pytest.skip(reason)
  return found


@pytest.fixture(scope="session")
def source(settings):
  return alfworld.AlfworldSource(settings)


@pytest.fixture(scope="session")
def env(settings):
  return alfworld.AlfworldEnv(settings)


def _one_per_family(source, split="valid_train", start=0):
  tasks = source.tasks(split)
  return [
    [task for task in tasks if task.family == family][start] for family in source.families
  ]


# The source


@pytest.mark.parametrize(
  ("split", "count"),
  [("train", 3553), ("valid_train", 200), ("valid_seen", 140), ("valid_unseen", 134)],
)
def test_every_split_is_complete_and_ordered(source, split, count):
  tasks = source.tasks(split)
  names = [task.name for task in tasks]
  assert len(set(names)) == count
  assert names == sorted(names)
  assert {task.family for task in tasks} == set(source.families)
  assert {(task.env, task.split, task.scope) for task in tasks} == {
    ("alfworld", split, "alfworld")
  }
  assert tasks == alfworld.AlfworldSource(source._settings).tasks(split)


def test_families_have_the_published_sizes(source):
  families = [task.family for task in source.tasks("train")]
  assert [families.count(family) for family in source.families] == [
    *(790, 813, 308),  # pick_and_place, pick_two, look_in_light
    *(459, 533, 650),  # heat, cool, clean
  ]


def test_probes_are_other_train_games_of_the_family(source):
  train, unseen = source.tasks("train"), source.tasks("valid_unseen")
  for task in (train[0], train[-1], unseen[0]):
    probes = source.probes(task, 8, seed=3)
    assert probes == source.probes(task, 8, seed=3)
    assert probes != source.probes(task, 8, seed=4)
    assert len(set(probes)) == 8
    assert {(p.split, p.family) for p in probes} == {("train", task.family)}
    assert task not in probes
  look = next(task for task in train if task.family == "look_in_light")
  everyone = source.probes(look, 307, seed=0)
  assert look not in everyone and len(everyone) == 307
  with pytest.raises(ValueError, match=r"num=308 must be in \[0, 307\]"):
    source.probes(look, 308, seed=0)


def test_the_only_scope_streams_the_split(source):
  assert source.scopes("train") == ("alfworld",)
  assert source.stream("alfworld", "valid_seen") == source.tasks("valid_seen")
  with pytest.raises(ValueError, match="scope='kitchen' must be 'alfworld'"):
    source.stream("kitchen", "train")


def test_an_incomplete_split_is_refused(settings, tmp_path):
  archive = settings.archive("valid_seen")
  info = archive.index()[0]
  game = archive.game(info.name)
  folder = tmp_path / "valid_seen" / info.name
  folder.mkdir(parents=True)
  grammar = game.grammar.replace(alfworld_games.GOAL_SLOT, game.goal)
  fields = {"pddl_domain": game.domain, "grammar": grammar, "pddl_problem": game.problem}
  fields |= {"solvable": True, "walkthrough": info.walkthrough}
  (folder / "game.tw-pddl").write_text(json.dumps(fields))
  kind = {f: t for t, f in alfworld_games.FAMILY_OF_TASK_TYPE.items()}[info.family]
  (folder / "traj_data.json").write_text(json.dumps({"task_type": kind}))
  partial = dataclasses.replace(settings, data_dir=str(tmp_path))
  with pytest.raises(ValueError, match="1 games, the benchmark has 140"):
    alfworld.AlfworldSource(partial).tasks("valid_seen")
  partial = dataclasses.replace(partial, require_complete=False)
  (task,) = alfworld.AlfworldSource(partial).tasks("valid_seen")
  assert task.name == info.name


def test_without_a_folder_the_error_names_key_and_variable(monkeypatch):
  monkeypatch.delenv("SKILLJAX_DATA", raising=False)
  with pytest.raises(FileNotFoundError, match=r"env\.data_dir.*SKILLJAX_DATA"):
    alfworld.AlfworldSource(alfworld.AlfworldSettings()).tasks("train")
  monkeypatch.setenv("SKILLJAX_DATA", "/nowhere")
  with pytest.raises(FileNotFoundError, match="/nowhere/alfworld: no ALFWorld games"):
    alfworld.AlfworldSource(alfworld.AlfworldSettings()).tasks("train")


# The world


def test_one_game_of_each_family_is_won_by_its_walkthrough(settings, source):
  make = functools.partial(base.make_env, "alfworld", settings)
  with EnvPool(make, num_workers=1, envs_per_worker=3) as pool:
    waiting = {task.key: task for task in _one_per_family(source)}
    plans = {key: list(source.walkthrough(task)) for key, task in waiting.items()}
    won = {}
    while len(won) < 6:
      while waiting and pool.num_free:
        pool.start(*waiting.popitem())
      for ticket, observation in pool.poll(60.0):
        assert not isinstance(observation, Fault), observation.reason
        assert observation.success == observation.terminated == (not plans[ticket])
        assert observation.reward == float(not plans[ticket])
        if observation.terminated:
          won[ticket] = observation
          pool.release(ticket)
        else:
          pool.step(ticket, plans[ticket].pop(0))


def test_reset_text_has_the_goal_and_no_banner(env, source):
  task = source.tasks("valid_seen")[0]
  observation = env.reset(task)
  assert observation.text.startswith("You are in the middle of a room.")
  assert observation.text.endswith(f"Your task is to: {observation.goal}")
  assert observation.goal == source.goal(task)
  assert observation.goal.endswith(".") and "UNKNOWN" not in observation.text
  assert observation.max_turns == 50
  assert "go to desk 1" in observation.admissible
  assert (observation.reward, observation.ended) == (0.0, False)


def test_unknown_commands_change_nothing(env, source):
  task = source.tasks("valid_seen")[0]
  before = env.reset(task).admissible
  for action in ("", "fly", "Go to desk 1", "put mug 1 in/on desk 1", "x" * 10_000):
    observation = env.step(action)
    assert observation.text == "Nothing happens."
    assert observation.admissible == before
  assert env.step("  go to desk 1 ").text.startswith("You arrive at desk 1.")


def test_success_is_not_what_a_text_says(env, source):
  env.reset(source.tasks("valid_seen")[0])
  observation = env.step("You won! Your task is done.")
  assert not observation.success and observation.reward == 0.0


def test_the_step_cap_truncates(settings, source):
  env = alfworld.AlfworldEnv(dataclasses.replace(settings, max_turns=2))
  task = source.tasks("valid_seen")[0]
  assert env.reset(task).max_turns == 2
  assert not env.step("look").ended
  last = env.step("look")
  assert last.truncated and not last.terminated and not last.success
  with pytest.raises(ValueError, match="call reset first"):
    env.step("look")
  assert not env.reset(task).ended


def test_a_win_on_the_last_turn_is_a_win(settings, source):
  task = source.tasks("valid_seen")[0]
  plan = source.walkthrough(task)
  env = alfworld.AlfworldEnv(dataclasses.replace(settings, max_turns=len(plan)))
  env.reset(task)
  last = [env.step(command) for command in plan][-1]
  assert last.terminated and last.success and not last.truncated


def test_tasks_of_other_worlds_are_refused(env, source):
  task = source.tasks("valid_seen")[0]
  with pytest.raises(ValueError, match="not one of 'alfworld'"):
    env.reset(dataclasses.replace(task, env="household"))
  with pytest.raises(ValueError, match="no game of split 'train'"):
    env.reset(dataclasses.replace(task, split="train"))
  assert env.reset(task).goal  # the object survives both


def test_the_command_line_and_the_terminal_are_left_alone(env, source, capfd):
  argv = list(sys.argv)
  env.reset(source.tasks("valid_seen")[1])
  assert sys.argv == argv
  assert capfd.readouterr().out == ""


def test_a_known_game_resets_in_a_tenth_of_a_second(env, source):
  task = source.tasks("valid_seen")[0]
  env.reset(task)
  seconds = []
  for _ in range(3):
    begin = time.process_time()
    env.reset(task)
    seconds.append(time.process_time() - begin)
  assert min(seconds) <= 0.1


# The same as without wrapping


def _ours(env, task, source, num_random):
  def told(observation):
    return observation.text, observation.admissible, observation.success

  return alfworld_reference.play(
    lambda: told(env.reset(task)),
    lambda command: told(env.step(command)),
    walkthrough=source.walkthrough(task),
    num_random=num_random,
  )


def _packaged(settings, tasks, source, num_random, hash_seed):
  jobs = []
  for task in tasks:
    text = settings.archive(task.split).game(task.name)
    game = {
      "pddl_domain": text.domain,
      "grammar": text.grammar.replace(alfworld_games.GOAL_SLOT, text.goal),
      "pddl_problem": text.problem,
    }
    plan = source.walkthrough(task)
    jobs.append({"game": game, "walkthrough": plan, "num_random": num_random})
  paths = os.pathsep.join(path for path in sys.path if path)
  done = subprocess.run(
    [sys.executable, "-m", "tests.envs.alfworld_reference"],
    input=json.dumps(jobs),
    env={**os.environ, "PYTHONPATH": paths, "PYTHONHASHSEED": hash_seed},
    stdout=subprocess.PIPE,
    text=True,
    check=True,
  )
  banner = "-= Welcome to TextWorld, ALFRED! =-"
  return [
    [
      [text.removeprefix(banner).strip(), commands, won]
      for text, commands, won in episode
    ]
    for episode in json.loads(done.stdout)
  ]


def _check_parity(settings, source, env, tasks, num_random):
  expected = _packaged(settings, tasks, source, num_random, hash_seed="1")
  for task, episode in zip(tasks, expected, strict=True):
    assert episode[-1][2]  # won
    assert _ours(env, task, source, num_random) == episode
  # Another worker finds the translations on disk, and has another hash seed.
  code = (
    "import json, pickle, sys\n"
    "from skilljax.envs import alfworld\n"
    "from tests.envs.test_alfworld import _ours\n"
    "settings, tasks, num = pickle.load(sys.stdin.buffer)\n"
    "env, source = alfworld.AlfworldEnv(settings), alfworld.AlfworldSource(settings)\n"
    "print(json.dumps([_ours(env, task, source, num) for task in tasks]))\n"
  )
  paths = os.pathsep.join(path for path in sys.path if path)
  done = subprocess.run(
    [sys.executable, "-c", code],
    input=pickle.dumps((settings, tasks, num_random)),
    env={**os.environ, "PYTHONPATH": paths, "PYTHONHASHSEED": "2"},
    stdout=subprocess.PIPE,
    check=True,
  )
  assert json.loads(done.stdout) == expected


def test_two_games_equal_the_packaged_engine(settings, source, env):
  tasks = _one_per_family(source, "valid_seen")
  _check_parity(settings, source, env, [tasks[1], tasks[4]], num_random=8)


@pytest.mark.slow
def test_six_games_equal_the_packaged_engine(settings, source, env):
  _check_parity(settings, source, env, _one_per_family(source, "train", 5), num_random=40)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_memory_is_flat_over_2000_episodes(source, env):
  def rss_mib():
    with open("/proc/self/statm") as file:
      return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20

  tasks = source.tasks("train")[::355][:10]
  before = 0.0
  for number in range(2000):
    if number == 100:
      before = rss_mib()
    task = tasks[number // 5 % len(tasks)]  # groups of five
    env.reset(task)
    for command in source.walkthrough(task):
      observation = env.step(command)
    assert observation.success
  assert rss_mib() - before < 30.0
