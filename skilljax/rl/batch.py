"""The packed rows that the learner trains on.

Purpose: one pytree with every per-token array of an update.
Must not know about: how rows are packed, models, losses.
"""

import flax.struct
import jax


@flax.struct.dataclass
class TokenBatch:
  """Packed rows. B rows of T tokens; leading axes may be added (micro-batches).

  Position t of a per-token array belongs to `tokens[t]`: a log-prob at t is
  log π(tokens[t] | earlier tokens of the same segment), at the sampling temperature.
  """

  tokens: jax.Array  # [B, T] int32
  positions: jax.Array  # [B, T] int32, restarts at 0 in each segment
  segment_ids: jax.Array  # [B, T] int32, 1, 2, … inside a row; 0 = padding
  loss_mask: jax.Array  # [B, T] bool or 0/1 float, 1 where sampled and trained
  role: jax.Array  # [B, T] int8, `skilljax.types.Role`
  advantages: jax.Array  # [B, T] float32
  behavior_logprobs: jax.Array  # [B, T] float32, of the sampler
  ref_logprobs: jax.Array  # [B, T] float32, of the KL reference; 0 if there is none
  sequence_id: jax.Array  # [B, T] int32, trajectory of the update; -1 = padding
  # [B, T] float32, `losses.token_weights` of the whole update; None until computed.
  weights: jax.Array | None = None
  # [B, T] float32, of the learner before the update; None = identical to the current
  # policy (a single step on this data).
  old_logprobs: jax.Array | None = None
