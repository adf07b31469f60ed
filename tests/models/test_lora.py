"""Adapters: nothing at first, merged or not the same, alone in what is trained."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from skilljax.learner import Learner, LearnerSettings, LossSettings
from skilljax.models import hf_io, lora, transformer
from skilljax.models.lora import LoraSettings
from tests.test_learner import MODEL, Sequence, packed

LORA = LoraSettings(rank=3, alpha=6.0)


@pytest.fixture(scope="module")
def model(cfg):
  return dataclasses.replace(cfg, qk_norm=False, lora=LORA)


@pytest.fixture(scope="module")
def fresh(model):
  return transformer.init_params(jax.random.key(0), model)


@pytest.fixture(scope="module")
def adapted(fresh):
  """Adapters that change something."""
  moved = jax.tree.map(
    lambda a: a + 0.3 * jnp.cos(jnp.arange(a.size)).reshape(a.shape), fresh["lora"]
  )
  return {**fresh, "lora": moved}


def hidden(params, model):
  tokens = np.arange(12, dtype=np.int32)[None] % model.vocab_size
  rows = (tokens, np.arange(12, dtype=np.int32)[None], np.ones((1, 12), np.int32))
  return np.asarray(jax.jit(lambda p: transformer.forward(p, *rows, model))(params))


def test_a_fresh_adapter_changes_nothing_and_a_moved_one_does(model, fresh, adapted):
  plain = {key: value for key, value in fresh.items() if key != "lora"}
  np.testing.assert_array_equal(hidden(fresh, model), hidden(plain, model))
  assert np.abs(hidden(adapted, model) - hidden(plain, model)).max() > 0.1


@pytest.mark.parametrize("remat", ["none", "full"])
def test_merged_and_unmerged_are_the_same(model, adapted, remat):
  model = dataclasses.replace(model, remat=remat)
  merged = lora.merge(adapted, LORA)
  assert "lora" not in merged
  plain = dataclasses.replace(model, lora=None)
  np.testing.assert_allclose(hidden(adapted, model), hidden(merged, plain), atol=2e-5)


def test_the_product_by_hand():
  settings = LoraSettings(rank=1, alpha=2.0, targets=("wo",))
  layer = {"wo": jnp.zeros((2, 3, 4)), "wq": jnp.ones((4, 2, 3))}  # heads, size -> width
  a = jnp.arange(6.0).reshape(2, 3, 1)
  b = jnp.array([[1.0, 0.0, 0.0, 10.0]])
  merged = lora.merge_layer(layer, {"wo": {"a": a, "b": b}}, settings)
  np.testing.assert_array_equal(merged["wo"][1, 2], [10, 0, 0, 100])  # 2 · 5 · b
  assert merged["wq"] is layer["wq"]


def test_only_adapters_are_trained_and_only_they_have_moments():
  model = dataclasses.replace(MODEL, lora=LORA)
  params = transformer.init_params(jax.random.key(1), model)
  params = {**params, "lora": jax.tree.map(lambda a: a + 0.05, params["lora"])}
  settings = LearnerSettings(learning_rate=1e-2, row_len=32, rows_per_batch=2)
  learner = Learner(model, settings, LossSettings())
  state = learner.init(params)
  moments = sum(a.size for a in jax.tree.leaves(state.opt_state) if a.ndim)
  assert moments == 2 * sum(a.size for a in jax.tree.leaves(params["lora"]))
  rng = np.random.default_rng(0)
  batch = packed([Sequence(rng, length) for length in (9, 14, 20)], 2)
  with jax.numpy_dtype_promotion("standard"):
    after, metrics = learner.imitate(state, batch, num_sequences=3)
  assert metrics["grad_norm"] > 0
  for key in ("embed", "layers", "final_norm"):
    jax.tree.map(np.testing.assert_array_equal, after.params[key], params[key])
  moved = jax.tree.map(
    lambda x, y: float(np.abs(x - y).max()), after.params["lora"], params["lora"]
  )
  assert min(jax.tree.leaves(moved)) > 1e-3


def test_the_export_is_an_ordinary_checkpoint(model, adapted, tmp_path):
  hf_io.save_checkpoint(tmp_path, model, adapted)
  plain, loaded = hf_io.load_checkpoint(tmp_path)
  assert plain.lora is None and "lora" not in loaded
  np.testing.assert_allclose(hidden(loaded, plain), hidden(adapted, model), atol=2e-5)


@pytest.mark.parametrize(
  ("values", "message"),
  [
    ({"rank": 0}, r"rank=0 must be >= 1 .*lora\.rank"),
    ({"alpha": 0.0}, r"alpha=0\.0 must be > 0"),
    ({"targets": ("wq", "embed")}, r"must be some of .*lora\.targets"),
    ({"targets": ()}, r"lora\.targets"),
    ({"targets": ("wq", "wq")}, r"each once"),
  ],
)
def test_settings_out_of_range_are_refused(values, message):
  with pytest.raises(ValueError, match=message):
    LoraSettings(**values)
