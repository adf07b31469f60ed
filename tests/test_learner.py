"""The learner: shapes change nothing, the reference scores, both optimisers learn."""

import dataclasses
import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from skilljax import learner as learner_lib
from skilljax import optimizer as optimizer_lib
from skilljax import sharding
from skilljax.data.packing import pack
from skilljax.learner import Learner, LearnerSettings, LossSettings
from skilljax.models.config import ModelConfig
from skilljax.models.transformer import init_params
from skilljax.types import Role

MODEL = ModelConfig(
  vocab_size=40,
  d_model=16,
  num_layers=2,
  num_heads=2,
  num_kv_heads=1,
  head_dim=8,
  d_ff=24,
  qk_norm=True,
  max_len=64,
)


def learner(loss=None, **settings) -> Learner:
  values = {"learning_rate": 1e-2, "row_len": 32, "rows_per_batch": 2, **settings}
  return Learner(MODEL, LearnerSettings(**values), loss or LossSettings(kl_coef=0.1))


class Sequence:
  """The fields that packing reads, with random tokens."""

  def __init__(self, rng, length):
    self.tokens = rng.integers(0, 40, length).astype(np.int32)
    self.loss_mask = np.arange(length) >= 4
    self.role = np.where(self.loss_mask, Role.ACT, Role.NONE).astype(np.int8)
    self.behavior_logprobs = np.where(self.loss_mask, -3.0, 0.0).astype(np.float32)


@pytest.fixture
def sequences():
  rng = np.random.default_rng(0)
  return [Sequence(rng, length) for length in (9, 14, 20, 7, 30, 11)]


def packed(sequences, rows):
  advantages = [
    np.linspace(-1, 1, len(s.tokens)).astype(np.float32) * s.loss_mask for s in sequences
  ]
  return pack(sequences, advantages, row_len=32, rows_per_batch=rows)


def leaves(tree):
  return [np.asarray(leaf) for leaf in jax.tree.leaves(tree)]


@pytest.mark.parametrize("aggregation", ["token_mean", "seq_mean_token_mean"])
def test_micro_batches_change_nothing(sequences, aggregation):
  params = init_params(jax.random.key(0), MODEL)
  results = []
  for rows in (1, 2, 4):
    one = learner(
      LossSettings(aggregation=aggregation), learning_rate=1e-3, rows_per_batch=rows
    )
    batch = one.reference(params, packed(sequences, rows))
    state, metrics = one.update(one.init(params), batch, num_sequences=len(sequences))
    results.append((metrics["loss"], metrics["grad_norm"], leaves(state.params)))
  for loss, norm, params_after in results[1:]:
    assert loss == pytest.approx(results[0][0], rel=1e-5)
    assert norm == pytest.approx(results[0][1], rel=1e-4)
    for left, right in zip(params_after, results[0][2], strict=True):
      np.testing.assert_allclose(left, right, atol=2e-5)


def test_the_reference_is_the_policy_itself_before_any_step(sequences):
  params = init_params(jax.random.key(0), MODEL)
  one = learner()
  batch = one.reference(params, packed(sequences, 2))
  exact = batch.replace(behavior_logprobs=batch.ref_logprobs)
  _, metrics = one.update(one.init(params), exact, num_sequences=len(sequences))
  assert metrics["ratio"] == pytest.approx(1.0, abs=1e-5)
  assert metrics["ref_kl"] == pytest.approx(0.0, abs=1e-6)


def test_an_importance_cap_scores_the_old_policy_again(sequences):
  """Behaviour log-probs of −3 are not the policy's; the cap turns them into weights."""
  params = init_params(jax.random.key(0), MODEL)
  one = learner(LossSettings(kl_coef=0.0, importance_cap=2.0))
  _, metrics = one.update(
    one.init(params), packed(sequences, 2), num_sequences=len(sequences)
  )
  assert metrics["ratio"] == pytest.approx(1.0, abs=1e-5)
  assert 0.0 < metrics["importance_weight"] <= 2.0
  assert metrics["behavior_gap"] > 0.1


@pytest.mark.parametrize("optimizer", optimizer_lib.OPTIMIZERS)
def test_imitation_learns_with_both_optimisers(sequences, optimizer):
  one = learner(
    optimizer=optimizer, learning_rate={"adamw": 1e-2, "muon": 5e-2}[optimizer]
  )
  state = one.init(init_params(jax.random.key(0), MODEL))
  batch = packed(sequences, 2)
  losses = []
  for _ in range(12):
    state, metrics = one.imitate(state, batch, num_sequences=len(sequences))
    losses.append(metrics["nll"])
  assert losses[-1] < 0.7 * losses[0]
  assert int(state.step) == 12


