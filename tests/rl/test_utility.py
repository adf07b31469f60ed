import functools

import hypothesis
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import strategies as st

from skilljax.rl import utility as utility_lib

# Step cap 10, four probes (success, turns):
#   before: (1, 5) (0, 10) (1, 4) (1, 8) -> 1.5, 0, 1.6, 1.2
#   after:  (1, 3) (1, 10) (0, 10) (1, 8) -> 1.7, 1.0, 0, 1.2
#   δ = 0.2, 1.0, −1.6, 0: mean −0.1; wins 2, losses 1 -> α · 1/4
BEFORE = np.array([1.5, 0.0, 1.6, 1.2], np.float32)
AFTER = np.array([1.7, 1.0, 0.0, 1.2], np.float32)


def test_probe_score_by_hand(compiled):
  success = jnp.array([1, 1, 0, 1])
  length = jnp.array([3, 10, 10, 8])
  score = compiled(utility_lib.probe_score)(success, length, jnp.full(4, 10))
  np.testing.assert_allclose(score, AFTER, rtol=1e-6)


@pytest.mark.parametrize(("alpha", "expected"), [(0.3, -0.025), (0.2, -0.05), (0, -0.1)])
def test_utility_by_hand(alpha, expected, compiled):
  utility = functools.partial(utility_lib.utility, alpha=alpha)
  np.testing.assert_allclose(compiled(utility)(BEFORE, AFTER), expected, atol=1e-6)


def test_default_is_the_paper():
  np.testing.assert_allclose(utility_lib.utility(BEFORE, AFTER), -0.025, atol=1e-6)


def test_clipped_utility_by_hand():
  assert utility_lib.clipped_utility(BEFORE, AFTER) == 0.0
  # Swapped: 0.1 − 0.05 … = mean 0.1, wins 1, losses 2: 0.1 − 0.2/4 = 0.05.
  swapped = utility_lib.clipped_utility(AFTER, BEFORE)
  np.testing.assert_allclose(swapped, 0.05, atol=1e-6)
  # The penalty comes after the clip, and a smaller bank earns nothing.
  grown = utility_lib.clipped_utility(AFTER, BEFORE, size_growth=2.0, size_penalty=0.04)
  np.testing.assert_allclose(grown, -0.03, atol=1e-6)
  shrunk = utility_lib.clipped_utility(AFTER, BEFORE, size_growth=-2.0, size_penalty=0.04)
  np.testing.assert_allclose(shrunk, 0.05, atol=1e-6)


def test_failed_probes_are_left_out():
  # Without the third pair: δ = 0.2, 1.0, 0 -> 0.4 + 0.3 · 2/3 = 0.6.
  broken = AFTER.copy()
  broken[2] = np.nan
  np.testing.assert_allclose(utility_lib.utility(BEFORE, broken), 0.6, atol=1e-6)
  assert np.isnan(utility_lib.utility(BEFORE, np.full(4, np.nan, np.float32)))
  assert np.isnan(utility_lib.clipped_utility(BEFORE, np.full(4, np.nan, np.float32)))


@hypothesis.settings(deadline=None, max_examples=40, derandomize=True)
@hypothesis.given(
  st.lists(
    st.tuples(*[st.sampled_from([0.0, 1.0, 1.25, 1.9])] * 2), min_size=1, max_size=6
  )
)
def test_utility_is_antisymmetric_and_blind_to_order(pairs):
  before, after = np.array(pairs, np.float32).T
  there = utility_lib.utility(before, after)
  np.testing.assert_allclose(utility_lib.utility(after, before), -there, atol=1e-6)
  reverse = utility_lib.utility(before[::-1].copy(), after[::-1].copy())
  np.testing.assert_allclose(reverse, there, atol=1e-6)
  assert utility_lib.utility(before, before) == 0.0


def test_null_quantile_by_hand(compiled):
  # M = 9, level 0.2: k = ⌈0.8 · 10⌉ = 8, the 8th smallest of 1 … 9 in any order.
  nulls = jnp.array([3, 9, 1, 7, 5, 2, 8, 4, 6], jnp.float32)
  quantile = functools.partial(utility_lib.null_quantile, level=0.2)
  assert compiled(quantile)(nulls) == 8.0
  assert utility_lib.null_quantile(nulls, level=0.1) == 9.0


def test_beats_null_is_the_permutation_test(compiled):
  nulls = jnp.array([-0.3, -0.1, 0, 0, 0, 0.1, 0.1, 0.2, 0.4], jnp.float32)
  candidates = jnp.array([-1, 0.1, 0.2, 0.25, 0.4, 0.5, jnp.nan], jnp.float32)
  for level in (0.1, 0.2, 0.35, 0.5):
    gate = functools.partial(utility_lib.beats_null, level=level)
    p_value = (1 + (nulls[None] >= candidates[:, None]).sum(axis=1)) / 10
    expected = (p_value <= level + 1e-6) & (candidates > 0)
    assert compiled(gate)(candidates, nulls).tolist() == expected.tolist()


def test_a_null_edit_passes_no_more_often_than_level():
  # 20 exchangeable values with no ties; each one in turn is the candidate: exactly
  # ⌊level · 20⌋ = 2 of them pass. The gate is shifted so that `margin` plays no part.
  values = 5.0 + np.random.default_rng(0).normal(size=20).astype(np.float32)
  passed = [
    bool(utility_lib.beats_null(values[i], jnp.array(np.delete(values, i)), level=0.1))
    for i in range(20)
  ]
  assert sum(passed) == 2


def test_margin_keeps_out_the_less_harmful():
  nulls = jnp.full(9, -0.5)
  assert not utility_lib.beats_null(jnp.array(-0.1), nulls)
  assert utility_lib.beats_null(jnp.array(-0.1), nulls, margin=-1.0)


def test_bad_arguments_raise():
  with pytest.raises(ValueError, match="alpha is -1"):
    utility_lib.utility(BEFORE, AFTER, alpha=-1)
  with pytest.raises(ValueError, match="size_penalty is -1"):
    utility_lib.clipped_utility(BEFORE, AFTER, size_penalty=-1)
  with pytest.raises(ValueError, match="level is 1"):
    utility_lib.null_quantile(jnp.zeros(9), level=1.0)
  # 18 values: the smallest possible p-value is 1/19 > 0.05.
  with pytest.raises(ValueError, match=r"18 null utilities .* at least 19"):
    utility_lib.null_quantile(jnp.zeros(18), level=0.05)
  assert utility_lib.null_quantile(jnp.zeros(19), level=0.05) == 0.0
