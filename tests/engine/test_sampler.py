import jax
import jax.numpy as jnp
import numpy as np
import pytest

from skilljax.engine import sampler

# A vocabulary of five: probabilities 0.4, 0.3, 0.15, 0.1, 0.05, in another order.
PROBS = np.array([0.1, 0.4, 0.05, 0.3, 0.15], np.float32)
LOGITS = np.log(PROBS)
SAMPLE = jax.jit(sampler.sample, static_argnames=("top_k", "top_p"))


def draw(u, temperature=1.0, logits=LOGITS, **truncation):
  """(token, behavior, sampled) arrays, one per uniform."""
  size = -len(u) % 50 + len(u)  # few shapes, few compilations
  padded = jnp.asarray(np.resize(u, size), jnp.float32)
  rows = jnp.broadcast_to(jnp.asarray(logits), (size, len(logits)))
  temperatures = jnp.full(size, temperature, jnp.float32)
  drawn = SAMPLE(rows, padded, temperatures, **truncation)
  return tuple(np.asarray(column)[: len(u)] for column in drawn)


def test_inverse_cdf_by_hand():
  # Cumulative: 0.1, 0.5, 0.55, 0.85, 1.0.
  u = [0.0, 0.09, 0.11, 0.49, 0.51, 0.56, 0.84, 0.86, 0.9999]
  token, behavior, sampled = draw(u)
  assert token.tolist() == [0, 0, 1, 1, 2, 3, 3, 4, 4]
  np.testing.assert_allclose(behavior, LOGITS[token], atol=1e-6)
  np.testing.assert_allclose(sampled, LOGITS[token], atol=1e-6)


def test_top_k_by_hand():
  # The top three are 0.4, 0.3, 0.15 (ids 1, 3, 4), of mass 0.85.
  token, behavior, sampled = draw([0.0, 0.46, 0.48, 0.82, 0.83, 0.99], top_k=3)
  # Cumulative over the sorted list: 0.4/0.85 = 0.4706, 0.7/0.85 = 0.8235, 1.
  assert token.tolist() == [1, 1, 3, 3, 4, 4]
  np.testing.assert_allclose(behavior, LOGITS[token], atol=1e-6)
  np.testing.assert_allclose(sampled, LOGITS[token] - np.log(0.85), atol=1e-6)


def test_top_p_by_hand():
  # 0.4 + 0.3 = 0.7 < 0.8 <= 0.85: the nucleus is ids 1, 3, 4.
  token, behavior, sampled = draw([0.0, 0.46, 0.48, 0.82, 0.83, 0.99], top_p=0.8)
  # Cumulative in order of ids: 1 at 0.4706, 3 at 0.8235, 4 at 1.
  assert token.tolist() == [1, 1, 3, 3, 4, 4]
  np.testing.assert_allclose(behavior, LOGITS[token], atol=1e-6)
  np.testing.assert_allclose(sampled, LOGITS[token] - np.log(0.85), atol=1e-6)


def test_top_k_then_top_p_by_hand():
  # Top three renormalised: 0.4706, 0.3529, 0.1765. The first two reach 0.8.
  token, _, sampled = draw([0.1, 0.56, 0.58, 0.99], top_k=3, top_p=0.8)
  assert token.tolist() == [1, 1, 3, 3]  # 0.4 / 0.7 = 0.5714
  np.testing.assert_allclose(sampled, LOGITS[token] - np.log(0.7), atol=1e-6)


def test_temperature_by_hand():
  # Temperature 0.5 squares the probabilities: 0.16 / 0.285 is the largest.
  token, behavior, sampled = draw([0.2], temperature=0.5)
  squared = PROBS**2 / (PROBS**2).sum()
  assert token.tolist() == [1]
  assert behavior[0] == pytest.approx(np.log(squared[1]), abs=1e-6)
  assert sampled[0] == pytest.approx(np.log(squared[1]), abs=1e-6)


@pytest.mark.parametrize("truncation", [{}, {"top_k": 2}, {"top_p": 0.5}])
def test_greedy(truncation):
  token, behavior, sampled = draw([0.0, 0.5, 0.999], temperature=0.0, **truncation)
  assert token.tolist() == [1, 1, 1]
  np.testing.assert_allclose(behavior, np.log(0.4), atol=1e-6)
  assert sampled.tolist() == [0, 0, 0]


