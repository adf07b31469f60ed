"""The small catalogue, derived once per session."""

import importlib.util
import json
import lzma

import pytest

from skilljax.envs.webshop import WebshopEnv, WebshopSettings, WebshopSource, goal_list


@pytest.fixture(scope="session")
def webshop_data(data_dir):
  folder = data_dir / "webshop"
  if not (folder / "items_shuffle_1000.json").is_file():
    pytest.skip(f"no WebShop data at {folder}; set SKILLJAX_DATA")
  for package in ("rapidfuzz", "textblob"):
    if importlib.util.find_spec(package) is None:
      pytest.skip(f"no {package}: pip install 'skilljax[webshop]'")
  return folder


@pytest.fixture(scope="session")
def settings(webshop_data, tmp_path_factory):
  cache = tmp_path_factory.mktemp("webshop")
  return WebshopSettings(data_dir=str(webshop_data), cache_dir=str(cache))


@pytest.fixture(scope="session")
def shop(settings):
  """(catalogue, goal list)."""
  return goal_list.open_data(settings)


@pytest.fixture(scope="session")
def source(settings):
  return WebshopSource(settings)


@pytest.fixture(scope="session")
def env(settings):
  return WebshopEnv(settings)


@pytest.fixture(scope="session")
def rollouts(webshop_data):
  with lzma.open(webshop_data / "reference_rollouts.jsonl.xz", "rt") as lines:
    return [json.loads(line) for line in lines]
