"""The debug variant of every benchmark's config, from cold start to evaluation."""

import pathlib

import pytest

from skilljax.envs import bfcl
from skilljax.runs import cold_start, evaluation, training
from skilljax.settings import Settings
from tests.test_runs import settings_of


def assert_runs_end_to_end(settings: Settings, folder: pathlib.Path):
  """Cold start, training and evaluation, without a fault."""
  policy = cold_start.run(settings, folder / "cold")
  policy = training.run(settings, policy, folder / "rl")
  summary = evaluation.run(settings, policy, folder / "eval")
  assert summary["num_tasks"] == settings.eval.tasks_per_scope
  assert summary["faults"] == 0


@pytest.mark.timeout(900)
def test_alfworld_scratch_runs_end_to_end(repo_root, tmp_path, alfworld_data):
  overrides = {
    "env.data_dir": str(alfworld_data),
    "env.cache_dir": str(tmp_path / "cache"),
  }
  settings = settings_of("configs/alfworld_scratch.py:debug", repo_root, overrides)
  assert_runs_end_to_end(settings, tmp_path)


@pytest.mark.timeout(600)
def test_bfcl_runs_end_to_end(repo_root, tmp_path):
  if reason := bfcl.why_unavailable():
    pytest.skip(reason)
  assert_runs_end_to_end(settings_of("configs/bfcl.py:debug", repo_root), tmp_path)


@pytest.mark.timeout(600)
def test_webshop_runs_end_to_end(repo_root, tmp_path, data_dir):
  for package in ("rapidfuzz", "regex", "textblob"):
    pytest.importorskip(package, reason="pip install -e .[webshop]")
  if not (folder := pathlib.Path(data_dir) / "webshop").is_dir():
    pytest.skip(f"no WebShop data at {folder}; set SKILLJAX_DATA")
  overrides = {"env.data_dir": str(folder), "env.cache_dir": str(tmp_path / "cache")}
  settings = settings_of("configs/webshop_scratch.py:debug", repo_root, overrides)
  assert_runs_end_to_end(settings, tmp_path)


@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", ["scienceworld", "textworld_express"])
def test_the_configs_of_java_worlds_run_end_to_end(repo_root, tmp_path, name):
  path = {"scienceworld": "scienceworld_scratch"}.get(name, name)
  settings = settings_of(f"configs/{path}.py:debug", repo_root)
  try:
    settings.env.holder()
  except (ModuleNotFoundError, FileNotFoundError) as error:
    pytest.skip(str(error))
  assert_runs_end_to_end(settings, tmp_path)


@pytest.mark.parametrize("name", ["scienceworld_scratch", "textworld_express"])
@pytest.mark.parametrize("arg", ["", "debug", "grpo", "split=test,seed=3,updates=7"])
def test_the_configs_of_java_worlds_are_read_whole(repo_root, name, arg):
  settings = settings_of(f"configs/{name}.py:{arg}", repo_root)
  assert settings.eval.split == ("test" if "test" in arg else "dev")
  assert settings.train.review == ("grpo" not in arg)
  assert settings.env.max_turns == (6 if arg == "debug" else settings.env.max_turns)
  assert not settings.cold_start.drills


@pytest.fixture
def alfworld_data(data_dir) -> pathlib.Path:
  """The games, where the engine is installed; the reason why not otherwise."""
  pytest.importorskip("alfworld", reason="pip install -e .[alfworld]")
  folder = pathlib.Path(data_dir) / "alfworld"
  if not folder.is_dir():
    pytest.skip(f"no ALFWorld games at {folder}; set SKILLJAX_DATA")
  return folder
