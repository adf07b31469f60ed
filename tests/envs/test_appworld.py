"""The AppWorld loader: its protocol on a stand-in, its messages on the real engine.

The real data are not public, so no official task is played here.
"""

import dataclasses
import functools
import json
import os
import pathlib
import pickle
import subprocess
import sys

import pytest

from skilljax import config
from skilljax.envs import appworld, base, table
from skilljax.envs.appworld import engine as appworld_engine
from skilljax.envs.data_files import DataError
from skilljax.envs.pool import EnvPool
from skilljax.settings import read_settings
from skilljax.types import Fault

STAND_IN = pathlib.Path(__file__).with_name("fake_appworld.py")
REAL = pathlib.Path(__file__).with_name("real_appworld.py")


def _program(path, text):
  path.write_text(f"#!/bin/sh\n{text}\n")
  path.chmod(0o755)
  return str(path)


def _stand_in(folder, *, installed=True, version=None):
  """An interpreter in whose eyes the stand-in is the package `appworld`."""
  package = folder / "site" / "appworld"
  package.mkdir(parents=True)
  text = STAND_IN.read_text()
  if version:
    text = text.replace("0.1.3.post1", version)
  (package / "__init__.py").write_text(text)
  if installed:
    (package / "apps" / "supervisor").mkdir(parents=True)
  run = f'PYTHONPATH="{folder}/site" exec "{sys.executable}" "$@"'
  return _program(folder / "python", run)


@pytest.fixture
def settings(tmp_path):
  data = tmp_path / "root" / "data"
  (data / "datasets").mkdir(parents=True)
  for split, names in (
    ("train", ("a1_1", "a1_2", "b2_1", "c3_1")),
    ("dev", ("d4_1:tag", "")),
    ("test_normal", ("e5_1",)),
  ):
    (data / "datasets" / f"{split}.txt").write_text("\n".join(names))
  (data / "tasks" / "a1_1").mkdir(parents=True)
  (data / "tasks" / "a1_1" / "specs.json").write_text('{"instruction": "Find seven."}')
  return appworld.AppworldSettings(
    python=_stand_in(tmp_path), data_dir=str(tmp_path / "root"), timeout_s=60.0
  )


@pytest.fixture
def env(settings):
  env = appworld.AppworldEnv(settings)
  yield env
  env.close()


@pytest.fixture
def task(settings):
  return appworld.AppworldSource(settings).tasks("train")[0]


# The source


def test_splits_are_the_id_files(settings):
  source = appworld.AppworldSource(settings)
  names = [task.name for task in source.tasks("train")]
  assert names == ["a1_1", "a1_2", "b2_1", "c3_1"]
  assert [task.cluster for task in source.tasks("train")] == ["a1", "a1", "b2", "c3"]
  assert [task.name for task in source.tasks("dev")] == ["d4_1"]
  assert source.scopes("train") == ("appworld",)
  assert source.stream("appworld", "dev") == source.tasks("dev")
  assert source.goal(source.tasks("train")[0]) == "Find seven."
  with pytest.raises(ValueError, match=r"split='test' must be one of \('train', 'dev'"):
    source.tasks("test")
  with pytest.raises(
    FileNotFoundError, match=r"test_challenge\.txt: the data are incompl"
  ):
    source.tasks("test_challenge")
  with pytest.raises(ValueError, match="scope='files' must be 'appworld'"):
    source.stream("files", "dev")


def test_probes_are_of_other_scenarios(settings, task):
  source = appworld.AppworldSource(settings)
  for seed in range(5):
    probes = source.probes(task, 2, seed)
    assert probes == source.probes(task, 2, seed)
    assert {probe.name for probe in probes} == {"b2_1", "c3_1"}
  with pytest.raises(ValueError, match=r"num=3 must be in \[0, 2\]"):
    source.probes(task, 3, seed=0)


def test_there_are_no_demonstrations(settings, task):
  teacher = table.make_teacher("appworld", settings)
  assert teacher.skills(task, 0) == () and teacher.drill(0, reading_only=True) == ((), ())
  assert teacher.null_skill(task, 0).category == "general"
  with pytest.raises(ValueError, match="start from a pretrained policy"):
    teacher.agent(task, 0)


# The protocol


def test_an_episode_is_played_and_judged(env, task):
  first = env.reset(task)
  assert first.goal == "Find seven for a1_1." and first.text.endswith(first.goal)
  assert "numbers, supervisor" in first.text and "email EMAIL" in first.text
  assert first.max_turns == 40
  code = "for x in 'A':\n  print(x)  # kept\n"
  told = env.step(code)
  assert told.text == f"ran: {code}".strip() and not told.ended
  last = env.step("answer 7")
  assert (last.success, last.reward, last.terminated) == (True, 1.0, True)
  with pytest.raises(ValueError, match="call reset first"):
    env.step("answer 7")


def test_a_wrong_answer_fails_and_the_cap_truncates(settings, task):
  env = appworld.AppworldEnv(dataclasses.replace(settings, max_turns=2))
  env.reset(task)
  last = env.step("answer 8")
  assert (last.success, last.reward, last.terminated) == (False, 0.0, True)
  env.reset(task)
  assert not env.step("look").ended
  assert env.step("look").truncated
  env.close()


