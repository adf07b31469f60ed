import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from skilljax.rl import losses


def array(*values):
  return jnp.array(values, jnp.float32)


# ε_low 0.2, ε_high 0.3, dual clip 3; ratios exp(current − old), old = −1 everywhere:
#   ratio  A     −A·ρ   −A·clip(ρ)   loss   clipped
#   1.0    2    −2      −2           −2
#   1.5    2    −3      −2.6         −2.6   high
#   0.5    2    −1      −1.6         −1
#   0.5   −1     0.5     0.8          0.8   low
#   2.0   −1     2       1.3          2
#   5.0   −1     5       1.3          3     dual
RATIOS = array(1.0, 1.5, 0.5, 0.5, 2.0, 5.0)
ADVANTAGES = array(2.0, 2.0, 2.0, -1.0, -1.0, -1.0)
LOSSES = [-2.0, -2.6, -1.0, 0.8, 2.0, 3.0]
OLD = jnp.full(6, -1.0)
CURRENT = OLD + jnp.log(RATIOS)
SURROGATE = functools.partial(losses.clipped_surrogate, clip_eps_high=0.3)


def test_clipped_surrogate_by_hand(compiled):
  result = compiled(SURROGATE)(CURRENT, OLD, ADVANTAGES)
  np.testing.assert_allclose(result.loss, LOSSES, rtol=1e-5)
  np.testing.assert_allclose(result.ratio, RATIOS, rtol=1e-5)
  assert np.flatnonzero(result.clipped_high).tolist() == [1]
  assert np.flatnonzero(result.clipped_low).tolist() == [3]
  assert np.flatnonzero(result.dual_clipped).tolist() == [5]


def test_without_dual_clip_a_bad_token_costs_without_limit():
  result = SURROGATE(CURRENT, OLD, ADVANTAGES, dual_clip=None)
  np.testing.assert_allclose(result.loss[5], 5.0, rtol=1e-5)
  assert not np.asarray(result.dual_clipped).any()


def test_gradient_by_hand(compiled):
  # dL/dlogπ = −A ρ where nothing is clipped, else 0; none to old or advantages.
  def total(*args):
    return SURROGATE(*args).loss.sum()

  gradients = compiled(jax.grad(total, argnums=(0, 1, 2)))(CURRENT, OLD, ADVANTAGES)
  np.testing.assert_allclose(gradients[0], [-2, 0, -1, 0, 2, 0], atol=1e-5)
  assert not np.asarray(gradients[1]).any() and not np.asarray(gradients[2]).any()


def test_extreme_log_ratios_stay_finite():
  def total(current):
    surrogate = losses.clipped_surrogate(current, array(-500.0, 0.0), array(1.0, -1.0))
    return (surrogate.loss + losses.kl(current, array(0.0, -500.0))).sum()

  value, gradient = jax.value_and_grad(total)(array(0.0, -500.0))
  assert np.isfinite(value) and np.isfinite(np.asarray(gradient)).all()


@pytest.mark.parametrize(
  ("estimator", "expected"),
  [
    # d = log π_ref − log π = log 2, log ½
    ("k1", [-math.log(2), math.log(2)]),
    ("k2", [math.log(2) ** 2 / 2] * 2),
    ("k3", [1 - math.log(2), math.log(2) - 0.5]),
  ],
)
def test_kl_by_hand(estimator, expected, compiled):
  kl = compiled(functools.partial(losses.kl, estimator=estimator))
  logprobs = array(math.log(0.25), math.log(0.5))
  ref_logprobs = array(math.log(0.5), math.log(0.25))
  np.testing.assert_allclose(kl(logprobs, ref_logprobs), expected, rtol=1e-5)


def test_kl_estimators_have_the_right_mean():
  # Over all tokens of π, k1 and k3 average to Σ π log(π/π_ref) exactly; the gradient
  # of k2 in the logits averages to that of the KL, the gradient of k1 to 0.
  ref = jax.nn.log_softmax(array(0.3, -0.2, 0.9))
  logits = array(1.0, 0.0, -0.5)
  probs = jax.nn.softmax(logits)

  def exact(x):
    return (jax.nn.softmax(x) * (jax.nn.log_softmax(x) - ref)).sum()

  def sampled(x, estimator):
    return (probs * losses.kl(jax.nn.log_softmax(x), ref, estimator=estimator)).sum()

  for estimator in ("k1", "k3"):
    np.testing.assert_allclose(sampled(logits, estimator), exact(logits), rtol=1e-5)
  gradient = jax.grad(exact)(logits)
  np.testing.assert_allclose(jax.grad(sampled)(logits, "k2"), gradient, atol=1e-6)
  np.testing.assert_allclose(jax.grad(sampled)(logits, "k1"), np.zeros(3), atol=1e-6)


def test_importance_weights_by_hand(compiled):
  # π_old / π_behavior = 0.5, 1, 4; the last is cut at 2. No gradient.
  old, behavior = OLD[:3] + jnp.log(array(0.5, 1.0, 4.0)), OLD[:3]
  weights = functools.partial(losses.importance_weights, cap=2.0)
  np.testing.assert_allclose(compiled(weights)(old, behavior), [0.5, 1, 2], rtol=1e-5)
  gradient = jax.grad(lambda x: weights(x, behavior).sum())(old)
  assert not np.asarray(gradient).any()


def test_bad_arguments_raise():
  args = (CURRENT, OLD, ADVANTAGES)
  with pytest.raises(ValueError, match="clip_eps_low=1"):
    losses.clipped_surrogate(*args, clip_eps_low=1.0)
  with pytest.raises(ValueError, match="clip_eps_high=-1"):
    losses.clipped_surrogate(*args, clip_eps_high=-1.0)
  with pytest.raises(ValueError, match="dual_clip is 1"):
    losses.clipped_surrogate(*args, dual_clip=1.0)
  with pytest.raises(ValueError, match="estimator is 'k4'"):
    losses.kl(CURRENT, OLD, estimator="k4")
  with pytest.raises(ValueError, match=r"cap is 0\.5"):
    losses.importance_weights(CURRENT, OLD, cap=0.5)
  with pytest.raises(AssertionError):
    losses.clipped_surrogate(CURRENT, OLD[:2], ADVANTAGES)
