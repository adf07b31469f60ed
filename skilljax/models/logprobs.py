"""Log-probabilities and entropies of tokens, without the logits of a whole batch.

Purpose: what the learner needs of the model: log π(tokens[t] | tokens[:t]) and the
entropy of that distribution, in float32, `chunk` columns of logits at a time.
Must not know about: losses, masks of roles, sampling.
"""

import functools

import jax
import jax.numpy as jnp

from skilljax.models import transformer
from skilljax.models.config import ModelConfig


def token_logprobs(
  params: transformer.Params,
  hidden: jax.Array,
  targets: jax.Array,
  cfg: ModelConfig,
  *,
  temperature: float = 1.0,
  chunk: int = 256,
) -> tuple[jax.Array, jax.Array]:
  """Scores `targets` under softmax(logits(hidden) / temperature); no shift.

  Logits are made for B x chunk tokens at a time and made again in the backward pass,
  so memory holds one chunk of them, never B x T x V.

  Args:
    params: parameters, either layout.
    hidden: [B, T, D].
    targets: [B, T] int32, target of the same position.
    cfg: static.
    temperature: > 0; the one the tokens were sampled with.
    chunk: columns a chunk, >= 1.
  Returns:
    (logprobs, entropy), each [B, T] float32; entropy in nats.
  Raises:
    ValueError: `temperature` or `chunk` out of range.
  """
  if temperature <= 0:
    raise ValueError(f"temperature={temperature} must be > 0")
  if chunk < 1:
    raise ValueError(f"chunk={chunk} must be >= 1")
  batch, length = targets.shape
  num_chunks = -(-length // chunk)
  padding = num_chunks * chunk - length

  def split(x):
    """[B, T, ...] -> [chunks, B, chunk, ...]; rows stay whole (and sharded)."""
    x = jnp.pad(x, ((0, 0), (0, padding)) + ((0, 0),) * (x.ndim - 2))
    return jnp.moveaxis(x.reshape(batch, num_chunks, chunk, *x.shape[2:]), 1, 0)

  @functools.partial(jax.checkpoint, prevent_cse=False)
  def score(hidden_and_targets):
    part, part_targets = hidden_and_targets
    return _score(transformer.logits(params, part, cfg) / temperature, part_targets)

  def join(x):
    return jnp.moveaxis(x, 0, 1).reshape(batch, num_chunks * chunk)[:, :length]

  logprobs, entropy = jax.lax.map(score, (split(hidden), split(targets)))
  return join(logprobs), join(entropy)


def sequence_logprobs(
  params: transformer.Params,
  tokens: jax.Array,
  positions: jax.Array,
  segment_ids: jax.Array,
  cfg: ModelConfig,
  *,
  temperature: float = 1.0,
  chunk: int = 256,
  place: transformer.Place = lambda x: x,
) -> tuple[jax.Array, jax.Array]:
  """Forward pass and shift: position t of the result belongs to tokens[t].

  logprobs[b, t] = log π(tokens[b, t] | the tokens before it in its segment)
  entropy[b, t]  = entropy of that same distribution
  Both are 0 at padding and at the first token of each segment, which nothing predicts.

  Args:
    params: stacked layout.
    tokens, positions, segment_ids: [B, T] int32, as in `transformer.forward`.
    cfg: static.
    temperature, chunk: as in `token_logprobs`.
    place: as in `transformer.forward`.
  Returns:
    (logprobs, entropy), each [B, T] float32.
  """
  hidden = transformer.forward(params, tokens, positions, segment_ids, cfg, place)
  # The state before position t predicts tokens[t]; column 0 gets a stand-in.
  previous = jnp.roll(hidden, 1, axis=1)
  logprobs, entropy = token_logprobs(
    params, previous, tokens, cfg, temperature=temperature, chunk=chunk
  )
  continued = (segment_ids[:, 1:] == segment_ids[:, :-1]) & (segment_ids[:, 1:] > 0)
  predicted = jnp.pad(continued, ((0, 0), (1, 0)))
  return jnp.where(predicted, logprobs, 0.0), jnp.where(predicted, entropy, 0.0)


def _score(logits: jax.Array, targets: jax.Array) -> tuple[jax.Array, jax.Array]:
  """(log-prob of targets, entropy) of logits [..., V] float32."""
  logprobs = jax.nn.log_softmax(logits, axis=-1)
  chosen = jnp.take_along_axis(logprobs, targets[..., None], axis=-1)[..., 0]
  return chosen, -jnp.sum(jnp.exp(logprobs) * logprobs, axis=-1)
