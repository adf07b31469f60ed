import functools
import json
import math
import pathlib

import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import strategies as st

from skilljax.rl import advantages
from skilljax.types import Role

ACT, EDIT, NONE = int(Role.ACT), int(Role.EDIT), int(Role.NONE)
NAN = math.nan
GOLDEN = json.loads(
  (pathlib.Path(__file__).parent / "golden" / "trl_grpo.json").read_text("utf-8")
)
QUICK = hypothesis.settings(deadline=None, max_examples=40, derandomize=True)


def units(rewards, role, group):
  return (
    jnp.array(rewards, jnp.float32),
    jnp.array(role, jnp.int8),
    jnp.array(group, jnp.int32),
  )


def close(actual, expected, tolerance=2e-5):
  np.testing.assert_allclose(actual, expected, rtol=tolerance, atol=tolerance)


def test_group_relative_by_hand(compiled):
  # Group 0: 1, 3 -> mean 2, unbiased std √(2/1) = 1.41421, A = ∓0.70711.
  # Group 1: 0, 0, 6 -> mean 2, std √((4+4+16)/2) = 3.46410, A = −0.57735 ×2, 1.15470.
  args = units([1, 0, 3, 0, 6], [ACT] * 5, [0, 1, 0, 1, 1])
  grpo = functools.partial(advantages.group_relative, num_groups=2)
  close(compiled(grpo)(*args), [-0.70711, -0.57735, 0.70711, -0.57735, 1.15470])


def test_group_relative_biased_std_and_without_std(compiled):
  args = units([1, 3, 0, 0, 6], [ACT] * 5, [0, 0, 1, 1, 1])
  biased = functools.partial(advantages.group_relative, num_groups=2, unbiased=False)
  # Biased std: group 0 √(2/2) = 1; group 1 √(24/3) = 2.82843.
  close(compiled(biased)(*args), [-1, 1, -0.70711, -0.70711, 1.41421])
  centred = functools.partial(advantages.ESTIMATORS["dr_grpo"], num_groups=2)
  close(compiled(centred)(*args), [-1, 1, -2, -2, 4])


def test_leave_one_out_by_hand(compiled):
  # Group 0: 1 − 3, 3 − 1. Group 1: 0 − (0+6)/2, the same, 6 − 0.
  args = units([1, 3, 0, 0, 6], [ACT] * 5, [0, 0, 1, 1, 1])
  rloo = functools.partial(advantages.leave_one_out, num_groups=2)
  close(compiled(rloo)(*args), [-2, 2, -3, -3, 6])


def test_dual_and_joint_by_hand(compiled):
  # One group: act 0, 2; edit 10, 14.
  args = units([0, 10, 2, 14], [ACT, EDIT, ACT, EDIT], [0, 0, 0, 0])
  dual = functools.partial(advantages.dual, num_groups=1)
  # Each role alone: ∓0.70711; edit × 0.2 = ∓0.14142.
  close(compiled(dual)(*args), [-0.70711, -0.14142, 0.70711, 0.14142])
  joint = functools.partial(advantages.joint, num_groups=1)
  # Mean 6.5; deviations −6.5, 3.5, −4.5, 7.5; squares 131; std √(131/3) = 6.60808.
  expected = np.array([-6.5, 0.2 * 3.5, -4.5, 0.2 * 7.5]) / 6.60808
  close(compiled(joint)(*args), expected)


def test_dual_advantages_by_hand(compiled):
  # Ids need not be dense. Group −4: act 1, 0; edit 0.3, NaN -> one edit, so 0.
  # Group 70: act NaN, 2, 4 -> ∓0.70711; edit −1, 0, 4 -> mean 1, std √(14/2) = 2.64575.
  group = jnp.array([70, -4, 70, -4, 70], jnp.int32)
  act = jnp.array([NAN, 1, 2, 0, 4], jnp.float32)
  edit = jnp.array([-1, 0.3, 0, NAN, 4], jnp.float32)
  act_adv, edit_adv = compiled(advantages.dual_advantages)(act, edit, group)
  close(act_adv, [0, 0.70711, -0.70711, -0.70711, 0.70711])
  close(edit_adv, [-0.4 / 2.64575, 0, -0.2 / 2.64575, 0, 0.6 / 2.64575])


def test_dual_advantages_agrees_with_dual():
  rng = np.random.default_rng(1)
  act, edit = jnp.array(rng.normal(size=(2, 12)), jnp.float32)
  group = jnp.array(np.arange(12) % 3, jnp.int32)
  act_adv, edit_adv = advantages.dual_advantages(act, edit, group, edit_weight=0.5)
  flat = advantages.dual(
    jnp.concatenate([act, edit]),
    jnp.array([ACT] * 12 + [EDIT] * 12, jnp.int8),
    jnp.concatenate([group, group]),
    num_groups=3,
    role_weights={ACT: 1.0, EDIT: 0.5},
  )
  close(flat, jnp.concatenate([act_adv, edit_adv]))


@pytest.mark.parametrize("name", sorted(advantages.ESTIMATORS))
def test_nan_and_singletons_get_zero(name, compiled):
  # Unit 1 has no reward (and a meaningless role); units 2 and 3 are alone.
  args = units([1, NAN, 5, 7, 2], [ACT, NONE, ACT, ACT, ACT], [0, 0, 1, 2, 0])
  estimator = functools.partial(advantages.ESTIMATORS[name], num_groups=4)
  result = np.asarray(compiled(estimator)(*args))
  assert (result[[1, 2, 3]] == 0).all()
  assert result[0] < 0 < result[4]


