"""GiGPO: turns that start from the same observation form groups inside a task group.

A = A_E + ω · A_S: A_E is an episode's advantage (see `advantages`), A_S is made here.

Purpose: turn-level advantages without a critic. Units are turns, flat arrays [U] in any
order; see `advantages` for NaN, singletons and ids out of range.
Must not know about: observations; the caller numbers them (equal raw text, equal id).

Source: GiGPO (arXiv:2505.10978) and its reference code.
"""

import chex
import jax
import jax.numpy as jnp

from skilljax.rl import grouping


def discounted_returns(rewards: jax.Array, discounts: jax.Array) -> jax.Array:
  """Sums later rewards: R_t = r_t + γ_t · R_{t+1}, with R_S = 0.

  Args:
    rewards: [S] float32, reward of each turn, in order of time.
    discounts: [S] float32 in [0, 1]; γ (0.95 in the paper), and 0 at the last turn of
      an episode, so that episodes may be laid end to end.
  Returns:
    [S] float32.
  """
  chex.assert_rank([rewards, discounts], 1)
  chex.assert_equal_shape([rewards, discounts])
  chex.assert_type([rewards, discounts], float)

  def accumulate(later, turn):
    reward, discount = turn
    total = reward + discount * later
    return total, total

  start = jnp.zeros((), rewards.dtype)
  return jax.lax.scan(accumulate, start, (rewards, discounts), reverse=True)[1]


def anchor_relative(
  step_return: jax.Array,
  anchor_id: jax.Array,
  group_id: jax.Array,
  *,
  num_groups: int,
  num_anchors: int,
  use_std: bool = True,
  unbiased: bool = True,
  eps: float = 1e-6,
) -> jax.Array:
  """Compares each turn with the turns of its task group that saw the same observation.

  A_S = (R_t − mean_a) / (std_a + ε); without the division if not `use_std`.

  Args:
    step_return: [U] float32, discounted return from this turn on.
    anchor_id: [U] int32 in [0, num_anchors), equal for equal raw observations; equal
      ids in different groups are different anchors.
    group_id: [U] int32 in [0, num_groups).
    num_groups, num_anchors: static.
    use_std, unbiased, eps: as in `advantages.group_relative`.
  Returns:
    [U] float32; 0 for an anchor that occurs once.
  """
  grouping.check_units(step_return, anchor_id, group_id)
  inside = (anchor_id >= 0) & (anchor_id < num_anchors)
  inside &= (group_id >= 0) & (group_id < num_groups)
  return grouping.normalise(
    step_return,
    jnp.where(inside, group_id * num_anchors + anchor_id, -1),
    num_segments=num_groups * num_anchors,
    use_std=use_std,
    unbiased=unbiased,
    eps=eps,
  )
