import functools

import jax.numpy as jnp
import numpy as np
import pytest

from skilljax.rl import gigpo

# One task group, two episodes; A succeeds in 3 turns, B fails in 2.
#   turn        A0   A1   A2   B0   B1
#   anchor       0    1    2    0    1     (A2 saw something B never saw)
#   step return  1    2    4    0    0
EPISODE = [1, 1, 1, 0, 0]
RETURNS = [1, 2, 4, 0, 0]
ANCHORS = [0, 1, 2, 0, 1]
GROUPS = [0, 0, 0, 0, 0]


def turns(episode=EPISODE, returns=RETURNS, anchors=ANCHORS, groups=GROUPS):
  return (
    jnp.array(episode, jnp.float32),
    jnp.array(returns, jnp.float32),
    jnp.array(anchors, jnp.int32),
    jnp.array(groups, jnp.int32),
  )


def close(actual, expected):
  np.testing.assert_allclose(actual, expected, rtol=2e-5, atol=2e-5)


def test_without_std_by_hand(compiled):
  # A_E over turns: mean 3/5 -> 0.4 ×3, −0.6 ×2. A_S: anchor 0: ±0.5; anchor 1: ±1;
  # anchor 2 alone: 0.
  mean_norm = functools.partial(
    gigpo.gigpo, num_groups=1, num_anchors=3, omega=2.0, use_std=False
  )
  close(compiled(mean_norm)(*turns()), [0.4 + 1, 0.4 + 2, 0.4, -0.6 - 1, -0.6 - 2])


def test_with_std_by_hand(compiled):
  # A_E std: √((3·0.16 + 2·0.36)/4) = 0.54772 -> 0.73030, −1.09545.
  # A_S of a pair is always ±0.70711 under the unbiased std.
  full = functools.partial(gigpo.gigpo, num_groups=1, num_anchors=3)
  expected = [0.73030 + 0.70711, 0.73030 + 0.70711, 0.73030]
  close(compiled(full)(*turns()), [*expected, -1.09545 - 0.70711, -1.09545 - 0.70711])


def test_equal_observations_of_different_tasks_are_different_anchors(compiled):
  # Turns B0, B1 move to a second group: no anchor occurs twice inside a group.
  anchor = functools.partial(gigpo.anchor_relative, num_groups=2, num_anchors=3)
  _, returns, anchors, groups = turns(groups=[0, 0, 0, 1, 1])
  assert not np.asarray(compiled(anchor)(returns, anchors, groups)).any()


def test_order_of_turns_does_not_matter():
  order = np.array([3, 0, 4, 2, 1])
  full = functools.partial(gigpo.gigpo, num_groups=1, num_anchors=3)
  close(full(*(column[order] for column in turns())), full(*turns())[order])


def test_anchor_out_of_range_is_loud():
  # Without the check, anchor 3 of group 0 would be taken for anchor 0 of group 1.
  args = turns(anchors=[0, 3, -1, 0, 1], groups=[0, 0, 0, 0, 1])[1:]
  result = gigpo.anchor_relative(*args, num_groups=2, num_anchors=3)
  assert np.isnan(np.asarray(result)).tolist() == [False, True, True, False, False]


def test_discounted_returns_by_hand(compiled):
  # Two episodes end to end. First: R_2 = 4, R_1 = 0 + 0.5·4 = 2, R_0 = 1 + 0.5·2 = 2.
  # Second: R_1 = 3, R_0 = 0 + 0.5·3 = 1.5.
  rewards = jnp.array([1, 0, 4, 0, 3], jnp.float32)
  discounts = jnp.array([0.5, 0.5, 0, 0.5, 0], jnp.float32)
  close(compiled(gigpo.discounted_returns)(rewards, discounts), [2, 2, 4, 1.5, 3])


def test_negative_omega_raises():
  with pytest.raises(ValueError, match="omega is -1"):
    gigpo.gigpo(*turns(), num_groups=1, num_anchors=3, omega=-1.0)