@pytest.mark.parametrize("name", sorted(advantages.ESTIMATORS))
def test_equal_rewards_give_exactly_zero(name):
  # In float32 the mean of seven times 10.1 is not 10.1: without care the rounding error
  # divided by a std of the same size is an advantage of order 1.
  args = units([10.1] * 7, [ACT] * 7, [0] * 7)
  assert not np.asarray(advantages.ESTIMATORS[name](*args, num_groups=1)).any()


@pytest.mark.parametrize("name", sorted(advantages.ESTIMATORS))
def test_order_of_units_does_not_matter(name):
  rng = np.random.default_rng(0)
  rewards, role = rng.normal(size=20), rng.integers(1, 3, 20)
  group, order = rng.integers(0, 4, 20), rng.permutation(20)
  estimator = functools.partial(advantages.ESTIMATORS[name], num_groups=4)
  straight = estimator(*units(rewards, role, group))
  close(
    estimator(*units(rewards[order], role[order], group[order])), straight[order], 1e-5
  )


@pytest.mark.parametrize("name", sorted(advantages.ESTIMATORS))
def test_padding_changes_nothing(name):
  rewards, role, group = [1, 3, 0, 0, 6], [ACT] * 5, [0, 0, 1, 1, 1]
  short = advantages.ESTIMATORS[name](*units(rewards, role, group), num_groups=2)
  padded = units(rewards + [NAN] * 3, role + [NONE] * 3, [*group, 0, -1, 99])
  long = advantages.ESTIMATORS[name](*padded, num_groups=5)
  close(long, [*np.asarray(short).tolist(), 0, 0, 0], 1e-6)


@pytest.mark.parametrize("name", sorted(advantages.ESTIMATORS))
def test_ids_out_of_range_are_loud(name, compiled):
  args = units([1, 2, 3, 4], [ACT] * 4, [0, 0, -1, 2])
  estimator = functools.partial(advantages.ESTIMATORS[name], num_groups=2)
  result = np.asarray(compiled(estimator)(*args))
  assert np.isnan(result).tolist() == [False, False, True, True]


@pytest.mark.parametrize("name", ["dual", "joint"])
@pytest.mark.parametrize("role", [-1, NONE, 9])
def test_role_without_weight_is_loud(name, role):
  result = advantages.ESTIMATORS[name](*units([1, 2], [role] * 2, [0, 0]), num_groups=1)
  assert np.isnan(np.asarray(result)).all()


def test_bad_weights_raise():
  args = units([1, 2], [ACT] * 2, [0, 0])
  with pytest.raises(ValueError, match=r"role_weights\[2\] is -1"):
    advantages.dual(*args, num_groups=1, role_weights={ACT: 1.0, EDIT: -1.0})
  with pytest.raises(ValueError, match=r"edit_weight is -0\.1"):
    advantages.dual_advantages(args[0], args[0], args[2], edit_weight=-0.1)


def test_wrong_shapes_and_types_raise():
  rewards, role, group = units([1, 2], [ACT] * 2, [0, 0])
  with pytest.raises(AssertionError):
    advantages.dual(rewards, role[:1], group, num_groups=1)
  with pytest.raises(AssertionError):
    advantages.dual(rewards, role, group.astype(jnp.float32), num_groups=1)


@pytest.mark.parametrize(("scale", "name"), [("group", "grpo"), ("none", "dr_grpo")])
def test_agrees_with_trl(scale, name):
  # TRL: scale_rewards='group' is our grpo with ε = 1e-4, 'none' our dr_grpo.
  rewards = [NAN if r is None else r for group in GOLDEN["rewards"] for r in group]
  options = {"eps": 1e-4} if name == "grpo" else {}
  group = np.repeat(np.arange(3), 4)
  args = units(rewards, [ACT] * 12, group)
  actual = advantages.ESTIMATORS[name](*args, num_groups=3, **options)
  close(actual, GOLDEN["advantages"][scale], 1e-5)


SIZE = 16
DUAL = jax.jit(functools.partial(advantages.dual, num_groups=3))
JOINT = jax.jit(functools.partial(advantages.joint, num_groups=3))


@st.composite
def random_units(draw, roles=(ACT, EDIT)):
  def column(elements):
    return np.array(draw(st.lists(elements, min_size=SIZE, max_size=SIZE)))

  rewards = column(st.sampled_from([-2.0, -0.5, 0.0, 0.1, 1.0, 7.0, NAN]))
  return rewards, column(st.sampled_from(roles)), column(st.integers(0, 2))


@QUICK
@hypothesis.given(random_units())
def test_dual_has_mean_zero_in_each_group_and_role(drawn):
  rewards, role, group = drawn
  result = np.asarray(DUAL(*units(*drawn)))
  has_reward = ~np.isnan(rewards)
  for g in range(3):
    for r in (ACT, EDIT):
      chosen = has_reward & (role == r) & (group == g)
      if chosen.any():
        assert abs(result[chosen].mean()) < 1e-5
  assert (result[~has_reward] == 0).all()


@QUICK
@hypothesis.given(random_units(roles=(EDIT,)))
def test_dual_equals_joint_with_one_role(drawn):
  close(DUAL(*units(*drawn)), JOINT(*units(*drawn)), 1e-6)


@QUICK
@hypothesis.given(random_units(), st.sampled_from([0.01, 3.0, 100.0]))
def test_scale_of_edit_rewards_never_touches_act(drawn, factor):
  rewards, role, group = drawn
  scaled = np.where(role == EDIT, factor * rewards, rewards)
  before = np.asarray(DUAL(*units(*drawn)))
  after = np.asarray(DUAL(*units(scaled, role, group)))
  assert (before[role == ACT] == after[role == ACT]).all()
