"""A learner's state saved by some hosts is restored by other hosts on another mesh."""

import os
import shutil
import socket
import subprocess
import sys

import jax
import numpy as np
import pytest

from skilljax.models.hf_io import load_checkpoint, save_checkpoint
from skilljax.models.params import init_params
from tests.learner_job import MODEL


def job(repo_root, policy, folder, *, num=1, devices=1, mesh="1,1,1"):
  """Runs `tests.learner_job` as `num` hosts of `devices` devices; one more step."""
  with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    address = f"127.0.0.1:{free.getsockname()[1]}"
  places = [f"{address},{num},{i}" for i in range(num)] if num > 1 else [""]
  running = [
    subprocess.Popen(
      [sys.executable, "-m", "tests.learner_job", place, mesh, policy, folder],
      cwd=repo_root,
      env={**os.environ, "JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": str(devices)},
      stderr=subprocess.PIPE,
      text=True,
    )
    for place in places
  ]
  texts = [host.communicate(timeout=240)[1] for host in running]
  assert not any(host.returncode for host in running), texts
  _, params = load_checkpoint(folder / "policy")
  return params


def close(got, wanted):
  for path, leaf in jax.tree_util.tree_leaves_with_path(got):
    other = dict(jax.tree_util.tree_leaves_with_path(wanted))[path]
    np.testing.assert_allclose(leaf, other, atol=1e-5, err_msg=jax.tree_util.keystr(path))


@pytest.fixture(scope="module")
def policy(tmp_path_factory):
  folder = tmp_path_factory.mktemp("policy")
  params = init_params(jax.random.key(0), MODEL)
  save_checkpoint(folder, MODEL, params, max_shard_bytes=20_000)
  assert len(list(folder.glob("*.safetensors"))) > 2  # it is read from several files
  return folder


@pytest.fixture(scope="module")
def alone(repo_root, policy, tmp_path_factory):
  """The parameters after one step and after two on one device."""
  folder = tmp_path_factory.mktemp("alone")
  return [job(repo_root, policy, folder) for _ in range(2)]


TWO_BY_FOUR = {"num": 2, "devices": 4, "mesh": "2,2,2"}


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
  ("saved_by", "restored_by"),
  [
    (
      {"num": 2, "devices": 2, "mesh": "1,2,2"},
      [{"num": 1, "devices": 4, "mesh": "2,1,2"}],
    ),
    pytest.param(
      TWO_BY_FOUR,
      [
        TWO_BY_FOUR,
        {"num": 2, "devices": 4, "mesh": "1,8,1"},
        {"num": 1, "devices": 8, "mesh": "2,1,4"},
        {"num": 1, "devices": 4, "mesh": "1,4,1"},
        {"num": 4, "devices": 2, "mesh": "1,2,4"},
      ],
      marks=pytest.mark.slow,  # fifteen processes
    ),
  ],
  ids=["2x2-to-1x4", "2x4-to-all"],
)
def test_the_next_step_on_other_hosts_is_the_one_of_a_single_device(
  repo_root, policy, alone, tmp_path, saved_by, restored_by
):
  moved = max(
    float(np.abs(np.asarray(a) - np.asarray(b)).max())
    for a, b in zip(*map(jax.tree.leaves, alone), strict=True)
  )
  assert moved > 5e-4  # a step moves parameters by much more than the tolerance
  first = tmp_path / "first"
  close(job(repo_root, policy, first, **saved_by), alone[0])
  for number, shape in enumerate(restored_by):
    again = tmp_path / str(number)
    shutil.copytree(first, again)
    close(job(repo_root, policy, again, **shape), alone[1])
