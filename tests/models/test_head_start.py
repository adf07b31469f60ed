"""The hand-set previous-token head: it attends back by one, and harms nothing."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from skilljax.models import attention
from skilljax.models.config import ModelConfig
from skilljax.models.head_start import previous_token_heads
from skilljax.models.params import init_params
from skilljax.models.transformer import forward, logits

LENGTH = 200


def model(qk_norm: bool) -> ModelConfig:
  return ModelConfig(
    vocab_size=97,
    d_model=64,
    num_layers=2,
    num_heads=4,
    num_kv_heads=2,
    head_dim=32,
    d_ff=96,
    qk_norm=qk_norm,
  )


def unit(x):
  """Root mean square one over the last axis."""
  return x / jnp.sqrt(jnp.mean(jnp.square(x), axis=-1, keepdims=True))


def attention_of_head(params, cfg, tokens, head):
  """[T, T] weights of one head of layer 0, computed apart from the model's own code."""
  x = params["embed"][tokens]
  x = unit(x)
  query = x @ params["layers"]["wq"][0, :, head]
  key = x @ params["layers"]["wk"][0, :, 0]
  if cfg.qk_norm:
    query = unit(query) * params["layers"]["q_norm"][:1]
    key = unit(key) * params["layers"]["k_norm"][:1]
  angles = attention.rope_angles(jnp.arange(len(tokens))[None], cfg)
  query, key = (
    attention.rotate(part[None, :, None], *angles)[0, :, 0] for part in (query, key)
  )
  scores = query @ key.T / np.sqrt(cfg.head_dim)
  causal = np.tril(np.ones((len(tokens), len(tokens)), bool))
  return jax.nn.softmax(jnp.where(causal, scores, -jnp.inf), axis=-1)


@pytest.mark.parametrize("head", [0, 1])
@pytest.mark.parametrize("qk_norm", [True, False])
def test_each_head_gives_its_token_most_of_its_attention(qk_norm, head):
  cfg = model(qk_norm)
  tokens = np.random.default_rng(0).integers(cfg.vocab_size, size=LENGTH)
  random = init_params(jax.random.key(0), cfg)
  before = attention_of_head(random, cfg, tokens, head)
  after = attention_of_head(previous_token_heads(random, cfg, 2), cfg, tokens, head)
  assert jnp.mean(jnp.diagonal(before, offset=-1 - head)) < 0.1
  assert jnp.mean(jnp.diagonal(after, offset=-1 - head)) > 0.7


@pytest.mark.parametrize("num", [0, 3])
def test_more_heads_than_share_a_key_head_are_refused(num):
  cfg = model(True)
  params = init_params(jax.random.key(0), cfg)
  with pytest.raises(
    ValueError, match=rf"previous_token_heads={num} must be in \[1, 2\]"
  ):
    previous_token_heads(params, cfg, num)


def test_a_constant_channel_changes_no_probability_of_a_tied_head():
  cfg = model(True)
  params = init_params(jax.random.key(0), cfg)
  hidden = jax.random.normal(jax.random.key(1), (3, cfg.d_model))
  shifted = {**params, "embed": params["embed"].at[:, 0].set(0.1)}
  level = {**params, "embed": params["embed"].at[:, 0].set(0.0)}
  np.testing.assert_allclose(
    jax.nn.log_softmax(logits(shifted, hidden, cfg)),
    jax.nn.log_softmax(logits(level, hidden, cfg)),
    atol=1e-5,
  )


def test_only_the_named_entries_change_and_the_input_is_kept():
  cfg = model(True)
  params = init_params(jax.random.key(0), cfg)
  copy = jax.tree.map(np.array, params)
  changed = previous_token_heads(params, cfg)
  jax.tree.map(np.testing.assert_array_equal, params, copy)
  for name in ("wv", "wo", "w_up", "w_gate", "w_down", "attn_norm", "mlp_norm"):
    np.testing.assert_array_equal(changed["layers"][name], params["layers"][name])
  for name in ("wq", "wk"):
    same = np.asarray(changed["layers"][name] == params["layers"][name])
    assert same.sum() == same.size - cfg.head_dim
    assert not same[0, 0, 0].any()
  tokens = jnp.arange(12)[None]
  out = forward(changed, tokens, tokens, jnp.ones_like(tokens), cfg)
  assert np.isfinite(out).all()
