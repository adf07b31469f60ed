"""Packed = padded = alone, and extend in any pieces = forward."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from skilljax.models import transformer
from tests.models.conftest import distinct_params

LENGTHS = (11, 5, 8)
TMAX = 16


@pytest.fixture(scope="module", params=["qwen", "gemma"])
def cfg(request, cfg):
  """Without windows, and with all that Gemma has, one layer with a window of three."""
  if request.param == "qwen":
    return cfg
  return dataclasses.replace(
    cfg,
    qkv_bias=False,
    layer_windows=(3, 0),
    window_rope_theta=50.0,
    activation="gelu",
    query_scalar=7.0,
    unit_offset_norms=True,
    post_norms=True,
    scale_embed=True,
  )


@pytest.fixture(scope="module")
def params(cfg):
  return distinct_params(cfg)


@pytest.fixture(scope="module")
def sequences(cfg):
  rng = np.random.default_rng(3)
  return [rng.integers(0, cfg.vocab_size, n).astype(np.int32) for n in LENGTHS]


@pytest.fixture(scope="module")
def forward(cfg, params):
  return jax.jit(lambda *rows: transformer.forward(params, *rows, cfg))


@pytest.fixture(scope="module")
def alone(sequences, forward):
  """Hidden states of each sequence in a row of its own."""
  states = []
  for tokens in sequences:
    positions = np.arange(len(tokens), dtype=np.int32)
    ones = np.ones_like(tokens)
    states.append(np.asarray(forward(tokens[None], positions[None], ones[None])[0]))
  return states


def test_packed_row_equals_single_sequences(sequences, forward, alone):
  tokens = np.concatenate([*sequences, np.array([7, 9], np.int32)])
  positions = np.concatenate([*map(np.arange, LENGTHS), np.zeros(2)]).astype(np.int32)
  segments = np.repeat([1, 2, 3, 0], [*LENGTHS, 2]).astype(np.int32)
  hidden = forward(tokens[None], positions[None], segments[None])[0]
  np.testing.assert_allclose(hidden[: sum(LENGTHS)], np.concatenate(alone), atol=1e-5)
  assert np.isfinite(hidden).all()


def test_padding_changes_nothing_before_it(sequences, forward, alone):
  tokens, positions, segments = (np.zeros((3, 13), np.int32) for _ in range(3))
  for b, sequence in enumerate(sequences):
    n = len(sequence)
    tokens[b, :n], positions[b, :n], segments[b, :n] = sequence, np.arange(n), 1
  hidden = forward(tokens, positions, segments)
  for b, expected in enumerate(alone):
    np.testing.assert_allclose(hidden[b, : LENGTHS[b]], expected, atol=1e-5)


def test_query_blocks_are_invisible(cfg, params, monkeypatch):
  tokens = jax.random.randint(jax.random.key(5), (1, 23), 0, cfg.vocab_size)
  positions = jnp.arange(23)[None]
  segments = (1 + (jnp.arange(23) > 9).astype(jnp.int32))[None]
  run = functools.partial(transformer.forward, params, tokens, positions, segments, cfg)
  whole = jax.jit(run)()
  monkeypatch.setattr(transformer.attention, "_QUERY_BLOCK", 5)
  np.testing.assert_allclose(jax.jit(lambda: run())(), whole, atol=1e-5)


@pytest.fixture(scope="module")
def gradient_of(cfg, params, sequences):
  """remat -> the compiled gradient of something that reads all hidden states."""
  tokens = sequences[0][None]
  rows = (tokens, np.arange(11, dtype=np.int32)[None], np.ones_like(tokens))

  def compiled(remat):
    model = dataclasses.replace(cfg, remat=remat)

    def loss(p):
      return jnp.sum(jnp.sin(transformer.forward(p, *rows, model)))

    return jax.jit(jax.grad(loss)).lower(params).compile()

  return functools.cache(compiled)


@pytest.mark.parametrize("remat", ["attention", "full"])
def test_remat_gives_the_same_gradient(params, gradient_of, remat):
  close = functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-4)
  jax.tree.map(close, gradient_of(remat)(params), gradient_of("none")(params))


def test_remat_trades_memory_for_work(gradient_of):
  names = ("none", "attention", "full")
  memory = [gradient_of(n).memory_analysis().temp_size_in_bytes for n in names]
  work = [gradient_of(n).cost_analysis()["flops"] for n in names]
  assert memory[0] > memory[1] > memory[2]
  assert work[0] < work[1] < work[2]


@pytest.fixture(scope="module")
def extend(cfg, params):
  decode_params = transformer.unstack_layers(params)
  run = functools.partial(transformer.extend, cfg=cfg)
  jitted = jax.jit(run, static_argnums=4, donate_argnums=3)
  return functools.partial(jitted, decode_params)


def dirty_cache(cfg, rows):
  """What earlier episodes left in the slots: large values everywhere."""
  return jax.tree.map(lambda a: a + 1e4, transformer.init_cache(cfg, rows, TMAX))


@pytest.mark.parametrize("padding", [-1, TMAX, -3])
def test_extend_in_pieces_equals_forward(cfg, sequences, extend, alone, padding):
  """Prefill 5 and 3, then one by one; rows end at 11, 5 and 8, garbage after that."""
  cache = dirty_cache(cfg, 3)
  pieces = []
  for start, stop, attend_len in [(0, 5, 8), (5, 8, 8)] + [
    (t, t + 1, TMAX) for t in range(8, 11)
  ]:
    tokens = np.full((3, stop - start), 30, np.int32)
    positions = np.full((3, stop - start), padding, np.int32)
    for b, sequence in enumerate(sequences):
      new = sequence[start:stop]
      tokens[b, : len(new)] = new
      positions[b, : len(new)] = np.arange(start, start + len(new))
    hidden, cache = extend(tokens, positions, cache, attend_len)
    assert np.isfinite(hidden).all()
    pieces.append(np.asarray(hidden))
  hidden = np.concatenate(pieces, axis=1)
  for b, expected in enumerate(alone):
    np.testing.assert_allclose(hidden[b, : LENGTHS[b]], expected, rtol=1e-5, atol=1e-5)


def test_padding_leaves_the_cache_untouched(cfg, extend):
  before = dirty_cache(cfg, 2)
  expected = jax.tree.map(np.asarray, before)
  padding = np.array([[-1, TMAX], [TMAX + 5, -TMAX]], np.int32)
  _, after = extend(np.zeros((2, 2), np.int32), padding, before, TMAX)
  jax.tree.map(np.testing.assert_array_equal, after, expected)


def test_extend_needs_an_attend_len_inside_the_cache(cfg, params):
  decode_params = transformer.unstack_layers(params)
  one = jnp.zeros((1, 1), jnp.int32)
  for attend_len in (0, TMAX + 1):
    with pytest.raises(ValueError, match=rf"attend_len={attend_len}.*1\.\.16"):
      transformer.extend(
        decode_params, one, one, transformer.init_cache(cfg, 1, TMAX), attend_len, cfg
      )


def test_bfloat16_stays_close(cfg, params, sequences, alone):
  model = dataclasses.replace(cfg, dtype="bfloat16")
  tokens = sequences[0][None]
  positions, ones = np.arange(11, dtype=np.int32)[None], np.ones_like(tokens)
  hidden = jax.jit(lambda: transformer.forward(params, tokens, positions, ones, model))()
  assert hidden.dtype == jnp.bfloat16
  error = np.abs(hidden[0].astype(np.float32) - alone[0])
  assert 0 < error.mean() < 0.05 * np.abs(alone[0]).mean()
  scores = transformer.logits(params, hidden, model)
  assert scores.dtype == jnp.float32
