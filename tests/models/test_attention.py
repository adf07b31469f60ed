import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from skilljax.models import attention


def test_two_query_heads_share_a_key_head():
  # Scores 0 or large: head 0 looks at the key it equals, head 1 at everything alike.
  k = jnp.array([[[[1.0, 0.0]], [[0.0, 1.0]]]])
  v = jnp.array([[[[10.0, 0.0]], [[0.0, 20.0]]]])
  q = jnp.array([[[[0.0, 0.0], [0.0, 0.0]], [[100.0, 0.0], [0.0, 0.0]]]])
  out = attention.packed_attention(q, k, v, jnp.ones((1, 2), jnp.int32))
  np.testing.assert_allclose(out[0, 0], [[10, 0], [10, 0]], atol=1e-5)
  np.testing.assert_allclose(out[0, 1], [[10, 0], [5, 10]], atol=1e-5)


def test_scores_are_scaled_by_the_head_size():
  # q·k / sqrt(4) = 2·ln 3 / 2 = ln 3, against 0: weights 3/4 and 1/4.
  k = jnp.zeros((1, 2, 1, 4)).at[0, 1, 0, 0].set(2 * math.log(3))
  v = jnp.zeros((1, 2, 1, 4)).at[0, 1, 0, 0].set(1.0)
  q = jnp.zeros((1, 2, 1, 4)).at[0, :, 0, 0].set(1.0)
  out = attention.packed_attention(q, k, v, jnp.ones((1, 2), jnp.int32))
  assert float(out[0, 1, 0, 0]) == pytest.approx(0.75, abs=1e-6)


def test_a_window_hides_what_lies_further_back():
  # All scores are equal, so each token sees the mean of the values in its window.
  v = jnp.arange(1.0, 7.0).reshape(1, 6, 1, 1) * jnp.ones((1, 6, 1, 2))
  q = k = jnp.zeros((1, 6, 1, 2))
  segments = jnp.array([[1, 1, 1, 1, 2, 2]])
  out = attention.packed_attention(q, k, v, segments, jnp.int32(2))
  np.testing.assert_allclose(out[0, :, 0, 0], [1, 1.5, 2.5, 3.5, 5, 5.5], atol=1e-6)
  whole = attention.packed_attention(q, k, v, segments, jnp.int32(0))
  np.testing.assert_allclose(whole[0, :, 0, 0], [1, 1.5, 2, 2.5, 5, 5.5], atol=1e-6)
  cache = (jnp.zeros((1, 1, 2, 8)), jnp.zeros((1, 1, 8, 2)))
  out, _ = attention.cached_attention(q, k, v, cache, jnp.arange(6)[None], 8, window=3)
  np.testing.assert_allclose(out[0, :, 0, 0], [1, 1.5, 2, 3, 4, 5], atol=1e-6)


@pytest.mark.parametrize("window", [None, 5])
@pytest.mark.parametrize("length", [61, 64])
def test_long_rows_in_a_loop_are_the_unrolled_ones(monkeypatch, window, length):
  keys = jax.random.split(jax.random.key(0), 4)
  q, k, v, seen = (
    jax.random.normal(key, (2, length, heads, 4))
    for key, heads in zip(keys, (4, 2, 2, 4), strict=True)
  )
  segments = jnp.repeat(jnp.array([[1, 2], [1, 0]]), length, axis=1)[:, ::2]
  window = None if window is None else jnp.int32(window)

  def traced_and_run():
    def total(q, k, v):  # a new function each time: traces are kept by function
      return (attention.packed_attention(q, k, v, segments, window) * seen).sum()

    both = jax.value_and_grad(total, argnums=(0, 1, 2))
    return str(jax.make_jaxpr(both)(q, k, v)), jax.jit(both)(q, k, v)

  monkeypatch.setattr(attention, "_QUERY_BLOCK", 4)
  unrolled, expected = traced_and_run()
  monkeypatch.setattr(attention, "_MAX_UNROLLED", 2)
  looped, found = traced_and_run()
  assert "scan" in looped and "scan" not in unrolled
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-5), found, expected)
