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
from tests.test_runs import settings_of

CONFIG = "tests/multihost_config.py"
MESH = "data=2,fsdp=2,tensor=2"
OTHER_MESH = "data=1,fsdp=4,tensor=1,slots=2,copies=1,own=2"
RUN = """
  import sys
  from skilljax import config
  from skilljax.runs import training
  from skilljax.settings import read_settings

  policy, folder, variant = sys.argv[1:]
  settings = read_settings(config.load(f"tests/multihost_config.py:{variant}"))
  training.run(settings, policy, folder)
"""


def train(repo_root, policy, folder, variant):
  subprocess.run(
    [sys.executable, "-c", textwrap.dedent(RUN), policy, folder, variant],
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
  settings = settings_of(f"{CONFIG}:cold", repo_root)
  return cold_start.run(settings, tmp_path_factory.mktemp("cold"))


@pytest.mark.timeout(900)
def test_training_on_two_meshes_equals_training_on_one_device(
  repo_root, policy, tmp_path
):
  one = train(repo_root, policy, tmp_path / "one", "updates=2")
  # Learner and sampler on different meshes; then the run goes on with both changed, and
  # with all else that says only where and how fast.
  eight = tmp_path / "eight"
  train(repo_root, policy, eight, f"{MESH},slots=1,copies=4,own=2,updates=1")
  rows = train(repo_root, policy, eight, f"{OTHER_MESH},updates=2,other")
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
  moved = 0.0
  before = load_file(policy / "model.safetensors")
  for name, tensor in policies[0].items():
    moved = max(moved, float(np.abs(tensor - before[name]).max()))
    np.testing.assert_allclose(policies[1][name], tensor, atol=1e-5, err_msg=name)
  assert moved > 3e-4  # by thirty times the tolerance


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
