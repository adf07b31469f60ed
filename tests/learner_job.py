"""One optimiser step on a mesh, and its checkpoint: a process of a job of several hosts.

  python -m tests.learner_job HOSTS DATA,FSDP,TENSOR POLICY FOLDER

The first call makes step 1, a later one restores the newest checkpoint and makes the
next; each saves, and exports the parameters to FOLDER/policy.
"""

import pathlib
import sys

import numpy as np

from skilljax import hosts, sharding
from skilljax.checkpoint import Checkpointer
from skilljax.learner import Learner, LossSettings
from skilljax.models.config import ModelConfig
from skilljax.models.hf_io import load_checkpoint, read_config, save_checkpoint
from skilljax.models.params import param_specs
from skilljax.optimizer import LearnerSettings
from skilljax.rl.batch import TokenBatch

MODEL = ModelConfig(
  vocab_size=96,
  d_model=32,
  num_layers=3,
  num_heads=4,
  num_kv_heads=4,
  head_dim=8,
  d_ff=64,
  qk_norm=True,
)
ROWS, LENGTH = 8, 48


def batch(step: int) -> TokenBatch:
  """Two micro-batches of rows with two sequences each; the same on every host."""
  rng = np.random.default_rng(step)
  shape = (2, ROWS, LENGTH)
  half = LENGTH // 2
  segment = np.broadcast_to(np.repeat([1, 2], half), shape).astype(np.int32)
  rows = np.arange(2 * ROWS).reshape(2, ROWS, 1)
  positions = np.broadcast_to(np.tile(np.arange(half), 2), shape).astype(np.int32)
  mask = (rng.random(shape) < 0.5) & (positions > 0)
  return TokenBatch(
    tokens=rng.integers(0, MODEL.vocab_size, shape).astype(np.int32),
    positions=positions,
    segment_ids=segment,
    loss_mask=mask.astype(np.float32),
    role=mask.astype(np.int8),
    advantages=(rng.normal(size=shape) * mask).astype(np.float32),
    behavior_logprobs=((-4 - rng.random(shape)) * mask).astype(np.float32),
    ref_logprobs=((-4 - rng.random(shape)) * mask).astype(np.float32),
    sequence_id=(2 * rows + segment - 1).astype(np.int32),
  )


def main(place: str, sizes: str, policy: str, folder: str) -> None:
  """One host's part of the step."""
  hosts.connect(place)
  data, fsdp, tensor = map(int, sizes.split(","))
  mesh = sharding.make_mesh(data=data, fsdp=fsdp, tensor=tensor)
  places = sharding.param_shardings(param_specs(read_config(policy)), mesh)
  model, params = load_checkpoint(policy, shardings=places)
  settings = LearnerSettings(learning_rate=1e-3, row_len=LENGTH, rows_per_batch=ROWS)
  learner = Learner(model, settings, LossSettings(), mesh=mesh)
  state = learner.init(params)
  checkpointer = Checkpointer(pathlib.Path(folder) / "checkpoints", keep=None)
  step = checkpointer.latest_step() or 0
  if step:
    state, _ = checkpointer.restore(state)
  state, _ = learner.update(state, batch(step), num_sequences=4 * ROWS)
  checkpointer.save(step + 1, state, {"mesh": sizes})
  checkpointer.close()
  save_checkpoint(
    pathlib.Path(folder) / "policy", model, state.params, max_shard_bytes=20_000
  )
  hosts.leave()


if __name__ == "__main__":
  main(*sys.argv[1:])
