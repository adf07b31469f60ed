"""Adapters, and weights in bfloat16: on a mesh and over hosts as on one device."""

import dataclasses
import os
import socket
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from skilljax.learner import Learner, LossSettings
from tests import types_job


def job(repo_root, kind, folder, *, num, devices, mesh, sampler):
  """Runs `tests.types_job` as `num` hosts of `devices` devices: two steps more."""
  with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    address = f"127.0.0.1:{free.getsockname()[1]}"
  places = [f"{address},{num},{i}" for i in range(num)] if num > 1 else [""]
  running = [
    subprocess.Popen(
      [sys.executable, "-m", "tests.types_job", place, mesh, sampler, kind, folder],
      cwd=repo_root,
      env={**os.environ, "JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": str(devices)},
      stderr=subprocess.PIPE,
      text=True,
    )
    for place in places
  ]
  texts = [host.communicate(timeout=500)[1] for host in running]
  assert not any(host.returncode for host in running), texts


def alone(kind):
  """What there is on one device before the first step and after each of two."""
  model = types_job.KINDS[kind]
  learner = types_job.make_learner(model, None)
  params = types_job.begin(model)
  state, at = learner.init(params), types_job.places(model, None)
  results = [types_job.result(model, params, at)]
  for step in range(2):
    state = types_job.one_step(learner, state, step)
    results.append(types_job.result(model, state.params, at))
  return results


TWO_HOSTS = {"num": 2, "devices": 2, "mesh": "1,2,2", "sampler": "1,1,2"}
EIGHT_DEVICES = {"num": 1, "devices": 8, "mesh": "2,2,2", "sampler": "2,1,4"}


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
  ("kind", "shape"),
  [
    ("adapters", TWO_HOSTS),
    pytest.param("adapters", EIGHT_DEVICES, marks=pytest.mark.slow),
    pytest.param("bfloat16", TWO_HOSTS, marks=pytest.mark.slow),
  ],
  ids=["adapters-2x2", "adapters-1x8", "bfloat16-2x2"],
)
def test_steps_are_those_of_one_device(repo_root, tmp_path, kind, shape):
  before, *steps = alone(kind)
  job(repo_root, kind, tmp_path, **shape)
  files = sorted(tmp_path.glob("*.npz"))
  assert len(files) == 2 * shape["num"]
  for file in files:
    found, wanted = dict(np.load(file)), steps[int(file.stem.partition("_")[0]) - 1]
    assert found.keys() == wanted.keys()
    for key, array in wanted.items():
      moved = float(np.abs(array - before[key]).mean())
      # A norm of 1 in bfloat16 is not moved by a step of 1e-3.
      if key.startswith("['trained']") and not key.endswith("norm']"):
        assert moved > 5e-4, key
      if kind == "bfloat16":
        # Roundings of other partial sums turn small gradients, and so Adam's steps.
        assert np.abs(found[key] - array).mean() <= 0.1 * moved, key
        continue
      # A sampler's matrices are merged and then rounded to the type below the adapters.
      rtol = 2**-7 if key.startswith("['sampler']") else 0.0
      np.testing.assert_allclose(found[key], array, rtol=rtol, atol=1e-5, err_msg=key)


@pytest.mark.parametrize("moments", ["float32", "bfloat16"])
def test_moments_have_their_own_type_whatever_the_weights_have(moments):
  settings = dataclasses.replace(types_job.SETTINGS, moment_dtype=moments)
  learner = Learner(types_job.KINDS["bfloat16"], settings, LossSettings())
  state = jax.eval_shape(learner.init, types_job.begin(learner.model))
  kinds = {leaf.dtype for leaf in jax.tree.leaves(state.opt_state) if leaf.ndim}
  assert kinds == {jnp.dtype(moments)}
