"""Memory before it is spent: what a config holds on a device, against what is there.

Purpose: stop a run that cannot fit before it compiles, with the config key that decides.
The numbers are an estimate from shapes (docs/architecture.md); measured peaks are in
`perf/peak_rss_bytes`. Must not know about: text, environments.
"""

import os
from collections.abc import Mapping

import jax

from skilljax.models.config import ModelConfig

FLOAT_BYTES = 4


def memory_plan(
  model: ModelConfig,
  *,
  num_slots: int,
  max_len: int,
  rows_per_batch: int,
  row_len: int,
  logprob_chunk: int,
) -> dict[str, int]:
  """Bytes by purpose, with the config keys that decide in the name.

  Args:
    model: the decoder; float32 everywhere.
    num_slots, max_len: of the engine's KV cache.
    rows_per_batch, row_len, logprob_chunk: of the learner's micro-batch.
  """
  tokens = rows_per_batch * row_len
  width = model.num_heads * model.head_dim
  per_layer = tokens * (6 * model.d_model + 3 * model.d_ff + 4 * width)
  scores = 2 * rows_per_batch * model.num_heads * row_len**2
  kept = per_layer + scores if model.remat == "none" else tokens * model.d_model
  live = 0 if model.remat == "none" else per_layer + scores
  return {
    # Parameters twice (learner, sampler), reference, gradient (twice), two moments.
    "parameters and optimiser (model.*)": 7 * FLOAT_BYTES * model.num_params,
    "KV cache (engine.num_slots, engine.max_len)": 2
    * FLOAT_BYTES
    * model.num_layers
    * num_slots
    * max_len
    * model.num_kv_heads
    * model.head_dim,
    "activations (learner.rows_per_batch, learner.row_len)": FLOAT_BYTES
    * (model.num_layers * kept + live),
    "logits (learner.logprob_chunk)": 3
    * FLOAT_BYTES
    * rows_per_batch
    * min(logprob_chunk, row_len)
    * model.vocab_size,
  }


def available_bytes() -> int:
  """Memory of the first device; of the host where the device shares it."""
  stats = jax.local_devices()[0].memory_stats()
  if stats and "bytes_limit" in stats:
    return int(stats["bytes_limit"])
  return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def check_fits(plan: Mapping[str, int], available: int) -> None:
  """Raises a ValueError with the whole table if the plan needs more than there is."""
  total = sum(plan.values())
  if total <= available:
    return
  table = "\n".join(f"  {size / 2**30:9.2f} GiB  {name}" for name, size in plan.items())
  raise ValueError(
    f"this config needs about {total / 2**30:.2f} GiB, the device has "
    f"{available / 2**30:.2f} GiB:\n{table}\nLower the keys of the largest row."
  )
