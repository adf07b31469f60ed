"""Grouped-query attention, packed and cached.

Purpose: the two ways a block may attend: over packed rows (learner) and over a KV cache
(sampler). Both take heads already projected, normed and rotated.
Must not know about: parameters, layers, sampling.

Key/value heads are never repeated: the N query heads are viewed as K groups of G = N/K.
Scores and softmax are float32 whatever the compute type.
"""

import functools
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp

from skilljax.models.config import ModelConfig

# Keys [B, K, H, Tmax], values [B, K, Tmax, H]: each is the right operand of its product
# as it lies in memory. Decoding 64 rows of 768 tokens on CPU is twice as fast as with
# keys in the values' order. Only this file knows the order.
KVCache = tuple[jax.Array, jax.Array]
# Logical names of their axes; `skilljax.sharding` maps them to a mesh.
CACHE_AXES = (
  ("slots", "kv_heads", "head_dim", "positions"),
  ("slots", "kv_heads", "positions", "head_dim"),
)

# Finite, so that a row with nothing to attend to (a padded query) stays finite.
_MASKED = -1e30

# Queries of a packed row are taken in blocks that look only at keys up to their own end:
# half the work, and blocks of scores that fit a processor cache (64..1024 measured).
_QUERY_BLOCK = 128
# Longer rows take blocks in a loop: a program of hundreds of blocks compiles for minutes,
# and the backward pass of a layer would hold the scores of all of them at once. Blocks
# look at keys up to the end of their span, a quarter of the row: 5/8 of the full work.
_MAX_UNROLLED = 16
_NUM_SPANS = 4


def empty_cache(cfg: ModelConfig, batch: int, max_len: int) -> KVCache:
  """One layer's cache of zeros in `cfg.dtype`; every array leads with the row axis."""
  lead = (batch, cfg.num_kv_heads)
  return (
    jnp.zeros((*lead, cfg.head_dim, max_len), cfg.dtype),
    jnp.zeros((*lead, max_len, cfg.head_dim), cfg.dtype),
  )


def cache_length(cache: KVCache) -> int:
  """Tmax, the number of tokens a row can hold."""
  return cache[1].shape[2]


