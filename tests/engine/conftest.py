"""A small random model and engines over it, built once per settings."""

import dataclasses

import jax
import numpy as np
import pytest

from skilljax.engine import engine as engine_lib
from skilljax.models import transformer
from tests.engine.driver import CONFIG, SETTINGS, STOP, Episode


@pytest.fixture(scope="session")
def params():
  """Random weights, scaled up until context matters and distributions are not flat."""
  weights = transformer.init_params(jax.random.key(0), CONFIG)
  layers = {
    name: leaf if name.endswith("norm") else leaf * 6.0
    for name, leaf in weights["layers"].items()
  }
  return {**weights, "layers": layers, "head": weights["head"] * 20.0}


@pytest.fixture(scope="session")
def make_engine(params):
  """settings overrides -> a warm engine with nothing open; one per overrides."""
  built = {}

  def make(stop_ids=(STOP,), **overrides):
    settings = dataclasses.replace(SETTINGS, **overrides)
    key = (settings, stop_ids)
    if key not in built:
      built[key] = engine_lib.DecodeEngine(
        CONFIG, settings=settings, root_key=jax.random.key(7), stop_ids=stop_ids
      )
      built[key].publish(params, 0)
      built[key].warmup()
    built[key].reset_stats()
    assert built[key].num_free == settings.num_slots, "an earlier test left one open"
    return built[key]

  return make


@pytest.fixture(scope="session")
def episodes():
  """Six episodes of three turns with mixed lengths, temperatures and token limits."""
  rng = np.random.default_rng(3)

  def context(size):
    return rng.integers(0, STOP, size).astype(np.int32)

  return [
    Episode(
      number=number,
      contexts=(context(3 + 4 * number), context(5), context(1 + number % 3)),
      max_new=(3 + number, 8, 1 + 2 * number),
      temperature=(1.0, 0.7, 1.5)[number % 3],
    )
    for number in range(6)
  ]
