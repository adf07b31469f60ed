import functools

import hypothesis
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import strategies as st

from skilljax.rl import aggregation

# Two rows. Sequence 0 has values 1, 2, 3; sequence 1 has 10; sequence 2 has 4, 6 and an
# untrained token in the middle; one padding token; sequence 3 has no trained token.
VALUES = jnp.array([[1, 2, 3, 10, 99], [4, 99, 6, 99, 99]], jnp.float32)
MASK = jnp.array([[1, 1, 1, 1, 0], [1, 0, 1, 0, 0]], bool)
IDS = jnp.array([[0, 0, 0, 1, -1], [2, 2, 2, 3, -1]], jnp.int32)
# token_mean:              26 / 6
# seq_mean_token_mean:     (2 + 10 + 5) / 3; the empty sequence does not count
# seq_mean_token_sum_norm: 26 / (3 · 8)
EXPECTED = {
  "token_mean": 26 / 6,
  "seq_mean_token_mean": 17 / 3,
  "seq_mean_token_sum_norm": 26 / 24,
}
ALL_MODES = pytest.mark.parametrize("mode", aggregation.MODES)


def options(mode, num_sequences=4):
  max_tokens = 8 if mode == "seq_mean_token_sum_norm" else None
  return {"mode": mode, "num_sequences": num_sequences, "max_tokens": max_tokens}


@ALL_MODES
def test_modes_by_hand(mode, compiled):
  aggregate = functools.partial(aggregation.aggregate, **options(mode))
  actual = compiled(aggregate)(VALUES, MASK, IDS)
  np.testing.assert_allclose(actual, EXPECTED[mode], rtol=1e-6)


@ALL_MODES
def test_float_mask_and_micro_batch_axes(mode):
  shape = (2, 1, 5)
  weights = aggregation.token_weights(
    np.asarray(MASK, np.float32).reshape(shape),
    np.asarray(IDS).reshape(shape),
    **options(mode),
  )
  assert weights.shape == shape
  total = aggregation.weighted_sum(VALUES.reshape(shape), weights)
  np.testing.assert_allclose(total, EXPECTED[mode], rtol=1e-6)


@ALL_MODES
def test_parts_with_counts_of_the_whole(mode):
  # The two rows are weighed apart, with token counts added up beforehand.
  rows = [(VALUES[r : r + 1], MASK[r : r + 1], IDS[r : r + 1]) for r in range(2)]
  counts = sum(aggregation.count_tokens(m, i, num_sequences=4) for _, m, i in rows)
  assert counts.tolist() == [3, 1, 2, 0]
  total = sum(
    aggregation.weighted_sum(
      v, aggregation.token_weights(m, i, counts=counts, **options(mode))
    )
    for v, m, i in rows
  )
  np.testing.assert_allclose(total, EXPECTED[mode], rtol=1e-6)


@ALL_MODES
def test_padding_and_packing_change_nothing(mode):
  # The same tokens in one long row, in another order, with padding and spare ids.
  order = np.array([8, 3, 7, 0, 5, 1, 6, 2, 4, 9])
  padding = jnp.array([jnp.nan] * 3)
  values = jnp.concatenate([VALUES.ravel()[order], padding])
  mask = jnp.concatenate([MASK.ravel()[order], jnp.zeros(3, bool)])
  ids = jnp.concatenate([IDS.ravel()[order], jnp.full(3, -1, jnp.int32)])
  actual = aggregation.aggregate(values, mask, ids, **options(mode, num_sequences=9))
  np.testing.assert_allclose(actual, EXPECTED[mode], rtol=1e-6)


@ALL_MODES
def test_without_trained_tokens_weights_are_zero(mode):
  weights = aggregation.token_weights(jnp.zeros_like(MASK), IDS, **options(mode))
  assert not np.asarray(weights).any()


@ALL_MODES
def test_trained_token_with_id_out_of_range_is_loud(mode):
  mask = MASK.at[0, 4].set(True)  # trained, but its id is −1
  weights = np.asarray(aggregation.token_weights(mask, IDS, **options(mode)))
  assert np.isnan(weights[0, 4]) and np.isnan(weights).sum() == 1
  weights = np.asarray(
    aggregation.token_weights(MASK, IDS, **options(mode, num_sequences=2))
  )
  assert np.isnan(weights[1]).tolist() == [True, False, True, False, False]


@hypothesis.settings(deadline=None, max_examples=30, derandomize=True)
@hypothesis.given(st.lists(st.integers(-1, 4), min_size=1, max_size=20))
def test_means_have_weights_that_sum_to_one(ids):
  ids = jnp.array([ids + [-1] * (20 - len(ids))], jnp.int32)  # one shape: one compile
  for mode in ("token_mean", "seq_mean_token_mean"):
    weights = aggregation.token_weights(ids >= 0, ids, mode=mode, num_sequences=5)
    expected = 1.0 if bool((ids >= 0).any()) else 0.0
    np.testing.assert_allclose(weights.sum(), expected, rtol=1e-5)


def test_bad_modes_raise():
  with pytest.raises(ValueError, match="mode is 'mean'"):
    aggregation.token_weights(MASK, IDS, mode="mean", num_sequences=4)
  for mode, max_tokens in [("seq_mean_token_sum_norm", None), ("token_mean", 8)]:
    with pytest.raises(ValueError, match="max_tokens is"):
      aggregation.token_weights(
        MASK, IDS, mode=mode, num_sequences=4, max_tokens=max_tokens
      )