def test_worlds_are_closed_and_leave_nothing_behind(settings, env, task):
  env.reset(task)
  assert list(settings.root().glob("experiments/outputs/skilljax_*"))
  env.close()
  assert not list(settings.root().glob("experiments/outputs/*"))
  assert (settings.root() / "closed.txt").read_text() == "closed\n"


def test_what_fails_is_told_and_the_next_reset_starts_afresh(env, task):
  for code, words in (
    ("die", "the AppWorld process has ended"),
    ("fail", "AppWorld, execute: RuntimeError: no database"),
  ):
    env.reset(task)
    with pytest.raises(appworld_engine.EngineError, match=words):
      env.step(code)
    with pytest.raises(ValueError, match="call reset first"):
      env.step("look")
  assert env.reset(task).goal


def test_a_bad_task_is_told_with_its_folder_and_costs_no_worker(settings, env, task):
  words = r"tasks/unknown_1: AppWorld, reset: Exception: The task .*download data` again"
  unknown = dataclasses.replace(task, name="unknown_1")
  with pytest.raises(base.UnplayableTask, match=words):
    env.reset(unknown)
  with pytest.raises(base.UnplayableTask, match="not one of 'appworld'"):
    env.reset(dataclasses.replace(task, env="household"))
  assert env.reset(task).goal
  with pytest.raises(base.UnplayableTask, match=words):
    env.reset(unknown)  # in the middle of another episode
  with pytest.raises(ValueError, match="call reset first"):
    env.step("look")
  make = functools.partial(table.make_env, "appworld", settings)
  with EnvPool(make, num_workers=1, envs_per_worker=1, reset_timeout_s=120.0) as pool:
    pool.start("bad", unknown)
    while not (got := pool.poll(120.0)):
      pass
    assert isinstance(got[0][1], Fault) and "unknown_1" in got[0][1].reason
    assert pool.counts["restarts"] == 0


@pytest.mark.parametrize("content", ['{"instr', '{"other": 1}', "[]", None])
def test_a_damaged_specification_names_its_file_and_the_fix(settings, task, content):
  path = settings.root() / "data" / "tasks" / task.name / "specs.json"
  path.unlink()
  if content is not None:
    path.write_text(content)
  with pytest.raises(DataError, match=r"a1_1/specs\.json: .*`appworld download data` ag"):
    appworld.AppworldSource(settings).goal(task)


def test_an_engine_that_hangs_is_ended(settings, task):
  env = appworld.AppworldEnv(settings)
  env.reset(task)
  process = env._engine._process
  env._engine._timeout_s = 0.5
  with pytest.raises(
    appworld_engine.EngineError, match=r"no answer .* in 0\.5 s .*env\.timeout"
  ):
    env.step("hang")
  assert process.poll() is not None


def test_garbage_is_no_answer(settings, task, tmp_path):
  hello = '{\\"version\\": \\"0.1.3.post1\\", \\"installed\\": true}'
  for garbage in ("what", "[1]", '\\"text\\"'):
    text = f'echo "{hello}"; echo "{garbage}"; cat >/dev/null'
    python = _program(tmp_path / "garbage", text)
    env = appworld.AppworldEnv(dataclasses.replace(settings, python=python))
    with pytest.raises(appworld_engine.EngineError, match="what is no answer"):
      env.reset(task)


def test_it_plays_in_a_pool_and_faults_are_marked(settings, task):
  make = functools.partial(table.make_env, "appworld", settings)
  assert pickle.loads(pickle.dumps(settings)) == settings
  with EnvPool(make, num_workers=1, envs_per_worker=1, reset_timeout_s=120.0) as pool:
    answers = []
    for action in ("answer 7", "die"):
      pool.start(action, task)
      while not (got := pool.poll(120.0)):
        pass
      pool.step(action, action)
      while not (got := pool.poll(120.0)):
        pass
      answers.append(got[0][1])
      pool.release(action)
  assert answers[0].success
  assert isinstance(answers[1], Fault)


# The config


def test_the_config_is_read_whole_and_finds_the_data(settings, repo_root):
  overrides = {"env.python": settings.python, "env.data_dir": settings.data_dir}
  path = str(repo_root / "configs" / "appworld.py")
  ours = read_settings(config.load(f"{path}:split=test_normal,seed=3", overrides))
  assert ours.env == dataclasses.replace(settings, timeout_s=150.0)
  source = table.make_source(ours.env_name, ours.env)
  assert [task.name for task in source.tasks(ours.eval.split)] == ["e5_1"]
  assert source.tasks(ours.train.split) and ours.seed == 3
  # No demonstrations, and answers that a pool waits for as long as the engine may take.
  assert ours.cold_start is None and ours.sft is None and ours.model is None
  assert ours.pool.num_workers > 0
  assert ours.pool.step_timeout_s > 2 * ours.env.timeout_s
  assert read_settings(config.load(path, overrides)).eval.split == "dev"


# Messages


