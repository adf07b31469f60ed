"""Drawing one token per row by inverse CDF: one uniform, no sort of the vocabulary.

Purpose: pure functions from logits to (token, log-probabilities).
Must not know about: slots, caches, keys (the uniforms are an argument).

Log-probabilities come in two kinds. The *behavior* one is that of the full softmax at
the sampling temperature, which the learner can reproduce; the *sampled* one belongs to
the distribution that was drawn from, after top-k and top-p.
"""

import math

import chex
import jax
import jax.numpy as jnp
from jax import lax

_ONE_BITS = 0x3F800000  # the float32 1.0, read as an integer


def inverse_cdf(probs: jax.Array, u: jax.Array) -> jax.Array:
  """The first index whose cumulative probability exceeds u · sum(probs).

  Two levels of ~sqrt(V) entries (first the block, then the entry inside it) need O(V)
  work and keep the float32 sums short. An entry of probability 0 is never drawn.

  Args:
    probs: [B, V] float32, >= 0, not all zero; need not be normalised.
    u: [B] float32 in [0, 1).
  Returns:
    [B] int32.
  """
  chex.assert_rank([probs, u], [2, 1])
  batch, vocab = probs.shape
  width = math.isqrt(vocab - 1) + 1
  blocks = -(-vocab // width)
  padded = jnp.pad(probs, ((0, 0), (0, blocks * width - vocab)))
  blocked = padded.reshape(batch, blocks, width)
  mass = blocked.sum(-1)
  target = u * mass.sum(-1)
  block = _first_above(mass, target)
  before = jnp.where(jnp.arange(blocks)[None] < block[:, None], mass, 0.0).sum(-1)
  inside = jnp.take_along_axis(blocked, block[:, None, None], axis=1)[:, 0]
  return block * width + _first_above(inside, target - before)


def _first_above(weights: jax.Array, target: jax.Array) -> jax.Array:
  """First i with cumsum(weights)[i] > target, or the heaviest entry if there is none."""
  size = weights.shape[-1]
  # A product with a triangle is a faster cumulative sum than a scan at these sizes.
  triangle = jnp.triu(jnp.ones((size, size), weights.dtype))
  cumulative = jnp.matmul(weights, triangle, precision=lax.Precision.HIGHEST)
  # The second test matters: float sums need not be monotonic.
  above = (cumulative > target[:, None]) & (weights > 0)
  fallback = jnp.argmax(weights, axis=-1)
  index = jnp.where(above.any(-1), jnp.argmax(above, axis=-1), fallback)
  return index.astype(jnp.int32)


def nucleus_threshold(probs: jax.Array, top_p: float) -> jax.Array:
  """The largest t such that the entries >= t hold at least `top_p` of the mass.

  Bisects the bit pattern of t (the order of non-negative floats is that of their bits),
  so 31 passes over [B, V] give the exact threshold. Entries tied at t are all kept.

  Args:
    probs: [B, V] float32, rows sum to 1.
    top_p: in (0, 1).
  Returns:
    [B] float32.
  """
  chex.assert_rank(probs, 2)

  def halve(_, bounds):
    low, high = bounds  # mass(low) >= top_p > mass(high)
    middle = low + (high - low) // 2
    threshold = lax.bitcast_convert_type(middle, jnp.float32)
    mass = jnp.where(probs >= threshold[:, None], probs, 0.0).sum(-1)
    enough = mass >= top_p
    return jnp.where(enough, middle, low), jnp.where(enough, high, middle)

  low = jnp.zeros(probs.shape[:1], jnp.int32)
  low, _ = lax.fori_loop(0, 31, halve, (low, jnp.full_like(low, _ONE_BITS + 1)))
  return lax.bitcast_convert_type(low, jnp.float32)


def sample(
  logits: jax.Array,
  u: jax.Array,
  temperature: jax.Array,
  *,
  top_k: int = 0,
  top_p: float = 1.0,
) -> tuple[jax.Array, jax.Array, jax.Array]:
  """Draws one token per row.

  Top-k is applied first and top-p to what it left, as the common samplers do.

  Args:
    logits: [B, V], any float dtype.
    u: [B] float32 in [0, 1), one uniform per row.
    temperature: [B] float32, >= 0; 0 takes the likeliest token.
    top_k: keep exactly this many; 0, or at least V, keeps all. Static.
    top_p: keep the nucleus of this mass, in (0, 1]. Static.
  Returns:
    token: [B] int32.
    behavior_logprob: [B] float32, full softmax at `temperature` (at 1 where it is 0).
    sampled_logprob: [B] float32, of the truncated distribution (0 where greedy).
  """
  chex.assert_rank([logits, u, temperature], [2, 1, 1])
  logits = logits.astype(jnp.float32)
  greedy = temperature <= 0.0
  scaled = logits / jnp.where(greedy, 1.0, temperature)[:, None]
  if 0 < top_k < logits.shape[-1]:
    drawn, sampled = _sample_top_k(scaled, u, top_k=top_k, top_p=top_p)
  else:
    drawn, sampled = _sample_all(scaled, u, top_p=top_p)
  token = jnp.where(greedy, jnp.argmax(scaled, axis=-1).astype(jnp.int32), drawn)
  chosen = jnp.take_along_axis(scaled, token[:, None], axis=-1)[:, 0]
  behavior = chosen - jax.nn.logsumexp(scaled, axis=-1)
  return token, behavior, jnp.where(greedy, 0.0, sampled)


def _sample_all(
  scaled: jax.Array, u: jax.Array, *, top_p: float
) -> tuple[jax.Array, jax.Array]:
  probs = jax.nn.softmax(scaled, axis=-1)
  if top_p < 1.0:
    probs = jnp.where(probs >= nucleus_threshold(probs, top_p)[:, None], probs, 0.0)
  token = inverse_cdf(probs, u)
  return token, _log_share(scaled, probs > 0, token)


def _sample_top_k(
  scaled: jax.Array, u: jax.Array, *, top_k: int, top_p: float
) -> tuple[jax.Array, jax.Array]:
  values, ids = lax.top_k(scaled, top_k)
  probs = jax.nn.softmax(values, axis=-1)
  # The list is sorted: an entry stays while the mass before it is below top_p.
  before = jnp.cumsum(probs, axis=-1) - probs
  keep = (before < top_p) & (probs > 0)
  place = inverse_cdf(jnp.where(keep, probs, 0.0), u)
  token = jnp.take_along_axis(ids, place[:, None], axis=-1)[:, 0]
  return token.astype(jnp.int32), _log_share(values, keep, place)


def _log_share(scaled: jax.Array, keep: jax.Array, index: jax.Array) -> jax.Array:
  """Log-probability of `index` under the softmax over the kept entries. [B]."""
  kept = jnp.where(keep, scaled, -jnp.inf)
  chosen = jnp.take_along_axis(scaled, index[:, None], axis=-1)[:, 0]
  return chosen - jax.nn.logsumexp(kept, axis=-1)
