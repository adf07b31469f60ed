import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from skilljax.models import logprobs, transformer
from skilljax.models.config import ModelConfig


def bigram_model() -> tuple[ModelConfig, transformer.Params]:
  """A model whose next-token distribution depends on the last token only, by hand.

  All layer weights are 0, so the residual stream is the embedding, one-hot of 4 tokens.
  The final norm maps a one-hot of width 4 to 2 · one-hot (mean square 1/4), so the
  logits after token i are 2 · head[i].
  """
  cfg = ModelConfig(
    vocab_size=4,
    d_model=4,
    num_layers=1,
    num_heads=1,
    num_kv_heads=1,
    head_dim=2,
    d_ff=2,
    tie_embeddings=False,
    norm_eps=1e-12,
  )
  params = jax.tree.map(jnp.zeros_like, transformer.init_params(jax.random.key(0), cfg))
  params["embed"] = jnp.eye(4)
  params["final_norm"] = jnp.ones(4)
  # After 0: uniform. After 1: token 3 gets weight 5, the others 1. After 2: token 0
  # gets 2 and token 1 gets 2. After 3: token 2 has nearly everything.
  weights = jnp.array([[1, 1, 1, 1], [1, 1, 1, 5], [2, 2, 1, 1], [1, 1, 1e9, 1.0]])
  params["head"] = jnp.log(weights) / 2
  return cfg, params


def test_position_t_scores_token_t():
  cfg, params = bigram_model()
  # Two segments 1 3 2 | 2 0 and padding.
  tokens = jnp.array([[1, 3, 2, 2, 0, 0, 0]])
  positions = jnp.array([[0, 1, 2, 0, 1, 0, 0]])
  segments = jnp.array([[1, 1, 1, 2, 2, 0, 0]])
  scores, entropy = logprobs.sequence_logprobs(params, tokens, positions, segments, cfg)
  # t=1: p(3 | 1) = 5/8. t=2: p(2 | 3) = 1. t=3 starts a segment. t=4: p(0 | 2) = 2/6.
  expected = [0, math.log(5 / 8), 0, 0, math.log(2 / 6), 0, 0]
  np.testing.assert_allclose(scores[0], expected, atol=1e-6)
  # Entropy after 1: 3 · (1/8) ln 8 + (5/8) ln (8/5); after 2: (2/3) ln 3 + (1/3) ln 6.
  after_1 = 3 / 8 * math.log(8) + 5 / 8 * math.log(8 / 5)
  after_2 = 2 / 3 * math.log(3) + 1 / 3 * math.log(6)
  np.testing.assert_allclose(entropy[0], [0, after_1, 0, 0, after_2, 0, 0], atol=1e-6)


def test_temperature_divides_the_logits():
  cfg, params = bigram_model()
  tokens, positions = jnp.array([[1, 3]]), jnp.array([[0, 1]])
  scores, _ = logprobs.sequence_logprobs(
    params, tokens, positions, jnp.ones_like(tokens), cfg, temperature=2.0
  )
  # Weights 1, 1, 1, sqrt(5).
  expected = math.log(math.sqrt(5) / (3 + math.sqrt(5)))
  assert float(scores[0, 1]) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("chunk", [1, 4, 9])
def test_chunked_equals_unchunked_with_gradients(cfg, params, chunk, tied):
  cfg = dataclasses.replace(cfg, tie_embeddings=tied)
  hidden = jax.random.normal(jax.random.key(1), (2, 9, cfg.d_model))
  targets = jax.random.randint(jax.random.key(2), (2, 9), 0, cfg.vocab_size)
  weights = jnp.cos(jnp.arange(18.0)).reshape(2, 9)

  def plain(params, hidden):
    scores = jax.nn.log_softmax(transformer.logits(params, hidden, cfg) / 0.7)
    chosen = jnp.take_along_axis(scores, targets[..., None], axis=-1)[..., 0]
    return chosen, -jnp.sum(jnp.exp(scores) * scores, axis=-1)

  def chunked(params, hidden):
    return logprobs.token_logprobs(
      params, hidden, targets, cfg, temperature=0.7, chunk=chunk
    )

  def loss(score, params, hidden):
    chosen, entropy = score(params, hidden)
    return jnp.sum(weights * chosen + 0.3 * entropy), (chosen, entropy)

  results = [
    jax.jit(
      jax.value_and_grad(functools.partial(loss, score), argnums=(0, 1), has_aux=True)
    )(params, hidden)
    for score in (plain, chunked)
  ]
  close = functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5)
  jax.tree.map(close, *results)


def test_logits_of_the_whole_batch_never_exist(cfg, params):
  """Temporary memory stays far below B · T · V · 4 bytes, backward pass included."""
  cfg = dataclasses.replace(cfg, vocab_size=4096, tie_embeddings=True)
  params = transformer.init_params(jax.random.key(0), cfg)
  hidden, targets = jnp.zeros((2, 512, cfg.d_model)), jnp.zeros((2, 512), jnp.int32)

  def loss(params, hidden):
    scores, _ = logprobs.token_logprobs(params, hidden, targets, cfg, chunk=16)
    return jnp.sum(scores)

  compiled = jax.jit(jax.grad(loss, argnums=(0, 1))).lower(params, hidden).compile()
  whole_bytes = 2 * 512 * 4096 * 4
  assert compiled.memory_analysis().temp_size_in_bytes < whole_bytes / 4


@pytest.mark.parametrize(("name", "value"), [("temperature", 0.0), ("chunk", 0)])
def test_errors_name_the_argument(cfg, params, name, value):
  hidden, targets = jnp.zeros((1, 2, cfg.d_model)), jnp.zeros((1, 2), jnp.int32)
  with pytest.raises(ValueError, match=f"{name}={value}"):
    logprobs.token_logprobs(params, hidden, targets, cfg, **{name: value})