def test_absent_data_are_named(settings, monkeypatch, tmp_path):
  monkeypatch.delenv("APPWORLD_ROOT", raising=False)
  nowhere = dataclasses.replace(settings, data_dir="")
  with pytest.raises(
    FileNotFoundError, match=r"env\.data_dir, or the variable APPWORLD_RO"
  ):
    table.make_env("appworld", nowhere)
  monkeypatch.setenv("APPWORLD_ROOT", str(tmp_path))
  with pytest.raises(FileNotFoundError, match="run `appworld download data` in"):
    appworld.AppworldSource(nowhere).tasks("train")


def test_an_interpreter_may_be_given_from_here(settings, task, tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)  # the engine's process starts in the folder of the data
  env = appworld.AppworldEnv(dataclasses.replace(settings, python="./python"))
  assert env.reset(task).goal
  env.close()


def test_a_split_without_tasks_is_named(settings, tmp_path):
  (tmp_path / "root" / "data" / "datasets" / "dev.txt").write_text("\n")
  with pytest.raises(DataError, match=r"dev\.txt: names no task; run `appworld down"):
    appworld.AppworldSource(settings).tasks("dev")


def test_a_wrong_interpreter_is_named(settings, tmp_path):
  for python in ("", "/nowhere/python"):
    with pytest.raises(FileNotFoundError, match=r"must be the interpreter .*env\.python"):
      appworld.AppworldEnv(dataclasses.replace(settings, python=python))
  folders = [tmp_path / name for name in ("old", "packed", "bare")]
  for folder in folders:
    folder.mkdir()
  bare = _program(folders[2] / "python", f'exec "{sys.executable}" -I "$@"')
  for python, words in (
    (
      _stand_in(folders[0], version="0.2.0"),
      r"appworld 0\.2\.0, and 0\.1\.3\.post1 is ne",
    ),
    (_stand_in(folders[1], installed=False), "still packed: run `appworld install`"),
    (bare, r"has no appworld \(import: .*pip install appworld==0\.1\.3\.post1"),
  ):
    with pytest.raises(ModuleNotFoundError, match=words):  # before any episode
      appworld.AppworldEnv(dataclasses.replace(settings, python=python))


def test_settings_out_of_range_name_their_key():
  with pytest.raises(ValueError, match=r"max_turns=0 must be >= 1 .*env\.max_turns"):
    table.make_settings("appworld", {"max_turns": 0})
  with pytest.raises(ValueError, match=r"timeout_s=0\.0 must be > 0 .*env\.timeout_s"):
    table.make_settings("appworld", {"timeout_s": 0.0})


# The real engine


@pytest.fixture(scope="module")
def real_python(tmp_path_factory):
  """An interpreter that has AppWorld: that of SKILLJAX_APPWORLD_PYTHON, or a new one."""
  if given := os.environ.get("SKILLJAX_APPWORLD_PYTHON", ""):
    return given
  folder = tmp_path_factory.mktemp("appworld")
  run = functools.partial(subprocess.run, check=True, cwd=folder)
  run([sys.executable, "-m", "venv", "venv"])
  package = f"appworld=={appworld_engine.VERSION}"
  run(["venv/bin/python", "-m", "pip", "install", "--quiet", package])
  # Unpacks the apps beside the package, and its own tests into the home folder.
  run(["venv/bin/appworld", "install"], env={**os.environ, "HOME": str(folder)})
  return str(folder / "venv" / "bin" / "python")


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_installed_engine_answers(settings, real_python):
  """It is imported, is the right version, has its apps, and asks for the data."""
  env = appworld.AppworldEnv(
    dataclasses.replace(settings, python=real_python, timeout_s=400.0)
  )
  tasks = {task.name: task for task in appworld.AppworldSource(settings).tasks("train")}
  folder = settings.root() / "data" / "tasks"
  with pytest.raises(base.UnplayableTask) as absent:
    env.reset(tasks["b2_1"])
  assert str(absent.value) == (
    f"{folder}/b2_1: AppWorld, reset: Exception: The task directory ({folder}/b2_1) "
    "doesn't exist.; if it is absent or damaged, run `appworld download data` again in "
    f"{settings.root()}"
  )
  # A specification with an instruction alone is half a one.
  with pytest.raises(
    base.UnplayableTask, match=r"a1_1: .* reset: KeyError: 'db_version'"
  ):
    env.reset(tasks["a1_1"])
  env.close()
  assert not list(settings.root().glob("experiments/outputs/*"))


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_child_uses_what_the_installed_package_has(settings, real_python):
  done = subprocess.run(
    [real_python, str(REAL), appworld_engine.child.__file__],
    cwd=settings.root(),
    env={**os.environ, "APPWORLD_ROOT": str(settings.root())},
    capture_output=True,
    text=True,
    check=False,
  )
  assert done.returncode == 0, done.stderr
  answers = json.loads(done.stdout)
  told = answers["told"]
  assert (
    told["instruction"] == "Find seven." and told["datetime"] == "2023-05-18T12:00:00"
  )
  assert told["supervisor"]["email"] == "ann@example.com" and list(told["apps"])
  assert answers["ran"] == {"output": "seven", "completed": True}
  assert answers["verdict"] == {"success": True, "passed": 0, "total": 0}
