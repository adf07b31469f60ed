"""Memory before it is spent: what a config holds on a device, against what is there.

Purpose: stop a run that cannot fit before it compiles, with the config key that decides.
The numbers are an estimate from shapes (docs/architecture.md); measured peaks are in
`perf/peak_rss_bytes`. Must not know about: text, environments.
"""

import dataclasses
import os
from collections.abc import Mapping

import jax

from skilljax.models.config import ModelConfig
from skilljax.sharding import ONE_DEVICE, MeshSettings

_BYTES = {"float32": 4, "bfloat16": 2}
_BLOCK = 128  # queries of packed attention whose scores are there at once


def memory_plan(
  model: ModelConfig,
  *,
  num_slots: int,
  max_len: int,
  rows_per_batch: int,
  row_len: int,
  logprob_chunk: int,
  mesh: MeshSettings = ONE_DEVICE,
  engine_mesh: MeshSettings = ONE_DEVICE,
  param_dtype: str = "float32",
  moment_dtype: str = "float32",
) -> dict[str, int]:
  """Bytes a device by purpose, with the config keys that decide in the name.

  Args:
    model: the decoder; its adapters are float32, and alone have gradient and moments.
    num_slots, max_len: of the engine's KV cache.
    rows_per_batch, row_len, logprob_chunk: of the learner's micro-batch.
    mesh, engine_mesh: of the learner and of the sampler.
    param_dtype, moment_dtype: of parameters and of the optimiser's moments.
  """
  compute, param, moment = (
    _BYTES[name] for name in (model.dtype, param_dtype, moment_dtype)
  )
  parts = mesh.fsdp * mesh.tensor
  base = dataclasses.replace(model, lora=None).num_params
  adapters = model.num_params - base
  held = 2 * param * base + 4 * adapters  # the policy and its KL reference
  trained, gradient = (adapters, 4) if adapters else (base, param)

  rows = -(-rows_per_batch // (mesh.data * mesh.fsdp))
  # Embedding and head, gathered over fsdp, or their gradients before they are split.
  ends = (1 if model.tie_embeddings else 2) * model.vocab_size * model.d_model
  gathered = 4 * ends // mesh.tensor if mesh.fsdp > 1 else 0
  cache = model.num_layers * num_slots * max_len * model.num_kv_heads * model.head_dim
  return {
    "policy, reference, moments (model.*, learner.moment_dtype, mesh)": (
      held + 2 * moment * trained
    )
    // parts,
    "sampler's parameters (model.*, engine_mesh.tensor)": compute
    * base
    // engine_mesh.tensor,
    "KV cache (engine.num_slots, engine.max_len)": 2
    * compute
    * cache
    // engine_mesh.num_devices,
    # The sum so far, and that of the micro-batch.
    "two gradients (model.*, mesh)": 2 * gradient * trained // parts,
    "activations (learner.rows_per_batch, learner.row_len)": _activations(
      model, rows, row_len, mesh.tensor
    ),
    "logits, embedding and head (learner.logprob_chunk, mesh.tensor)": gathered
    + 12 * rows * min(logprob_chunk, row_len) * model.vocab_size // mesh.tensor,
  }


def _activations(model: ModelConfig, rows: int, row_len: int, tensor: int) -> int:
  """Bytes that a backward pass keeps of all layers, and holds of one."""
  size, tokens = _BYTES[model.dtype], rows * row_len
  attended = model.num_heads * model.head_dim // tensor
  per_layer = size * tokens * (6 * model.d_model + 3 * model.d_ff // tensor)
  per_layer += size * tokens * 4 * attended
  keys = row_len if model.remat == "none" else _BLOCK
  whole = per_layer + 8 * rows * row_len * keys * model.num_heads // tensor
  if model.remat == "none":
    return model.num_layers * whole
  kept = model.d_model + (attended if model.remat == "attention" else 0)
  return model.num_layers * size * tokens * kept + whole


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
