"""Rotations and their stretches by hand; parity with `transformers` is in test_parity."""

import math

import jax.numpy as jnp
import numpy as np
import pytest

from skilljax.models import rope


def test_rotation_by_hand():
  # theta 100, H = 4: frequencies 1 and 0.1; pairs are (x0, x2) and (x1, x3).
  cos, sin = rope.angles(jnp.array([[0, 3]]), 4, 100.0)
  x = jnp.broadcast_to(jnp.array([1.0, 0.0, 0.0, 2.0]), (1, 2, 1, 4))
  turned = rope.rotate(x, cos, sin)[0, :, 0]
  np.testing.assert_allclose(turned[0], [1, 0, 0, 2], atol=1e-6)
  expected = [math.cos(3), -2 * math.sin(0.3), math.sin(3), 2 * math.cos(0.3)]
  np.testing.assert_allclose(turned[1], expected, rtol=1e-5)


def test_llama3_stretch_by_hand():
  scaling = rope.Llama3Scaling(
    factor=4.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_len=100
  )
  # theta 100: frequencies 1 and 0.1 make 15.9 and 1.59 turns in 100 tokens. The first
  # is kept; of the second a share (1.5915 - 1) / 3 = 0.19718 is kept, the rest over 4.
  cos, sin = rope.angles(jnp.array([[1]]), 4, 100.0, scaling)
  found = np.arctan2(sin, cos)[0, 0]
  expected = [1.0, 0.1 * (0.19718 + 0.80282 / 4)]
  np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_yarn_ramp_by_hand():
  # H = 8, theta 10^4: frequencies 10^0, 10^-1, 10^-2, 10^-3. In 6283.185 tokens dimension
  # d turns 1000·10^-d times; beta 100 lies at d = 1, beta 1 at d = 3, the ramp between.
  scaling = rope.YarnScaling(
    factor=4.0, original_max_len=6283, beta_fast=100.0, beta_slow=1.0, truncate=False
  )
  found = rope.frequencies(8, 1e4, scaling)
  np.testing.assert_allclose(
    found, [1, 0.1, 0.01 * (0.5 + 0.5 / 4), 0.001 / 4], rtol=1e-3
  )
  assert scaling.amplitude == pytest.approx(0.1 * math.log(4) + 1)
  cos, sin = rope.angles(jnp.array([[5]]), 8, 1e4, scaling)
  np.testing.assert_allclose(np.hypot(cos, sin), scaling.amplitude, rtol=1e-5)


def test_linear_scaling_slows_all_alike():
  found = rope.frequencies(4, 100.0, rope.LinearScaling(5.0))
  np.testing.assert_allclose(found, [0.2, 0.02], rtol=1e-6)


@pytest.mark.parametrize(
  ("make", "message"),
  [
    (lambda: rope.Llama3Scaling(factor=0.5), r"rope_scaling\.factor=0\.5 must be >= 1"),
    (lambda: rope.Llama3Scaling(low_freq_factor=5.0), r"low_freq_factor=5\.0 must be in"),
    (lambda: rope.YarnScaling(4.0, 0), r"model\.rope_scaling\.original_max_len"),
    (lambda: rope.YarnScaling(4.0, 9, beta_slow=40.0), "beta_slow=40"),
    (lambda: rope.LinearScaling(0.0), "factor=0"),
  ],
)
def test_scalings_out_of_range_are_refused(make, message):
  with pytest.raises(ValueError, match=message):
    make()
