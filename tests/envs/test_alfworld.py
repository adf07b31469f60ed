"""The real games: won by their walkthroughs, bit for bit as the packaged engine."""

import collections
import dataclasses
import functools
import json
import os
import pickle
import random
import statistics
import subprocess
import sys
import time

import pytest

from skilljax.envs import alfworld, base, table
from skilljax.envs.alfworld import games
from skilljax.envs.alfworld.teacher import AlfworldTeacher
from skilljax.envs.pool import EnvPool
from skilljax.types import Fault
from tests.envs import alfworld_reference, fake_envs


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


def _write_download(root, settings, info, **changes):
  """One game of `valid_seen` in the benchmark's own layout; `changes` damage it."""
  game = settings.archive("valid_seen").game(info.name)
  folder = root / "valid_seen" / info.name
  folder.mkdir(parents=True)
  grammar = game.grammar.replace(games.GOAL_SLOT, game.goal)
  fields = {"pddl_domain": game.domain, "grammar": grammar, "pddl_problem": game.problem}
  fields |= {"solvable": True, "walkthrough": info.walkthrough, **changes}
  path = folder / "game.tw-pddl"
  path.write_text(json.dumps(fields))
  kind = {f: t for t, f in games.FAMILY_OF_TASK_TYPE.items()}[info.family]
  (folder / "traj_data.json").write_text(json.dumps({"task_type": kind}))
  return path


# The source


@pytest.mark.parametrize(
  ("split", "count", "clusters"),
  [
    ("train", 3553, 1465),
    ("valid_train", 200, 200),
    ("valid_seen", 140, 137),
    ("valid_unseen", 134, 47),
  ],
)
def test_every_split_is_complete_and_ordered(source, split, count, clusters):
  tasks = source.tasks(split)
  # Trials of one goal in one room are alike.
  assert len({task.cluster for task in tasks}) == clusters
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
  mixed = source.probes(look, 308, seed=0, every_family=True)
  assert {probe.family for probe in mixed} == set(source.families)
  assert look not in mixed and len(set(mixed)) == 308


def test_the_only_scope_streams_the_split(source):
  assert source.scopes("train") == ("alfworld",)
  assert source.stream("alfworld", "valid_seen") == source.tasks("valid_seen")
  with pytest.raises(ValueError, match="scope='kitchen' must be 'alfworld'"):
    source.stream("kitchen", "train")


def test_an_incomplete_split_is_refused(settings, tmp_path):
  info = settings.archive("valid_seen").index()[0]
  _write_download(tmp_path, settings, info)
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


def test_human_goals_are_stated_where_they_are_asked_for(settings, source):
  tasks = source.tasks("valid_seen")
  human = dataclasses.replace(settings, human_goals=1.0)
  half = alfworld.AlfworldSource(dataclasses.replace(settings, human_goals=0.5))
  everyone = alfworld.AlfworldSource(human)
  index = {info.name: info for info in settings.archive("valid_seen").index()}
  for task in tasks:
    written = {f"{goal}." for goal in index[task.name].human_goals}
    assert everyone.goal(task) in written
    assert everyone.templated_goal(task) == source.goal(task) not in written
    assert half.goal(task) in (everyone.goal(task), source.goal(task))
  share = sum(half.goal(task) == everyone.goal(task) for task in tasks) / len(tasks)
  assert 0.4 < share < 0.6
  observation = alfworld.AlfworldEnv(human).reset(tasks[0])
  assert observation.goal == everyone.goal(tasks[0])
  assert observation.text.endswith(f"Your task is to: {everyone.goal(tasks[0])}")
  teacher = AlfworldTeacher(human)  # its explorers read templated goals only
  with pytest.raises(ValueError, match=r"human_goals=1.0 must be 0 for demonstrations"):
    teacher.agent(tasks[0], seed=0)
  expert, first = teacher.expert(tasks[0]), everyone.walkthrough(tasks[0])[0]
  assert f"<action>{first}</action>" in expert.reply(observation.text)


def test_human_goals_are_those_of_the_packaged_engine(settings, source):
  human = dataclasses.replace(settings, human_goals=1.0)
  everyone = alfworld.AlfworldSource(human)
  tasks = [
    # Written with a full stop, and with a space after it.
    next(t for t in source.tasks("valid_unseen") if everyone.goal(t).endswith(end))
    for end in ("..", ". .")
  ]
  _check_parity(human, everyone, alfworld.AlfworldEnv(human), tasks, num_random=1)