def test_muon_steps_every_matrix_of_a_layer_and_nothing_else():
  params = init_params(jax.random.key(0), MODEL)
  axes = optimizer_lib.muon_dimensions(params)
  names = {name for name, value in axes["layers"].items() if value is not None}
  assert names == {"wq", "wk", "wv", "wo", "w_gate", "w_up", "w_down"}
  assert axes["embed"] is None
  assert axes["final_norm"] is None


def lowered(mesh_sizes):
  made = Learner(
    MODEL,
    LearnerSettings(row_len=32, rows_per_batch=2),
    LossSettings(),
    sharding.make_mesh(**mesh_sizes),
  )
  params = jax.eval_shape(lambda key: init_params(key, MODEL), jax.random.key(0))
  batch = jax.tree.map(
    lambda a: jax.ShapeDtypeStruct(a.shape[1:], a.dtype),
    pack([], [], row_len=32, rows_per_batch=2),
  )
  return made.lower(params, params, batch)


def test_programs_are_lowered_from_shapes_and_keep_activations_by_rows():
  programs = lowered({"data": 1})
  assert list(programs) == ["score", "gradient", "accumulate", "step"]
  # Before and after each layer, behind the embedding, behind the last norm.
  rows = r'sharding_constraint %\S+ <@mesh, \[{"data", "fsdp"}, {}, {}\]>.*2x32x16xf32'
  kept = re.findall(rows, programs["score"].as_text())
  assert len(kept) >= 4
  (state, _), _ = programs["step"].args_info
  assert state.params["embed"].shape == (40, 16)


def test_a_learner_without_a_mesh_has_nothing_to_lower():
  with pytest.raises(ValueError, match="needs a learner with a mesh"):
    learner().lower({}, {}, None)


def test_minibatches_cover_each_item_once():
  parts = learner_lib.minibatches(11, 3, (0, 5))
  assert sorted(np.concatenate(parts)) == list(range(11))
  again = learner_lib.minibatches(11, 3, (0, 5))
  assert all((left == right).all() for left, right in zip(parts, again, strict=True))
  assert [list(p) for p in learner_lib.minibatches(11, 3, (0, 6))] != [
    list(p) for p in parts
  ]


@pytest.mark.parametrize(
  ("field", "value"),
  [("optimizer", "sgd"), ("learning_rate", 0.0), ("row_len", 0), ("max_grad_norm", -1.0)],
)
def test_bad_settings_name_the_config_key(field, value):
  with pytest.raises(ValueError, match=f"learner.{field}"):
    LearnerSettings(**{field: value})


@pytest.mark.parametrize("optimizer", optimizer_lib.OPTIMIZERS)
def test_moments_in_bfloat16_lie_in_half_the_bytes_and_step_alike(optimizer):
  settings = LearnerSettings(optimizer=optimizer, learning_rate=1e-3, warmup_steps=0)
  half = dataclasses.replace(settings, moment_dtype="bfloat16")
  rng = np.random.default_rng(0)
  params = {"layers": {"wq": rng.normal(size=(2, 8, 2, 4)).astype(np.float32)}}
  params["final_norm"] = np.ones(8, np.float32)
  results = []
  for chosen in (settings, half):
    make = optimizer_lib.make_optimizer(chosen)
    state, now = make.init(params), params
    with jax.numpy_dtype_promotion("standard"):
      for step in range(3):
        gradient = jax.tree.map(lambda leaf, s=step: np.sin(leaf + s), params)
        updates, state = make.update(gradient, state, now)
        now = optax.apply_updates(now, updates)
    floats = [a for a in jax.tree.leaves(state) if jnp.issubdtype(a.dtype, jnp.floating)]
    results.append((now, sum(a.nbytes for a in floats), floats))
  (ours, small, floats), (theirs, large, _) = results[1], results[0]
  assert small * 2 == large and {a.dtype for a in floats} == {jnp.dtype("bfloat16")}
  close = functools.partial(np.testing.assert_allclose, atol=5e-5)
  jax.tree.map(close, ours, theirs)
  moved = jax.tree.map(lambda a, b: float(np.abs(a - b).max()), theirs, params)
  assert min(jax.tree.leaves(moved)) > 5e-4
