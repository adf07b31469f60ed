"""A run on eight virtual devices is the run on one."""

import json
import os
import pathlib
import subprocess
import sys
import textwrap

import numpy as np
import pytest
from safetensors.numpy import load_file

from skilljax import assembly
from skilljax.config import ConfigError
from skilljax.runs import cold_start
from skilljax.sharding import MeshSettings
from tests.test_runs import HOUSEHOLD, settings_of

RUN = """
  import dataclasses, sys
  from skilljax import config
  from skilljax.runs import training
  from skilljax.settings import read_settings
  from skilljax.sharding import MeshSettings

  policy, folder, updates, *sizes = sys.argv[1:]
  learner, engine = (
    MeshSettings(**dict(zip(("data", "fsdp", "tensor"), map(int, text))))
    for text in sizes
  )
  settings = read_settings(config.load("configs/household.py:debug"))
  settings = dataclasses.replace(settings, mesh=learner, engine_mesh=engine)
  settings = dataclasses.replace(
    settings,
    engine=dataclasses.replace(settings.engine, num_lanes=1, num_slots=8),
    learner=dataclasses.replace(settings.learner, rows_per_batch=4),
    train=dataclasses.replace(settings.train, num_updates=int(updates)),
  )
  training.run(settings, policy, folder)
"""


def train(repo_root, policy, folder, updates, *sizes):
  subprocess.run(
    [sys.executable, "-c", textwrap.dedent(RUN), policy, folder, updates, *sizes],
    cwd=repo_root,
    env={**os.environ, "JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": "8"},
    check=True,
    timeout=500,
  )
  return [
    json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()
  ]


@pytest.fixture(scope="module")
def policy(repo_root, tmp_path_factory) -> pathlib.Path:
  settings = settings_of(
    HOUSEHOLD, repo_root, {"model.num_heads": 4, "model.num_kv_heads": 2}
  )
  return cold_start.run(settings, tmp_path_factory.mktemp("cold"))


@pytest.mark.timeout(900)
def test_training_on_two_meshes_equals_training_on_one_device(
  repo_root, policy, tmp_path
):
  one = train(repo_root, policy, tmp_path / "one", "2", "111", "111")
  # Learner and sampler on different meshes, and a checkpoint that changes both.
  train(repo_root, policy, tmp_path / "eight", "1", "222", "142")
  rows = train(repo_root, policy, tmp_path / "eight", "2", "141", "212")
  assert len(rows) == len(one) == 2
  for row, expected in zip(rows, one, strict=True):
    assert row.keys() == expected.keys()
    for key, value in expected.items():
      np.testing.assert_allclose(row[key], value, rtol=1e-4, atol=1e-5, err_msg=key)
  files = [tmp_path / name / "edits.jsonl" for name in ("one", "eight")]
  assert files[0].read_bytes() == files[1].read_bytes()
  policies = [
    load_file(tmp_path / name / "policy" / "model.safetensors")
    for name in ("one", "eight")
  ]
  for name, tensor in policies[0].items():
    np.testing.assert_allclose(policies[1][name], tensor, atol=1e-5, err_msg=name)


@pytest.mark.parametrize(
  ("section", "sizes", "message"),
  [
    ("mesh", {"fsdp": 3}, r"needs 3 devices, there (are|is)"),
    ("engine_mesh", {"data": 64}, r"needs 64 devices"),
  ],
)
def test_a_mesh_larger_than_the_machine_is_a_config_error(section, sizes, message):
  with pytest.raises(ConfigError, match=message):
    assembly.make_mesh(MeshSettings(**sizes))


def test_one_device_needs_no_mesh():
  assert assembly.make_mesh(MeshSettings()) is None
