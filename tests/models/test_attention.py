import functools
import math

import jax.numpy as jnp
import numpy as np
import pytest

from skilljax.models import attention
from skilljax.models.config import ModelConfig, RopeScaling

config = functools.partial(
  ModelConfig,
  vocab_size=4,
  d_model=4,
  num_layers=1,
  num_heads=2,
  num_kv_heads=1,
  head_dim=4,
  d_ff=4,
)


def test_rotation_by_hand():
  # theta 100, H = 4: frequencies 1 and 0.1; pairs are (x0, x2) and (x1, x3).
  cos, sin = attention.rope_angles(jnp.array([[0, 3]]), config(rope_theta=100.0))
  x = jnp.broadcast_to(jnp.array([1.0, 0.0, 0.0, 2.0]), (1, 2, 1, 4))
  turned = attention.rotate(x, cos, sin)[0, :, 0]
  np.testing.assert_allclose(turned[0], [1, 0, 0, 2], atol=1e-6)
  expected = [math.cos(3), -2 * math.sin(0.3), math.sin(3), 2 * math.cos(0.3)]
  np.testing.assert_allclose(turned[1], expected, rtol=1e-5)


def test_llama3_stretch_by_hand():
  scaling = RopeScaling(
    factor=4.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_len=100
  )
  # theta 100: frequencies 1 and 0.1 make 15.9 and 1.59 turns in 100 tokens. The first
  # is kept; of the second a share (1.5915 - 1) / 3 = 0.19718 is kept, the rest over 4.
  cos, sin = attention.rope_angles(
    jnp.array([[1]]), config(rope_theta=100.0, rope_scaling=scaling)
  )
  angles = np.arctan2(sin, cos)[0, 0]
  expected = [1.0, 0.1 * (0.19718 + 0.80282 / 4)]
  np.testing.assert_allclose(angles, expected, rtol=1e-4)


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
