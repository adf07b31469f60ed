"""Statistics inside segments of a flat array: the arithmetic under every advantage.

A segment is a group, a (group, role) pair or a (group, anchor) pair. Rows may come in
any order; NaN rows take no part.

Purpose: rewards [U], segment [U] -> centred or normalised rewards [U].
Must not know about: roles, anchors, tokens.
"""

import chex
import jax
import jax.numpy as jnp


def centre(
  rewards: jax.Array, segment: jax.Array, num_segments: int
) -> tuple[jax.Array, jax.Array, jax.Array]:
  """Subtracts the segment's mean.

  Args:
    rewards: [U] float32; NaN takes no part.
    segment: [U] int32 in [0, num_segments).
    num_segments: static.
  Returns:
    (centred, count, squares), [U] each: r − mean, 0 where r is NaN and NaN where the
    segment is out of range; how many rewards the segment has; its Σ centred².
  """
  valid = ~jnp.isnan(rewards)
  outside = (segment < 0) | (segment >= num_segments)
  index = jnp.where(outside, num_segments, segment)  # a spare segment at the end

  def spread(values):
    return jax.ops.segment_sum(values, index, num_segments + 1)[index]

  lowest = jax.ops.segment_min(
    jnp.where(valid, rewards, jnp.inf), index, num_segments + 1
  )[index]
  # Subtracting the minimum first keeps equal rewards exactly equal to their mean;
  # otherwise rounding noise is divided by a std of the same size.
  shifted = jnp.where(valid, rewards - lowest, 0.0)
  count = spread(valid.astype(jnp.float32))
  mean = spread(shifted) / jnp.maximum(count, 1.0)
  centred = jnp.where(valid, shifted - mean, 0.0)
  squares = spread(centred**2)
  return jnp.where(valid & outside, jnp.nan, centred), count, squares


def normalise(
  rewards: jax.Array,
  segment: jax.Array,
  *,
  num_segments: int,
  use_std: bool,
  unbiased: bool,
  eps: float,
) -> jax.Array:
  """(r − mean_s) / (std_s + ε); 0 for NaN and for a segment with one reward.

  Args:
    rewards: [U] float32; NaN takes no part.
    segment: [U] int32 in [0, num_segments); outside gives NaN.
    num_segments: static.
    use_std: divide by the standard deviation.
    unbiased: divide the sum of squares by n − 1, not n.
    eps: added to the standard deviation, in units of reward.
  Returns:
    [U] float32.
  """
  centred, count, squares = centre(rewards, segment, num_segments)
  if use_std:
    freedom = jnp.maximum(count - (1.0 if unbiased else 0.0), 1.0)
    centred = centred / (jnp.sqrt(squares / freedom) + eps)
  # A NaN here marks an id outside the table and must survive.
  return jnp.where((count < 2) & ~jnp.isnan(centred), 0.0, centred)


def check_units(rewards: jax.Array, *ids: jax.Array) -> None:
  """Asserts [U] float rewards and [U] integer ids."""
  chex.assert_rank([rewards, *ids], 1)
  chex.assert_equal_shape([rewards, *ids])
  chex.assert_type([rewards, *ids], [float, *[int] * len(ids)])
