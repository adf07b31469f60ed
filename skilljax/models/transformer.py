"""The decoder: one block, over packed rows for the learner, over a cache for the engine.

Purpose: pure functions over a parameter pytree. `forward` scans stacked layers;
`extend` unrolls per-layer weights and carries a KV cache. Both call `_block`, so learner
and sampler cannot drift apart.
Must not know about: text, sampling, losses, meshes, files.
"""

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name

from skilljax.models import attention, lora, rope
from skilljax.models.config import ModelConfig
from skilljax.models.matmul import matmul
from skilljax.models.params import Params as Params
from skilljax.models.params import ParamSpec as ParamSpec
from skilljax.models.params import init_params as init_params
from skilljax.models.params import param_specs as param_specs
from skilljax.models.params import unstack_layers as unstack_layers

Cache = tuple[attention.KVCache, ...]  # one entry per layer; rows lead every array
_ATTENDED = "attended"  # what attention returned, for rematerialisation
Angles = tuple[jax.Array, jax.Array]  # cos, sin
# (q, k, v) -> (out [B, S, N, H], state): the only thing in which the two uses differ.
Place = Callable[[jax.Array], jax.Array]  # says where activations live; changes no value
Attend = Callable[[jax.Array, jax.Array, jax.Array], tuple[jax.Array, Any]]


def forward(
  params: Params,
  tokens: jax.Array,
  positions: jax.Array,
  segment_ids: jax.Array,
  cfg: ModelConfig,
  place: Place = lambda x: x,
) -> jax.Array:
  """Final hidden states of packed rows.

  Args:
    params: stacked layout, any float type.
    tokens: [B, T] int32.
    positions: [B, T] int32, position inside the segment (rotary embedding).
    segment_ids: [B, T] int32; equal ids attend to each other causally, 0 is padding.
    cfg: static.
    place: applied to the residual stream [B, T, D] before and after each layer. Left
      alone, a partitioner lets the embedding's sharding decide, and splits D.
  Returns:
    [B, T, D] after the final norm, in `cfg.dtype`; meaningless at padding.
  """
  angles, window_angles = _angles(positions, cfg)

  def layer_step(x, inputs):
    layer, adapters, window = inputs
    if adapters is not None:
      layer = lora.merge_layer(layer, adapters, cfg.lora)
    turned = angles
    if window_angles is not angles:
      turned = jax.tree.map(
        functools.partial(jnp.where, window > 0), window_angles, angles
      )

    def attend(q, k, v):
      return attention.packed_attention(q, k, v, segment_ids, window), None

    x, state = _block(place(x), layer, turned, attend, cfg)
    return place(x), state

  if cfg.remat != "none":
    kept = () if cfg.remat == "full" else (_ATTENDED,)
    policy = jax.checkpoint_policies.save_only_these_names(*kept)
    layer_step = jax.checkpoint(layer_step, prevent_cse=False, policy=policy)
  windows = jnp.asarray(cfg.windows, jnp.int32) if any(cfg.windows) else None
  x = place(_embed(params, tokens, cfg))
  x, _ = jax.lax.scan(layer_step, x, (params["layers"], params.get("lora"), windows))
  return place(_rms_norm(x, params["final_norm"], cfg))


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
  angles, window_angles = _angles(positions, cfg)
  x = _embed(decode_params, tokens, cfg)
  new_cache = []
  for layer, layer_cache, window in zip(
    decode_params["layers"], cache, cfg.windows, strict=True
  ):
    attend = functools.partial(
      attention.cached_attention,
      cache=layer_cache,
      positions=positions,
      attend_len=attend_len,
      window=window,
    )
    x, layer_cache = _block(x, layer, window_angles if window else angles, attend, cfg)
    new_cache.append(layer_cache)
  return _rms_norm(x, decode_params["final_norm"], cfg), tuple(new_cache)


def logits(params: Params, hidden: jax.Array, cfg: ModelConfig) -> jax.Array:
  """[..., V] float32 logits of hidden [..., D]; either layout of `params`."""
  head = params["embed"].T if cfg.tie_embeddings else params["head"]
  return matmul(hidden, head.astype(cfg.dtype), out_dtype=jnp.float32)


def _embed(params: Params, tokens: jax.Array, cfg: ModelConfig) -> jax.Array:
  x = params["embed"][tokens].astype(cfg.dtype)
  # The factor is rounded to the compute type, as Gemma's authors do.
  return x * jnp.asarray(math.sqrt(cfg.d_model), cfg.dtype) if cfg.scale_embed else x


def _angles(positions: jax.Array, cfg: ModelConfig) -> tuple[Angles, Angles]:
  """(cos, sin) of layers without and with a window; the same object if alike."""
  whole = rope.angles(positions, cfg.head_dim, cfg.rope_theta, cfg.rope_scaling)
  if not (cfg.window_rope_theta and any(cfg.windows)):
    return whole, whole
  return whole, rope.angles(positions, cfg.head_dim, cfg.window_rope_theta)


def _block(
  x: jax.Array,
  layer: Params,
  angles: Angles,
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
  if cfg.query_scalar:  # attention itself divides by sqrt(head_dim)
    q = q * math.sqrt(cfg.head_dim / cfg.query_scalar)
  out, state = attend(rope.rotate(q, *angles), rope.rotate(k, *angles), v)
  out = checkpoint_name(out, _ATTENDED)
  wo = layer["wo"].astype(cfg.dtype).reshape(-1, cfg.d_model)
  out = matmul(out.reshape(*out.shape[:2], -1), wo)
  if cfg.post_norms:
    out = _rms_norm(out, layer["attn_post_norm"], cfg)
  x = x + out

  normed = _rms_norm(x, layer["mlp_norm"], cfg)
  gate = _activate(matmul(normed, layer["w_gate"].astype(cfg.dtype)), cfg)
  up = matmul(normed, layer["w_up"].astype(cfg.dtype))
  out = matmul(gate * up, layer["w_down"].astype(cfg.dtype))
  if cfg.post_norms:
    out = _rms_norm(out, layer["mlp_post_norm"], cfg)
  return x + out, state


def _activate(x: jax.Array, cfg: ModelConfig) -> jax.Array:
  """silu, or the tanh approximation of gelu."""
  return jax.nn.silu(x) if cfg.activation == "silu" else jax.nn.gelu(x, approximate=True)


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
  if cfg.unit_offset_norms:
    scale = 1.0 + scale
  return (wide * jax.lax.rsqrt(mean_square + cfg.norm_eps) * scale).astype(x.dtype)