def packed_attention(
  q: jax.Array,
  k: jax.Array,
  v: jax.Array,
  segment_ids: jax.Array,
  window: jax.Array | None = None,
) -> jax.Array:
  """Causal attention inside each segment of packed rows.

  Padding (segment 0) attends to padding only, so real tokens never see it.

  Args:
    q: [B, T, N, H].
    k, v: [B, T, K, H].
    segment_ids: [B, T] int32.
    window: scalar int32, tokens that a token attends to, itself included; 0 = all.
      None = there is none, and no work for it.
  Returns:
    [B, T, N, H] in the type of `q`.
  """
  keys, values = k.transpose(0, 2, 3, 1), v.transpose(0, 2, 1, 3)

  def attend(start, size: int, stop: int) -> jax.Array:
    """Queries start .. start + size - 1, which may be traced, over keys before stop."""
    rows = jax.lax.dynamic_slice_in_dim(q, start, size, axis=1)
    own = jax.lax.dynamic_slice_in_dim(segment_ids, start, size, axis=1)
    distance = start + jnp.arange(size)[:, None] - jnp.arange(stop)[None, :]
    causal = distance >= 0
    if window is not None:
      causal &= (distance < window) | (window == 0)
    same = own[:, :, None] == segment_ids[:, None, :stop]
    bias = _bias(same & causal[None])
    return _grouped(rows, keys[..., :stop], values[:, :, :stop], bias)

  length = q.shape[1]
  num_blocks = -(-length // _QUERY_BLOCK)
  if num_blocks <= _MAX_UNROLLED:
    starts = range(0, length, _QUERY_BLOCK)
    stops = [min(start + _QUERY_BLOCK, length) for start in starts]
    blocks = [attend(a, b - a, b) for a, b in zip(starts, stops, strict=True)]
    return jnp.concatenate(blocks, axis=1)
  return _in_spans(attend, length)


def _in_spans(attend: Callable[..., jax.Array], length: int) -> jax.Array:
  """`attend(start, size, stop)` of all blocks, span by span. [B, length, N, H]."""
  step = -(-length // (_NUM_SPANS * _QUERY_BLOCK)) * _QUERY_BLOCK
  spans = []
  for begin in range(0, length, step):
    end = min(begin + step, length)
    whole = begin + (end - begin) // _QUERY_BLOCK * _QUERY_BLOCK
    if whole > begin:
      one = functools.partial(attend, size=_QUERY_BLOCK, stop=end)
      blocks = jax.lax.map(
        jax.checkpoint(one, prevent_cse=False), jnp.arange(begin, whole, _QUERY_BLOCK)
      )
      blocks = jnp.moveaxis(blocks, 0, 1)  # [B, blocks, size, N, H]
      spans.append(blocks.reshape(blocks.shape[0], -1, *blocks.shape[3:]))
    if end > whole:
      spans.append(attend(whole, end - whole, end))
  return jnp.concatenate(spans, axis=1)


def cached_attention(
  q: jax.Array,
  k: jax.Array,
  v: jax.Array,
  cache: KVCache,
  positions: jax.Array,
  attend_len: int,
  window: int = 0,
) -> tuple[jax.Array, KVCache]:
  """Writes S new tokens a row into the cache, then attends to it.

  A position outside [0, Tmax) marks padding: it is not written, nobody attends to it,
  and its own output is finite and meaningless.

  Args:
    q: [B, S, N, H].
    k, v: [B, S, K, H], the new tokens.
    cache: of one layer.
    positions: [B, S] int32, where each new token sits in its row.
    attend_len: static; keys at positions >= attend_len are not looked at.
    window: static; tokens that a token attends to, itself included; 0 = all.
  Returns:
    (out [B, S, N, H], the updated cache).
  """
  keys, values = cache
  rows = jnp.arange(keys.shape[0])[:, None]
  # A negative index would count from the end; one beyond the end is dropped.
  slots = jnp.where(positions < 0, keys.shape[3], positions)
  keys = keys.at[rows, :, :, slots].set(k.astype(keys.dtype), mode="drop")
  values = values.at[rows, :, slots].set(v.astype(values.dtype), mode="drop")
  distance = positions[:, :, None] - jnp.arange(attend_len)[None, None, :]
  seen = distance >= 0
  if window:
    seen &= distance < window
  bias = _bias(seen)
  out = _grouped(q, keys[..., :attend_len], values[:, :, :attend_len], bias)
  return out, (keys, values)


def _bias(mask: jax.Array) -> jax.Array:
  """0 where `mask`, hugely negative elsewhere; adding is cheaper than selecting."""
  return jnp.where(mask, 0.0, _MASKED).astype(jnp.float32)


def _grouped(
  q: jax.Array, keys: jax.Array, values: jax.Array, bias: jax.Array
) -> jax.Array:
  """q [B, S, N, H] over keys [B, K, H, A] and values [B, K, A, H], bias [B, S, A]."""
  batch, length, num_heads, head_dim = q.shape
  kv_heads = keys.shape[1]
  # [B, K, G·S, H]: one product for each row and key/value head.
  q = q.reshape(batch, length, kv_heads, -1, head_dim).transpose(0, 2, 3, 1, 4)
  groups = q.shape[2]
  q = q.reshape(batch, kv_heads, groups * length, head_dim)
  scores = jnp.einsum("bkqh,bkha->bkqa", q, keys, preferred_element_type=jnp.float32)
  scores = scores.reshape(batch, kv_heads, groups, length, -1) / math.sqrt(head_dim)
  scores = scores + bias[:, None, None]
  weights = jax.nn.softmax(scores, axis=-1).astype(values.dtype)
  weights = weights.reshape(batch, kv_heads, groups * length, -1)
  out = jnp.einsum("bkqa,bkah->bkqh", weights, values, preferred_element_type=jnp.float32)
  out = out.astype(values.dtype).reshape(batch, kv_heads, groups, length, head_dim)
  return out.transpose(0, 3, 1, 2, 4).reshape(batch, length, num_heads, head_dim)