def test_data_without_human_goals_are_refused_where_they_are_asked_for(
  settings, tmp_path
):
  _write_download(tmp_path, settings, settings.archive("valid_seen").index()[0])
  human = dataclasses.replace(
    settings, data_dir=str(tmp_path), require_complete=False, human_goals=0.1
  )
  with pytest.raises(ValueError, match=r"1 games of split .*set env\.human_goals=0"):
    alfworld.AlfworldSource(human).tasks("valid_seen")
  with pytest.raises(ValueError, match=r"human_goals=1.5 must be in \[0, 1\]"):
    dataclasses.replace(settings, human_goals=1.5)


# Games that cannot be played


def _cut(text):
  return text[: len(text) // 2]


NOTHING = "(define (problem p) (:domain alfred) (:objects) (:init) (:goal (and)))"


@pytest.mark.parametrize(
  ("part", "damage"),
  [
    ("pddl_problem", _cut),
    ("pddl_problem", lambda text: ""),
    ("pddl_problem", lambda text: text + ")"),
    ("pddl_problem", lambda text: text.replace("(:init", "(:init (foo bar)")),
    ("pddl_problem", lambda text: NOTHING),  # no command
    ("pddl_domain", _cut),
    ("grammar", lambda text: text.replace("intro", "outro")),
    ("grammar", lambda text: text + '"'),
  ],
)
def test_a_damaged_game_is_named_and_the_environment_goes_on(
  settings, source, env, tmp_path, part, damage
):
  good, bad = settings.archive("valid_seen").index()[:2]
  game = settings.archive("valid_seen").game(bad.name)
  texts = {"grammar": game.grammar.replace(games.GOAL_SLOT, game.goal)}
  texts |= {"pddl_domain": game.domain, "pddl_problem": game.problem}
  path = _write_download(tmp_path, settings, bad, **{part: damage(texts[part])})
  _write_download(tmp_path, settings, good)
  partial = dataclasses.replace(settings, data_dir=str(tmp_path), require_complete=False)
  first, second = alfworld.AlfworldSource(partial).tasks("valid_seen")
  ours = alfworld.AlfworldEnv(partial)
  for _ in range(2):
    with pytest.raises(base.UnplayableTask) as caught:
      ours.reset(second)
    message = str(caught.value)
    assert str(path) in message and "copy the file again" in message
    with pytest.raises(ValueError, match="call reset first"):
      ours.step("look")
    assert _ours(ours, first, source, 2) == _ours(env, first, source, 2)


def test_a_damaged_game_costs_its_episodes_and_no_worker(settings, source, tmp_path):
  good, bad = settings.archive("valid_seen").index()[:2]
  path = _write_download(tmp_path, settings, bad, pddl_problem=NOTHING)
  _write_download(tmp_path, settings, good)
  partial = dataclasses.replace(settings, data_dir=str(tmp_path), require_complete=False)
  first, second = alfworld.AlfworldSource(partial).tasks("valid_seen")
  make = functools.partial(table.make_env, "alfworld", partial)
  with EnvPool(make, num_workers=1, envs_per_worker=5) as pool:
    for number in range(4):
      pool.start(f"bad{number}", second)
    pool.start("good", first)
    answers = {}
    while len(answers) < 5:
      answers.update(pool.poll(60.0))
    assert answers.pop("good").goal == source.goal(first)
    assert all(str(path) in fault.reason for fault in answers.values())
    assert pool.counts == {"episodes": 5, "faults": 4, "restarts": 0, "recycles": 0}


@pytest.mark.parametrize(
  ("name", "damage"), [("game.tw-pddl", _cut), ("traj_data.json", None)]
)
def test_a_game_that_cannot_be_read_costs_its_episodes_and_no_split(
  settings, tmp_path, name, damage
):
  good, bad = settings.archive("valid_seen").index()[:2]
  path = _write_download(tmp_path, settings, bad)
  _write_download(tmp_path, settings, good)
  file = path.with_name(name)
  file.write_text(damage(file.read_text())) if damage else file.unlink()
  partial = dataclasses.replace(settings, data_dir=str(tmp_path), require_complete=False)
  source = alfworld.AlfworldSource(partial)
  first, second = source.tasks("valid_seen")
  assert (second.name, second.family) == (bad.name, bad.family)
  teacher = AlfworldTeacher(partial)
  assert teacher.skills(second, 0) == () == source.walkthrough(second)
  assert not source.why_unplayable(first)
  env = alfworld.AlfworldEnv(partial)
  with pytest.raises(base.UnplayableTask) as caught:
    env.reset(second)
  assert str(caught.value) == source.why_unplayable(second)
  assert str(path) in str(caught.value) and "alfworld-download" in str(caught.value)
  assert env.reset(first).goal == source.goal(first)


def test_a_game_that_offers_no_command_any_more_is_named(env, source, monkeypatch):
  task, other = source.tasks("valid_seen")[:2]
  env.reset(task)
  step = env._env.step

  def without_commands(action):
    state, reward, done = step(action)
    state["admissible_commands"] = []
    return state, reward, done

  with monkeypatch.context() as patch:
    patch.setattr(env._env, "step", without_commands)
    with pytest.raises(base.UnplayableTask, match=r"valid_seen.*offers no command") as e:
      env.step("look")
  assert task.name in str(e.value) and "env.data_dir" in str(e.value)
  with pytest.raises(ValueError, match="call reset first"):
    env.step("look")
  assert env.reset(other).admissible and env.step("look").admissible


# The second: one process an environment.
@pytest.mark.parametrize(("num_workers", "envs_per_worker"), [(2, 8), (8, 1)])
def test_a_group_pays_for_one_translation(
  settings, source, tmp_path, num_workers, envs_per_worker
):
  fresh = dataclasses.replace(settings, cache_dir=str(tmp_path / "cache"))
  log = tmp_path / "translations"
  make = functools.partial(fake_envs.make_counting_alfworld, fresh, str(log))
  tasks = source.tasks("valid_seen")[: num_workers * envs_per_worker // 8]
  with EnvPool(make, num_workers=num_workers, envs_per_worker=envs_per_worker) as pool:
    waiting = [(f"{number} {task.name}", task) for task in tasks for number in range(8)]
    for ticket, task in waiting:
      pool.start(ticket, task)
    answers = {}
    while len(answers) < len(waiting):
      answers.update(pool.poll(60.0))
    for name in {task.name for task in tasks}:
      assert len({answers[t].text for t, task in waiting if task.name == name}) == 1
  assert len(log.read_text().splitlines()) == len(tasks)


# The world


def test_one_game_of_each_family_is_won_by_its_walkthrough(settings, source):
  make = functools.partial(table.make_env, "alfworld", settings)
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
      # As `add_task_to_grammar` of the package; the stop follows in the grammar.
      "grammar": text.grammar.replace(games.GOAL_SLOT, settings.goal(task, text)[:-1]),
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


# Text: the things that an action must be about, so that it has a meaning.
TEMPLATES = {
  "go to [{r.name | receptacleatlocation(r:receptacle, lend:location)}]": {"r", "lend"},
  "take {o} from {r}": {"o", "r"},
  "[{o.indefinite + ' ' + o.name | inreceptacle(o:object, r:receptacle)}]": {"r"},
  "[{o.name | holds(a:agent, o:object)}], {r.name}": {"a", "r"},
  # Others than the chosen one; and what is asked of a thing that is not said.
  "[{o2.name | inreceptacle(o2:object, r:receptacle)}]": {"o", "r"},
  "[{r.name | holds(a:agent, o:object)}]": {"a", "o", "r"},
  "#examineReceptacle.feedback#": {"r"},
  "{len(r.name)}": {"r"},
  "{sorted(map(str, list(context.values()).pop(1)))}": {"r"},  # all facts
}


def test_a_remembered_text_is_the_derived_one_whatever_has_happened(source, env):
  """Also where it must not be remembered: rules, lengths, all facts."""
  grammar_type = alfworld.engine.load_engine().pddl.pddl_logic.ContextSensitiveGrammar
  derived = collections.defaultdict(set)
  for task in _one_per_family(source, "valid_seen", 2)[:3]:
    env.reset(task)
    for command in source.walkthrough(task):
      env.step(command)
      world = env._env.unwrapped
      for action in world.state["_valid_actions"]:
        context = _context(world, action.mapping)
        for text, needed in TEMPLATES.items():
          if not needed <= context["variables"].keys():
            continue
          found = grammar_type.derive(world._logic.grammar, text, context)
          wanted = grammar_type.derive.__wrapped__(world._logic.grammar, text, context)
          assert found == wanted, (text, action.mapping)
          derived[text].add(found)
  assert min(len(derived[text]) for text in TEMPLATES) > 1, derived


def _context(world, mapping):
  """What the engine gives to a derivation."""
  things = world._entity_infos
  return {
    "state": world._pddl_state,
    "facts": list(world._pddl_state.facts),
    "variables": {place.name: things[thing.name] for place, thing in mapping.items()},
    "mapping": mapping,
    "entity_infos": things,
  }


@pytest.mark.timeout(1200)  # the packaged engine needs four seconds a game
def test_six_games_equal_the_packaged_engine(settings, source, env):
  _check_parity(settings, source, env, _one_per_family(source, "train", 5), num_random=4)


@pytest.mark.slow
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("split", ["valid_seen", "valid_unseen"])
def test_every_validation_game_equals_the_packaged_engine(settings, source, env, split):
  tasks = source.tasks(split)
  for start in range(0, len(tasks), 20):
    _check_parity(settings, source, env, tasks[start : start + 20], num_random=10)


@pytest.mark.slow
def test_the_speed_of_resets_and_steps(settings, source, tmp_path):
  """CPU time, which other work on the machine changes little."""
  fresh = dataclasses.replace(settings, cache_dir=str(tmp_path))
  env = alfworld.AlfworldEnv(fresh)
  tasks = _one_per_family(source, "valid_unseen", 3)
  source.tasks("valid_unseen")
  env.reset(source.tasks("valid_unseen")[0])  # archive and grammar
  first, again, steps, playing_s = [], [], 0, 0.0
  for task in tasks:
    begin = time.process_time()
    env.reset(task)
    first.append(time.process_time() - begin)
    begin = time.process_time()
    observation = env.reset(task)
    again.append(time.process_time() - begin)
    rng = random.Random(0)
    begin = time.process_time()
    for _ in range(40):
      observation = env.step(rng.choice(observation.admissible))
      steps += 1
      if observation.ended:
        observation = env.reset(task)
    playing_s += time.process_time() - begin
  print(f"first {max(first):.2f} s, next {max(again):.3f} s, {steps / playing_s:.0f} /s")
  assert max(first) <= 1.0
  assert max(again) <= 0.1
  assert steps / playing_s >= 350.0


def _rss_mib(pid):
  try:
    with open(f"/proc/{pid}/statm") as file:
      return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
  except OSError:  # it has just left
    return 0.0


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_memory_is_flat_over_5000_episodes(source, env):
  tasks = source.tasks("train")[::355][:10]
  sizes = []
  for number in range(5000):
    task = tasks[number // 5 % len(tasks)]  # groups of five
    env.reset(task)
    for command in source.walkthrough(task):
      observation = env.step(command)
    assert observation.success
    if number % 500 == 499:
      sizes.append(_rss_mib(os.getpid()))
  print("MiB after each 500 episodes:", [round(size) for size in sizes])
  assert max(sizes) / min(sizes) < 1.1


@pytest.mark.slow
@pytest.mark.timeout(14400)
def test_memory_of_recycled_workers_is_flat_over_600_games(source):
  """As in training: groups of eight, each game new, workers that are replaced."""
  # Mixed: in order of their names they begin with bedrooms and end with kitchens, whose
  # games are twice as large.
  tasks = random.Random(0).sample(source.tasks("train"), 600)
  episodes = [(f"{n}", tasks[n // 8 % len(tasks)]) for n in range(5000)]
  assert len({task.name for _, task in episodes}) == 600
  make = functools.partial(table.make_env, "alfworld", source._settings)
  plans, sizes, counted = {}, [], 0
  waiting = collections.deque(episodes)
  limits = {"reset_timeout_s": 600.0, "step_timeout_s": 600.0}  # it may be busy
  with EnvPool(
    make, num_workers=2, envs_per_worker=4, recycle_after_episodes=400, **limits
  ) as pool:
    while counted < len(episodes):
      while waiting and pool.num_free:
        ticket, task = waiting.popleft()
        plans[ticket] = list(source.walkthrough(task))
        pool.start(ticket, task)
      for ticket, seen in pool.poll(60.0):
        assert not isinstance(seen, Fault), seen.reason
        if not seen.ended:
          pool.step(ticket, plans[ticket].pop(0))
          continue
        assert seen.success
        pool.release(ticket)
        counted += 1
        if counted % 25 == 0:  # of all processes, those that leave too
          sizes.append(sum(_rss_mib(p.pid) for p in pool._backend._processes))
    recycles = pool.counts["recycles"]
  # A worker lives for 400 episodes, both for 800: each sixth holds a whole life.
  sixths = [statistics.mean(sizes[n * 33 : n * 33 + 33]) for n in range(6)]
  print("mean MiB of each sixth:", [round(size) for size in sixths], "recycles", recycles)
  assert recycles >= 10
  assert max(sixths) / min(sixths) < 1.1