def test_limits_that_truncate_nothing():
  u = np.linspace(0, 0.999, 50)
  plain = draw(u)
  for truncation in ({"top_k": 5}, {"top_k": 9}, {"top_p": 1.0}):
    for a, b in zip(plain, draw(u, **truncation), strict=True):
      np.testing.assert_array_equal(a, b)


def test_temperatures_differ_by_row():
  rows = jnp.broadcast_to(jnp.asarray(LOGITS), (3, 5))
  u = jnp.full(3, 0.999)
  token, behavior, _ = sampler.sample(rows, u, jnp.asarray([0.0, 1.0, 0.5]))
  assert token.tolist() == [1, 4, 4]
  expected = [0.4, 0.15, 0.15**2 / (PROBS**2).sum()]
  np.testing.assert_allclose(behavior, np.log(expected), atol=1e-5)


@pytest.mark.parametrize("vocab", [1, 2, 5, 10, 1000])
def test_inverse_cdf_agrees_with_a_sorted_search(vocab):
  rng = np.random.default_rng(vocab)
  probs = rng.random((64, vocab)).astype(np.float32) ** 4
  u = rng.random(64).astype(np.float32)
  got = np.asarray(sampler.inverse_cdf(jnp.asarray(probs), jnp.asarray(u)))
  cumulative = np.cumsum(probs.astype(np.float64), axis=1)
  target = u * cumulative[:, -1]
  margin = np.abs(cumulative - target[:, None]).min(1) / cumulative[:, -1]
  clear = margin > 1e-5  # closer than that, float32 may fall on either side
  assert clear.sum() >= 50
  expected = [np.searchsorted(c, t) for c, t in zip(cumulative, target, strict=True)]
  np.testing.assert_array_equal(got[clear], np.asarray(expected)[clear])


def test_zero_probabilities_are_never_drawn():
  probs = np.zeros((2, 300), np.float32)
  probs[:, 120] = probs[:, 170] = 1e-3
  top = np.float32(1 - 2**-23)  # the largest uniform there is
  u = jnp.asarray([0.0, top], jnp.float32)
  assert sampler.inverse_cdf(jnp.asarray(probs), u).tolist() == [120, 170]


@pytest.mark.parametrize("truncation", [{}, {"top_k": 40}, {"top_p": 0.9}])
def test_frequencies(truncation):
  """Chi-square over 200 tokens; 50,000 draws from a fixed key."""
  rng = np.random.default_rng(0)
  logits = rng.normal(size=200).astype(np.float32)
  u = np.asarray(jax.random.uniform(jax.random.key(5), (50_000,)))
  token, _, sampled = draw(u, logits=logits, **truncation)
  expected = np.zeros(200)
  expected[token] = np.exp(sampled)  # every kept token turns up in so many draws
  assert expected.sum() == pytest.approx(1.0, abs=1e-4)
  kept = expected > 0
  counts = np.bincount(token, minlength=200)
  chi_square = ((counts - len(u) * expected) ** 2)[kept] / (len(u) * expected[kept])
  degrees = kept.sum() - 1
  assert chi_square.sum() < degrees + 4 * np.sqrt(2 * degrees)


def test_nucleus_threshold_is_the_smallest_kept_probability():
  rng = np.random.default_rng(1)
  probs = rng.dirichlet(np.ones(50) * 0.3, size=20).astype(np.float32)
  got = np.asarray(sampler.nucleus_threshold(jnp.asarray(probs), 0.9))
  for row, threshold in zip(probs, got, strict=True):
    ordered = np.sort(row)[::-1]
    size = np.searchsorted(np.cumsum(ordered.astype(np.float64)), 0.9) + 1
    assert threshold == ordered[size - 1]


def test_no_sort_of_the_vocabulary():
  rows, u = jnp.zeros((2, 4096)), jnp.zeros(2)
  for truncation in ({}, {"top_p": 0.9}, {"top_k": 8, "top_p": 0.9}):
    text = str(
      jax.make_jaxpr(lambda a, b, t=truncation: sampler.sample(a, b, b, **t))(rows, u)
    )
    assert " sort[" not in text
