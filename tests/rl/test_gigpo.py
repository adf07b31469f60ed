import functools

import jax.numpy as jnp
import numpy as np

from skilljax.rl import gigpo

# One task group, two episodes; A succeeds in 3 turns, B fails in 2.
#   turn        A0   A1   A2   B0   B1
#   anchor       0    1    2    0    1     (A2 saw something B never saw)
#   step return  1    2    4    0    0
RETURNS = [1, 2, 4, 0, 0]
ANCHORS = [0, 1, 2, 0, 1]
GROUPS = [0, 0, 0, 0, 0]


def turns(returns=RETURNS, anchors=ANCHORS, groups=GROUPS):
  return (
    jnp.array(returns, jnp.float32),
    jnp.array(anchors, jnp.int32),
    jnp.array(groups, jnp.int32),
  )


def close(actual, expected):
  np.testing.assert_allclose(actual, expected, rtol=2e-5, atol=2e-5)


def relative(num_groups=1, **options):
  return functools.partial(
    gigpo.anchor_relative, num_groups=num_groups, num_anchors=3, **options
  )


def test_without_std_by_hand(compiled):
  # Anchor 0: 1 and 0, so ±0.5; anchor 1: 2 and 0, so ±1; anchor 2 alone: 0.
  close(compiled(relative(use_std=False))(*turns()), [0.5, 1, 0, -0.5, -1])


def test_with_std_by_hand(compiled):
  # A pair is always ±0.70711 under the unbiased std.
  expected = [0.70711, 0.70711, 0, -0.70711, -0.70711]
  close(compiled(relative())(*turns()), expected)


def test_equal_observations_of_different_tasks_are_different_anchors(compiled):
  # Turns B0, B1 move to a second group: no anchor occurs twice inside a group.
  units = turns(groups=[0, 0, 0, 1, 1])
  assert not np.asarray(compiled(relative(num_groups=2))(*units)).any()


def test_order_of_turns_does_not_matter():
  order = np.array([3, 0, 4, 2, 1])
  close(relative()(*(column[order] for column in turns())), relative()(*turns())[order])


def test_anchor_out_of_range_is_loud():
  # Without the check, anchor 3 of group 0 would be taken for anchor 0 of group 1.
  args = turns(anchors=[0, 3, -1, 0, 1], groups=[0, 0, 0, 0, 1])
  result = relative(num_groups=2)(*args)
  assert np.isnan(np.asarray(result)).tolist() == [False, True, True, False, False]


def test_discounted_returns_by_hand(compiled):
  # Two episodes end to end. First: R_2 = 4, R_1 = 0 + 0.5·4 = 2, R_0 = 1 + 0.5·2 = 2.
  # Second: R_1 = 3, R_0 = 0 + 0.5·3 = 1.5.
  rewards = jnp.array([1, 0, 4, 0, 3], jnp.float32)
  discounts = jnp.array([0.5, 0.5, 0, 0.5, 0], jnp.float32)
  close(compiled(gigpo.discounted_returns)(rewards, discounts), [2, 2, 4, 1.5, 3])
