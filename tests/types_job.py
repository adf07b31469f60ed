"""Two optimiser steps of a policy that is not all float32, and what a sampler gets.

  python -m tests.types_job HOSTS MESH SAMPLER_MESH KIND FOLDER

HOSTS as `--hosts` has it, or nothing; a mesh is DATA,FSDP,TENSOR. Each step begins with
the newest checkpoint, where there is one, and ends with another. After each, every host
writes FOLDER/<step>_<host>.npz.
"""

import dataclasses
import pathlib
import sys

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from skilljax import hosts, sharding
from skilljax.checkpoint import Checkpointer
from skilljax.engine.places import Places
from skilljax.learner import Learner, LossSettings, TrainState
from skilljax.models import lora
from skilljax.models.config import ModelConfig
from skilljax.models.params import Params, init_params
from skilljax.optimizer import LearnerSettings
from tests import learner_job

# Adapters in float32 on weights in bfloat16, computed in float32; and all in bfloat16.
KINDS = {
  "adapters": dataclasses.replace(
    learner_job.MODEL, lora=lora.LoraSettings(rank=4, alpha=8.0)
  ),
  "bfloat16": dataclasses.replace(learner_job.MODEL, dtype="bfloat16", remat="full"),
}
SETTINGS = LearnerSettings(
  learning_rate=1e-3, row_len=learner_job.LENGTH, rows_per_batch=learner_job.ROWS
)


def begin(model: ModelConfig) -> Params:
  """Weights in bfloat16, and adapters that change something."""
  params = init_params(jax.random.key(0), model)
  trained, frozen = lora.split(params)
  if not frozen:
    return jax.tree.map(lambda a: a.astype(jnp.bfloat16), params)
  frozen = jax.tree.map(lambda a: a.astype(jnp.bfloat16), frozen)
  return {**frozen, **jax.tree.map(lambda a: a + 0.02, trained)}


def make_learner(model: ModelConfig, mesh: Mesh | None) -> Learner:
  return Learner(model, SETTINGS, LossSettings(), mesh)


def one_step(learner: Learner, state: TrainState, step: int) -> TrainState:
  """The step after `step` of them."""
  state, _ = learner.update(
    state, learner_job.batch(step), num_sequences=4 * learner_job.ROWS
  )
  return state


def places(model: ModelConfig, mesh: Mesh | None) -> Places:
  """Of a sampler."""
  if mesh is None:
    return Places(dtype=model.dtype, adapters=model.lora)
  return Places.on(mesh, model, 8)


def result(model: ModelConfig, params: Params, at: Places) -> dict[str, np.ndarray]:
  """Name -> float32 array, of what was trained and of what a sampler has then."""
  trained, _ = lora.split(params)
  trees = {"trained": trained, "sampler": at.decode_params(params)}
  return {
    jax.tree_util.keystr(path): sharding.to_host(leaf).astype(np.float32)
    for path, leaf in jax.tree_util.tree_leaves_with_path(trees)
  }


def main(place: str, sizes: str, sampler_sizes: str, kind: str, folder: str) -> None:
  """One host's part."""
  hosts.connect(place)
  names = ("data", "fsdp", "tensor")
  mesh, own = (
    sharding.make_mesh(
      **dict(zip(names, map(int, text.split(",")), strict=True)), devices=devices
    )
    for text, devices in ((sizes, None), (sampler_sizes, jax.local_devices()))
  )
  model, out = KINDS[kind], pathlib.Path(folder)
  learner, at = make_learner(model, mesh), places(model, own)
  checkpointer = Checkpointer(out / "checkpoints")
  for _ in range(2):
    state = learner.init(begin(model))
    step = checkpointer.latest_step() or 0
    if step:
      state, _ = checkpointer.restore(state)
    state = one_step(learner, state, step)
    checkpointer.save(step + 1, state, {})
    checkpointer.wait()
    arrays = result(model, state.params, at)
    np.savez(out / f"{step + 1}_{hosts.index()}.npz", **arrays)
  checkpointer.close()
  hosts.leave()


if __name__ == "__main__":
  main(*sys.argv[1:])
