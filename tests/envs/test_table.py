"""The table of environments, its errors, and that none of it needs JAX."""

import functools
import os
import pickle
import subprocess
import sys

import pytest

from skilljax.envs import alfworld, household, one_scope, table
from skilljax.types import Task


def test_unknown_name_lists_the_known_ones():
  with pytest.raises(
    ValueError, match=r"'alfwold' is unknown; known: alfworld, appworld, bfcl, household"
  ):
    table.make_env("alfwold", None)


def test_unknown_settings_name_their_config_key():
  with pytest.raises(ValueError, match=r"env\.max_turn .*known: data_dir, .*max_turns"):
    table.make_settings("alfworld", {"max_turn": 3})
  with pytest.raises(ValueError, match=r"max_turns=0 must be >= 1 \(config key env"):
    table.make_settings("alfworld", {"max_turns": 0})


def test_settings_of_another_environment_are_refused():
  settings = table.make_settings("household", {})
  with pytest.raises(
    ValueError, match="must be a AlfworldSettings, got HouseholdSettings"
  ):
    table.make_source("alfworld", settings)


def test_the_table_builds_what_it_says():
  settings = table.make_settings("household", {})
  env = table.make_env("household", settings)
  source = table.make_source("household", settings)
  assert isinstance(env, household.HouseholdEnv)
  assert env.reset(source.tasks("train")[0]).goal


def test_the_factory_of_a_pool_is_picklable():
  settings = table.make_settings("alfworld", {"max_turns": 7})
  factory = functools.partial(table.make_env, "alfworld", settings)
  assert pickle.loads(pickle.dumps(factory)).args == ("alfworld", settings)
  assert isinstance(settings, alfworld.AlfworldSettings)


def test_nothing_under_envs_imports_jax():
  code = (
    "import importlib, pkgutil, sys, skilljax.envs as package\n"
    "found = pkgutil.walk_packages(package.__path__, 'skilljax.envs.')\n"
    "names = [module.name for module in found]\n"
    "assert 'skilljax.envs.pool.process' in names, names\n"
    "[importlib.import_module(name) for name in names]\n"
    "heavy = {'jax', 'jaxlib', 'flax', 'torch', 'tensorflow', 'textworld'}\n"
    "print(sorted(heavy & set(sys.modules)))\n"
  )
  paths = os.pathsep.join(path for path in sys.path if path)
  done = subprocess.run(
    [sys.executable, "-c", code],
    env={**os.environ, "PYTHONPATH": paths},
    capture_output=True,
    text=True,
    check=True,
  )
  assert done.stdout.strip() == "[]"


def test_probes_are_never_the_task_itself_not_even_from_another_split():
  train = [Task("x", "train", "x", "f", f"t{i}") for i in range(4)]
  asked = Task("x", "all", "x", "f", "t1")
  assert {t.name for t in one_scope.sample_probes(asked, train, 3, 0)} == {
    "t0",
    "t2",
    "t3",
  }
  with pytest.raises(ValueError, match=r"num=4 must be in \[0, 3\]"):
    one_scope.sample_probes(asked, train, 4, 0)
