"""The two device programs of the decode engine: extend some rows, decode some or all.

Purpose: pure functions to be jitted with static shapes and a donated cache. Only the
decode program samples: an extend leaves out the last token of its input, which then is
the first one that decode feeds. That keeps one sampler in one program.
Must not know about: requests, names, the host's bookkeeping.

Randomness: token i of a response draws one uniform from
fold_in(fold_in(… fold_in(root, part 0) …, part n-1), i), so a sample does not depend on
slots, batch-mates, or where a call happened to end.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from skilljax.engine import cache as cache_lib
from skilljax.engine import sampler
from skilljax.models import transformer
from skilljax.models.config import ModelConfig

PADDING = -1  # a position that `transformer.extend` ignores


class Draws(NamedTuple):
  """How to sample; static."""

  top_k: int
  top_p: float


class ExtendBatch(NamedTuple):
  """Input of one extend call.

  Attributes:
    rows: [R] int32 slots, unique; num_slots marks a padding row.
    tokens: [R, S] int32.
    starts: [R] int32, cached tokens before the call.
    counts: [R] int32, valid tokens of each row; 0 for a padding row.
  """

  rows: Any
  tokens: Any
  starts: Any
  counts: Any


class DecodeBatch(NamedTuple):
  """Input of one decode call.

  Attributes:
    rows: [R] int32 slots, unique; num_slots marks a padding row. R = num_slots means
      all slots in their order.
    token: [R] int32, the last token of each sequence, not in the cache yet.
    lengths: [R] int32, cached tokens.
    generated: [R] int32, tokens of the response so far.
    limits: [R] int32, most tokens of the response.
    running: [R] bool.
    key_parts: [R, P] uint32, and num_parts: [R] int32, how many of them are used.
    temperature: [R] float32.
    stop_ids: [K] int32, tokens that end a response.
    num_exit: scalar int32, >= 1: stop once so many rows have ended.
  """

  rows: Any
  token: Any
  lengths: Any
  generated: Any
  limits: Any
  running: Any
  key_parts: Any
  num_parts: Any
  temperature: Any
  stop_ids: Any
  num_exit: Any


class DecodeOutput(NamedTuple):
  """What one decode call sampled; row r owns the first `counts[r]` columns.

  Attributes:
    tokens: [R, C] int32.
    behavior, sampled: [R, C] float32, the two kinds of log-probabilities.
    counts: [R] int32.
    num_steps: scalar int32, iterations of the loop.
  """

  tokens: jax.Array
  behavior: jax.Array
  sampled: jax.Array
  counts: jax.Array
  num_steps: jax.Array


def request_keys(
  root_key: jax.Array, key_parts: jax.Array, num_parts: jax.Array
) -> jax.Array:
  """Folds the parts of each row into the root key. [R] typed keys.

  A loop over the parts, because each copy of the hash costs compile time.
  """

  def fold(i, keys):
    folded = jax.vmap(jax.random.fold_in)(keys, key_parts[:, i])
    return jnp.where(i < num_parts, folded, keys)

  keys = jnp.broadcast_to(root_key, num_parts.shape)
  return lax.fori_loop(0, key_parts.shape[1], fold, keys)


def uniforms(keys: jax.Array, start: jax.Array, count: int) -> jax.Array:
  """The uniforms of response tokens start .. start + count - 1. [R, count] float32."""
  steps = start[:, None] + jnp.arange(count, dtype=start.dtype)[None]

  def one(key, step):
    return jax.random.uniform(jax.random.fold_in(key, step))

  return jax.vmap(jax.vmap(one, in_axes=(None, 0)))(keys, steps)


def extend_rows(
  params: transformer.Params,
  cache: cache_lib.Cache,
  batch: ExtendBatch,
  *,
  attend_len: int,
  config: ModelConfig,
) -> cache_lib.Cache:
  """Appends tokens to the cache of some rows.

  Args:
    params: decode layout.
    cache: of all slots; donated.
    batch: the rows.
    attend_len: static, >= every starts + counts.
    config: static.
  Returns:
    the cache.
  """
  column = jnp.arange(batch.tokens.shape[1], dtype=jnp.int32)[None]
  positions = jnp.where(
    column < batch.counts[:, None], batch.starts[:, None] + column, PADDING
  )
  part = cache_lib.gather_rows(cache, batch.rows, attend_len, config)
  _, part = transformer.extend(params, batch.tokens, positions, part, attend_len, config)
  return cache_lib.put_rows(cache, part, batch.rows, config)


def decode(
  params: transformer.Params,
  cache: cache_lib.Cache,
  root_key: jax.Array,
  batch: DecodeBatch,
  *,
  max_steps: int,
  attend_len: int,
  config: ModelConfig,
  draws: Draws,
) -> tuple[cache_lib.Cache, DecodeOutput]:
  """Samples on its rows at once, `max_steps` tokens a row or until enough rows ended.

  Args:
    params: decode layout.
    cache: of all slots; donated.
    root_key: typed key.
    batch: the rows.
    max_steps: static, columns of the output.
    attend_len: static, above every position that a running row can reach in this call.
    config, draws: static.
  """
  keys = request_keys(root_key, batch.key_parts, batch.num_parts)
  u = uniforms(keys, batch.generated, max_steps)
  num_start = batch.running.sum()
  num_rows = batch.rows.shape[0]
  lent = num_rows < jax.tree.leaves(cache)[0].shape[0]

  def keep_going(carry):
    step, active, _, _, _ = carry
    alive = active.sum()
    return (step < max_steps) & (alive > 0) & (num_start - alive < batch.num_exit)

  def one_token(carry):
    step, active, token, cache, out = carry
    # A resting row computes along, but writes nothing.
    positions = jnp.where(active, batch.lengths + step, PADDING)[:, None]
    hidden, cache = transformer.extend(
      params, token[:, None], positions, cache, attend_len, config
    )
    logits = transformer.logits(params, hidden[:, 0], config)
    u_now = lax.dynamic_index_in_dim(u, step, axis=1, keepdims=False)
    drawn = sampler.sample(logits, u_now, batch.temperature, **draws._asdict())
    token = jnp.where(active, drawn[0], token)
    out = _record(out, drawn, active, step)
    stopped = (token[:, None] == batch.stop_ids[None, :]).any(-1)
    active &= ~stopped & (batch.generated + step + 1 < batch.limits)
    return step + 1, active, token, cache, out

  part = cache
  if lent:
    part = cache_lib.gather_rows(cache, batch.rows, attend_len, config)
  out = _empty_output(num_rows, max_steps)
  start = (jnp.int32(0), batch.running, batch.token, part, out)
  _, _, _, part, out = lax.while_loop(keep_going, one_token, start)
  return cache_lib.put_rows(cache, part, batch.rows, config) if lent else part, out


def _empty_output(num_rows: int, max_steps: int) -> DecodeOutput:
  floats = jnp.zeros((num_rows, max_steps), jnp.float32)
  return DecodeOutput(
    tokens=jnp.zeros((num_rows, max_steps), jnp.int32),
    behavior=floats,
    sampled=floats,
    counts=jnp.zeros(num_rows, jnp.int32),
    num_steps=jnp.int32(0),
  )


def _record(
  out: DecodeOutput,
  drawn: tuple[jax.Array, jax.Array, jax.Array],
  active: jax.Array,
  step: jax.Array,
) -> DecodeOutput:
  """Writes column `step`; columns at and beyond a row's count mean nothing."""
  tokens, behavior, sampled = (
    lax.dynamic_update_index_in_dim(buffer, column, step, axis=1)
    for buffer, column in zip(out[:3], drawn, strict=True)
  )
  counts = out.counts + active.astype(jnp.int32)
  return DecodeOutput(tokens, behavior, sampled, counts, step + 1)


class TraceCounter:
  """Counts traces of the programs; once armed, a trace is an error.

  A trace after warm-up means a shape that was not compiled: seconds lost in the middle
  of a run, without a sign. Call `note` inside the traced function.
  """

  def __init__(self):
    self.num_traces = 0
    self.armed = False

  def note(self, shape: str) -> None:
    """Counts one trace. Raises RuntimeError naming the shape if armed."""
    if self.armed:
      raise RuntimeError(
        f"recompilation after warm-up for {shape}: an argument changed its shape or type "
        "(a published policy of another shape or dtype?), or warmup() missed a bucket"
      )
    self.num_traces += 1
