"""How per-token losses become one number, as weights computed once per update.

Every mode is a weighted sum Σ_t w_t · loss_t whose weights depend on masks only. The
weights are computed for the whole update before it is split; then the sum over
micro-batches equals the mode on the whole update, for any split and any packing.

Must not know about: what a loss is, roles, models.
"""

import chex
import jax
import jax.numpy as jnp

MODES = ("token_mean", "seq_mean_token_mean", "seq_mean_token_sum_norm")


def _flat_ids(
  loss_mask: jax.Array, sequence_id: jax.Array, num_sequences: int
) -> tuple[jax.Array, jax.Array]:
  """(trained [n] bool, ids [n] with everything untrained or outside in slot N)."""
  chex.assert_equal_shape([loss_mask, sequence_id])
  chex.assert_type(sequence_id, int)
  trained = jnp.ravel(jnp.asarray(loss_mask)).astype(bool)
  ids = jnp.ravel(jnp.asarray(sequence_id))
  inside = trained & (ids >= 0) & (ids < num_sequences)
  return trained, jnp.where(inside, ids, num_sequences)


def count_tokens(
  loss_mask: jax.Array, sequence_id: jax.Array, *, num_sequences: int
) -> jax.Array:
  """Counts the trained tokens of each sequence; counts of parts add up.

  Args:
    loss_mask: [..., T] bool or 0/1.
    sequence_id: [..., T] int32 in [0, N); -1 = padding.
    num_sequences: N, static; an upper bound will do.
  Returns:
    [N] float32.
  """
  trained, ids = _flat_ids(loss_mask, sequence_id, num_sequences)
  ones = trained.astype(jnp.float32)
  return jax.ops.segment_sum(ones, ids, num_sequences + 1)[:num_sequences]


def token_weights(
  loss_mask: jax.Array,
  sequence_id: jax.Array,
  *,
  mode: str,
  num_sequences: int,
  max_tokens: int | None = None,
  counts: jax.Array | None = None,
) -> jax.Array:
  """Weights w with Σ w · loss = the aggregation mode. N counts non-empty sequences.

  token_mean:               w = 1 / Σ_i n_i             every token counts the same
  seq_mean_token_mean:      w = 1 / (N · n_i)           every sequence counts the same
  seq_mean_token_sum_norm:  w = 1 / (N · max_tokens)    tokens count, no length bias

  Sources: token mean: DAPO (arXiv:2503.14476); mean of means: GRPO (arXiv:2402.03300);
  sum over a constant: Dr. GRPO (arXiv:2503.20783). In TRL's names: bnpo, grpo, dr_grpo.

  Args:
    loss_mask: [..., T] bool or 0/1, the whole update or a part of it.
    sequence_id: [..., T] int32 in [0, num_sequences); -1 = padding.
    mode: one of `MODES`.
    num_sequences: static; an upper bound will do.
    max_tokens: the constant of seq_mean_token_sum_norm, in tokens; None elsewhere.
    counts: [num_sequences] float32, `count_tokens` of the whole update; needed when
      the arrays are a part of it.
  Returns:
    [..., T] float32; 0 where not trained, NaN where trained with an id out of range.
  Raises:
    ValueError: unknown mode, or max_tokens missing or without effect.
  """
  if mode not in MODES:
    raise ValueError(
      f"mode is {mode!r}, must be one of {MODES} (config key loss.aggregation)"
    )
  needs_max = mode == "seq_mean_token_sum_norm"
  if needs_max != (max_tokens is not None) or (needs_max and max_tokens < 1):
    raise ValueError(
      f"max_tokens is {max_tokens} in mode {mode!r}: a positive number for "
      "seq_mean_token_sum_norm, None otherwise (config key learner.row_len)"
    )
  if counts is None:
    counts = count_tokens(loss_mask, sequence_id, num_sequences=num_sequences)
  chex.assert_shape(counts, (num_sequences,))
  trained, ids = _flat_ids(loss_mask, sequence_id, num_sequences)
  # max(…, 1): an update without any trained token has weights 0, not NaN.
  num_filled = jnp.maximum(jnp.sum((counts > 0).astype(jnp.float32)), 1.0)
  if mode == "token_mean":
    per_sequence = jnp.full_like(counts, 1.0) / jnp.maximum(jnp.sum(counts), 1.0)
  elif mode == "seq_mean_token_mean":
    per_sequence = 1.0 / (num_filled * jnp.maximum(counts, 1.0))
  else:
    per_sequence = jnp.full_like(counts, 1.0) / (num_filled * max_tokens)
  spare = jnp.full((1,), jnp.nan, jnp.float32)
  weights = jnp.concatenate([per_sequence.astype(jnp.float32), spare])[ids]
  return jnp.where(trained, weights, 0.0).reshape(jnp.shape(loss_mask))


def weighted_sum(values: jax.Array, weights: jax.Array) -> jax.Array:
  """Σ w · v over tokens; values where w = 0 are never read, not even NaN.

  Args:
    values: [..., T] float32.
    weights: [..., T] float32.
  Returns:
    [] float32.
  """
  chex.assert_equal_shape([values, weights])
  used = weights != 0
  return jnp.sum(jnp.where(used, values, 0.0) * weights)


def aggregate(
  values: jax.Array,
  loss_mask: jax.Array,
  sequence_id: jax.Array,
  *,
  mode: str,
  num_sequences: int,
  max_tokens: int | None = None,
) -> jax.Array:
  """Aggregates per-token values of a whole update; arguments as in `token_weights`."""
  weights = token_weights(
    loss_mask,
    sequence_id,
    mode=mode,
    num_sequences=num_sequences,
    max_tokens=max_tokens,
  )
  return weighted_sum(values, weights)
