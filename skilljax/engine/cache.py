"""The KV cache on the device: its size, and rows lent to an extend call.

Purpose: an extend call works on a few rows; it must neither run all slots nor copy the
whole cache, so its rows are gathered up to the attention length and put back in place.
Must not know about: requests, sampling, host bookkeeping, nor the layout of the cache,
of which only this is assumed: slots lead every array, one other axis counts positions.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from skilljax.models import transformer
from skilljax.models.config import ModelConfig

Cache = Any  # the pytree of `transformer.init_cache`


def shapes(config: ModelConfig, *, num_slots: int, max_len: int) -> Cache:
  """The cache of all slots as shapes and types."""
  return jax.eval_shape(lambda: transformer.init_cache(config, num_slots, max_len))


def cache_bytes(config: ModelConfig, *, num_slots: int, max_len: int) -> int:
  """Bytes of the KV cache of all slots, computed without allocating it."""
  leaves = jax.tree.leaves(shapes(config, num_slots=num_slots, max_len=max_len))
  return sum(leaf.size * leaf.dtype.itemsize for leaf in leaves)


def allocate(
  config: ModelConfig, *, num_slots: int, max_len: int, shardings: Any = None
) -> Cache:
  """A zeroed cache whose leaves own their buffers, as donation needs."""

  def make() -> Cache:
    return transformer.init_cache(config, num_slots, max_len)

  if shardings is None:
    return jax.tree.map(jnp.copy, make())
  return jax.jit(make, out_shardings=shardings)()


def position_axes(config: ModelConfig) -> Cache:
  """For each array of the cache, the axis that counts positions."""
  short, long = (
    jax.eval_shape(lambda size=size: transformer.init_cache(config, 1, size))
    for size in (1, 2)
  )

  def differing(a: jax.ShapeDtypeStruct, b: jax.ShapeDtypeStruct) -> int:
    return next(
      i for i, (m, n) in enumerate(zip(a.shape, b.shape, strict=True)) if m != n
    )

  return jax.tree.map(differing, short, long)


def gather_rows(
  cache: Cache, rows: jax.Array, attend_len: int, config: ModelConfig
) -> Cache:
  """Copies the first `attend_len` positions of some rows.

  Args:
    cache: arrays with N slots and M positions.
    rows: [R] int32 in [0, N]; N marks a padding row (its content does not matter).
    attend_len: positions to copy, static.
    config: static.
  Returns:
    the same pytree with R rows and `attend_len` positions.
  """

  def gather(leaf: jax.Array, axis: int) -> jax.Array:
    return lax.slice_in_dim(leaf, 0, attend_len, axis=axis).at[rows].get(mode="clip")

  return jax.tree.map(gather, cache, position_axes(config))


def put_rows(cache: Cache, part: Cache, rows: jax.Array, config: ModelConfig) -> Cache:
  """Writes gathered rows back; in place where `cache` is donated.

  Args:
    cache: arrays with N slots and M positions.
    part: what `gather_rows` returned, updated.
    rows: [R] int32, unique below N; rows equal to N are dropped.
    config: static.
  Returns:
    the cache.
  """

  def put(leaf: jax.Array, piece: jax.Array, axis: int) -> jax.Array:
    before = (slice(None),) * (axis - 1)
    return leaf.at[(rows, *before, slice(piece.shape[axis]))].set(piece, mode="drop")

  return jax.tree.map(put, cache, part, position_axes(config))
