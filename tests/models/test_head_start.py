"""The hand-set heads: they attend to what they name, and harm nothing."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from skilljax.models import rope
from skilljax.models.config import ModelConfig
from skilljax.models.head_start import (
  check_num,
  induction_head,
  previous_token_heads,
)
from skilljax.models.params import init_params
from skilljax.models.transformer import forward, logits

LENGTH = 200


def model(qk_norm: bool) -> ModelConfig:
  return ModelConfig(
    vocab_size=97,
    d_model=128,
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


def attention_of_head(params, cfg, x, layer, head):
  """([T, T] weights, [T, D] output) of one head, computed apart from the model's code.

  Args:
    x: [T, D], the residual stream before `layer`.
  """
  layers = jax.tree.map(lambda leaf: leaf[layer], params["layers"])
  group = head // (cfg.num_heads // cfg.num_kv_heads)
  x = unit(x)
  query, key, value = (
    x @ layers[name][:, number]
    for name, number in (("wq", head), ("wk", group), ("wv", group))
  )
  if cfg.qk_norm:
    query = unit(query) * layers["q_norm"][None]
    key = unit(key) * layers["k_norm"][None]
  angles = rope.angles(jnp.arange(len(x))[None], cfg.head_dim, cfg.rope_theta)
  query, key = (
    rope.rotate(part[None, :, None], *angles)[0, :, 0] for part in (query, key)
  )
  scores = query @ key.T / np.sqrt(cfg.head_dim)
  causal = np.tril(np.ones((len(x), len(x)), bool))
  weights = jax.nn.softmax(jnp.where(causal, scores, -jnp.inf), axis=-1)
  return weights, weights @ value @ layers["wo"][head]


@pytest.mark.parametrize("head", [0, 1])
@pytest.mark.parametrize("qk_norm", [True, False])
def test_each_head_gives_its_token_most_of_its_attention(qk_norm, head):
  cfg = model(qk_norm)
  tokens = np.random.default_rng(0).integers(cfg.vocab_size, size=LENGTH)
  random = init_params(jax.random.key(0), cfg)
  before, after = (
    attention_of_head(params, cfg, params["embed"][tokens], 0, head)[0]
    for params in (random, previous_token_heads(random, cfg, 2))
  )
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


def attention_to_repeat(params, cfg, seed):
  """Mean weight, in the second of two equal halves, on what followed in the first."""
  half = np.random.default_rng(seed).permutation(cfg.vocab_size)[: LENGTH // 4]
  x = params["embed"][np.concatenate([half, half])]
  x += sum(attention_of_head(params, cfg, x, 0, n)[1] for n in range(cfg.num_heads))
  weights, _ = attention_of_head(params, cfg, x, 1, 0)
  return float(jnp.mean(jnp.diagonal(weights, offset=1 - len(half))[1:]))


@pytest.mark.parametrize("qk_norm", [True, False])
def test_an_induction_head_attends_to_what_followed_before(qk_norm):
  cfg = model(qk_norm)
  for seed in range(3):
    params = previous_token_heads(init_params(jax.random.key(seed), cfg), cfg, 2)
    copy = jax.tree.map(np.array, params)
    started = induction_head(jax.random.key(100 + seed), params, cfg)
    jax.tree.map(np.testing.assert_array_equal, params, copy)
    before = attention_to_repeat(params, cfg, seed)
    assert before < 0.02  # an even share of 50 to 100 tokens
    assert attention_to_repeat(started, cfg, seed) > max(0.025, 2 * before)


def test_an_induction_head_without_the_head_before_it_finds_nothing():
  cfg = model(True)
  params = init_params(jax.random.key(0), cfg)
  alone = induction_head(jax.random.key(1), params, cfg)
  assert attention_to_repeat(alone, cfg, 0) < 0.02


@pytest.mark.parametrize(
  ("sizes", "text"),
  [({"num_layers": 1}, r"model\.num_layers"), ({"d_model": 32}, r"model\.d_model")],
)
def test_an_induction_head_needs_room(sizes, text):
  cfg = dataclasses.replace(model(True), **sizes)
  params = init_params(jax.random.key(0), cfg)
  with pytest.raises(ValueError, match=text):
    induction_head(jax.random.key(0), params, cfg)


def test_models_with_other_norms_are_refused():
  gemma = dataclasses.replace(model(True), unit_offset_norms=True)
  with pytest.raises(ValueError, match=r"model\.unit_offset_norms=False"):
    check_num(1, gemma)
