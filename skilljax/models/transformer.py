"""The decoder: one block, over packed rows for the learner, over a cache for the engine.

Purpose: pure functions over a parameter pytree. `forward` scans stacked layers;
`extend` unrolls per-layer weights and carries a KV cache. Both call `_block`, so learner
and sampler cannot drift apart.
Must not know about: text, sampling, losses, meshes, files.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from skilljax.models import attention
from skilljax.models.config import ModelConfig
from skilljax.models.matmul import matmul
from skilljax.models.params import Params as Params
from skilljax.models.params import ParamSpec as ParamSpec
from skilljax.models.params import init_params as init_params
from skilljax.models.params import param_specs as param_specs
from skilljax.models.params import unstack_layers as unstack_layers

Cache = tuple[attention.KVCache, ...]  # one entry per layer; rows lead every array
# (q, k, v) -> (out [B, S, N, H], state): the only thing in which the two uses differ.
Attend = Callable[[jax.Array, jax.Array, jax.Array], tuple[jax.Array, Any]]


def forward(
  params: Params,
  tokens: jax.Array,
  positions: jax.Array,
  segment_ids: jax.Array,
  cfg: ModelConfig,
) -> jax.Array:
  """Final hidden states of packed rows.

  Args:
    params: stacked layout, any float type.
    tokens: [B, T] int32.
    positions: [B, T] int32, position inside the segment (rotary embedding).
    segment_ids: [B, T] int32; equal ids attend to each other causally, 0 is padding.
    cfg: static.
  Returns:
    [B, T, D] after the final norm, in `cfg.dtype`; meaningless at padding.
  """
  angles = attention.rope_angles(positions, cfg)

  def attend(q, k, v):
    return attention.packed_attention(q, k, v, segment_ids), None

  def layer_step(x, layer):
    return _block(x, layer, angles, attend, cfg)

  if cfg.remat == "full":
    layer_step = jax.checkpoint(layer_step, prevent_cse=False)
  x, _ = jax.lax.scan(layer_step, _embed(params, tokens, cfg), params["layers"])
  return _rms_norm(x, params["final_norm"], cfg)


def init_cache(cfg: ModelConfig, batch: int, max_len: int) -> Cache:
  """An empty cache for `batch` rows of at most `max_len` tokens, in `cfg.dtype`."""
  return tuple(attention.empty_cache(cfg, batch, max_len) for _ in range(cfg.num_layers))


def extend(
  decode_params: Params,
  tokens: jax.Array,
  positions: jax.Array,
  cache: Cache,
  attend_len: int,
  cfg: ModelConfig,
) -> tuple[jax.Array, Cache]:
  """Adds S tokens to each row of a KV cache; S = 1 decodes, S > 1 prefills.

  A position outside [0, max_len) marks padding (use -1): it changes nothing in the
  cache, no real token attends to it, and its hidden state is finite and meaningless.
  A real token attends to every cached position up to its own, so a row must have been
  filled without gaps; what lies beyond is never read, so a slot needs no clearing.

  Args:
    decode_params: from `unstack_layers`.
    tokens: [B, S] int32; any valid id at padding.
    positions: [B, S] int32.
    cache: from `init_cache` or an earlier call; donate it under `jit`.
    attend_len: static, 1..max_len, above every real position of this call. A
      smaller value costs less.
    cfg: static.
  Returns:
    (hidden [B, S, D] in `cfg.dtype`, cache).
  Raises:
    ValueError: `attend_len` out of range.
  """
  max_len = attention.cache_length(cache[0])
  if not 1 <= attend_len <= max_len:
    raise ValueError(f"attend_len={attend_len} must be in 1..{max_len}, the cache length")
  angles = attention.rope_angles(positions, cfg)
  x = _embed(decode_params, tokens, cfg)
  new_cache = []
  for layer, layer_cache in zip(decode_params["layers"], cache, strict=True):
    attend = functools.partial(
      attention.cached_attention,
      cache=layer_cache,
      positions=positions,
      attend_len=attend_len,
    )
    x, layer_cache = _block(x, layer, angles, attend, cfg)
    new_cache.append(layer_cache)
  return _rms_norm(x, decode_params["final_norm"], cfg), tuple(new_cache)


def logits(params: Params, hidden: jax.Array, cfg: ModelConfig) -> jax.Array:
  """[..., V] float32 logits of hidden [..., D]; either layout of `params`."""
  head = params["embed"].T if cfg.tie_embeddings else params["head"]
  return matmul(hidden, head.astype(cfg.dtype), out_dtype=jnp.float32)


def _embed(params: Params, tokens: jax.Array, cfg: ModelConfig) -> jax.Array:
  return params["embed"][tokens].astype(cfg.dtype)


def _block(
  x: jax.Array,
  layer: Params,
  angles: tuple[jax.Array, jax.Array],
  attend: Attend,
  cfg: ModelConfig,
) -> tuple[jax.Array, Any]:
  """One pre-norm layer: x [B, S, D] -> (x, whatever `attend` carries)."""
  normed = _rms_norm(x, layer["attn_norm"], cfg)
  q = _heads(normed, layer["wq"], layer.get("bq"), cfg)
  k = _heads(normed, layer["wk"], layer.get("bk"), cfg)
  v = _heads(normed, layer["wv"], layer.get("bv"), cfg)
  if cfg.qk_norm:
    q = _rms_norm(q, layer["q_norm"], cfg)
    k = _rms_norm(k, layer["k_norm"], cfg)
  out, state = attend(attention.rotate(q, *angles), attention.rotate(k, *angles), v)
  wo = layer["wo"].astype(cfg.dtype).reshape(-1, cfg.d_model)
  x = x + matmul(out.reshape(*out.shape[:2], -1), wo)

  normed = _rms_norm(x, layer["mlp_norm"], cfg)
  gate = matmul(normed, layer["w_gate"].astype(cfg.dtype))
  up = matmul(normed, layer["w_up"].astype(cfg.dtype))
  return x + matmul(jax.nn.silu(gate) * up, layer["w_down"].astype(cfg.dtype)), state


def _heads(
  x: jax.Array, weight: jax.Array, bias: jax.Array | None, cfg: ModelConfig
) -> jax.Array:
  """x [B, S, D] through weight [D, heads, H] and an optional bias [heads, H]."""
  _, heads, head_dim = weight.shape
  out = matmul(x, weight.astype(cfg.dtype).reshape(cfg.d_model, -1))
  out = out.reshape(*x.shape[:2], heads, head_dim)
  return out if bias is None else out + bias.astype(cfg.dtype)[None, None]


def _rms_norm(x: jax.Array, scale: jax.Array, cfg: ModelConfig) -> jax.Array:
  """x / sqrt(mean(x²) + eps) · scale over the last axis, in float32."""
  wide = x.astype(jnp.float32)
  mean_square = jnp.mean(jnp.square(wide), axis=-1, keepdims=True)
  scale = jnp.expand_dims(scale.astype(jnp.float32), range(x.ndim - 1))
  return (wide * jax.lax.rsqrt(mean_square + cfg.norm_eps) * scale).astype(x.dtype)
