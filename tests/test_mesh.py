"""A run on eight virtual devices is the run on one."""

import json
import pathlib

import numpy as np
import pytest
from safetensors.numpy import load_file

from skilljax import assembly
from skilljax.config import ConfigError
from skilljax.sharding import MeshSettings
from tests import one_device

MESH = "data=2,fsdp=2,tensor=2"
OTHER_MESH = "data=1,fsdp=4,tensor=1,slots=2,copies=1,own=2"


@pytest.fixture(scope="module")
def policy(made_once, repo_root) -> pathlib.Path:
  return one_device.policy(made_once, repo_root)


@pytest.mark.timeout(900)
def test_training_on_two_meshes_equals_training_on_one_device(
  made_once, repo_root, policy, tmp_path
):
  alone = one_device.run(made_once, repo_root, updates=2)
  one = [json.loads(line) for line in (alone / "metrics.jsonl").open()]
  # Learner and sampler on different meshes; then the run goes on with both changed, and
  # with all else that says only where and how fast.
  eight = tmp_path / "eight"
  rows = []
  for variant in (
    f"{MESH},slots=1,copies=4,own=2,updates=1",
    f"{OTHER_MESH},updates=2,other",
  ):
    rows = one_device.train(repo_root, policy, eight, variant, devices=8)
  assert len(rows) == len(one) == 2
  for row, expected in zip(rows, one, strict=True):
    assert row.keys() == expected.keys()
    for key, value in expected.items():
      np.testing.assert_allclose(row[key], value, rtol=1e-4, atol=1e-5, err_msg=key)
  files = [folder / "edits.jsonl" for folder in (alone, eight)]
  assert files[0].read_bytes() == files[1].read_bytes()
  policies = [
    load_file(folder / "policy" / "model.safetensors") for folder in (alone, eight)
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
