"""The whole policy loss: hand values, micro-batches, padding, TRL's numbers."""

import functools
import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from skilljax.rl import aggregation, losses
from skilljax.rl.batch import TokenBatch
from skilljax.types import Role

ACT, EDIT = int(Role.ACT), int(Role.EDIT)
GOLDEN = json.loads(
  (pathlib.Path(__file__).parent / "golden" / "trl_grpo.json").read_text("utf-8")
)
# Our name of TRL's loss_type.
MODE_OF_TRL = {
  "grpo": "seq_mean_token_mean",
  "bnpo": "token_mean",
  "dr_grpo": "seq_mean_token_sum_norm",
}


def make_batch(mask, sequence_id, *, mode, max_tokens=None, role=None, **per_token):
  """A batch with weights; per-token arrays not given are 0."""
  mask, sequence_id = jnp.asarray(mask, bool), jnp.asarray(sequence_id, jnp.int32)
  names = ("advantages", "behavior_logprobs", "ref_logprobs")
  arrays = {name: jnp.zeros(mask.shape, jnp.float32) for name in names} | {
    name: jnp.asarray(value, jnp.float32) for name, value in per_token.items()
  }
  zeros = jnp.zeros(mask.shape, jnp.int32)
  return TokenBatch(
    tokens=zeros,
    positions=zeros,
    segment_ids=zeros,
    loss_mask=mask,
    role=jnp.full(mask.shape, ACT, jnp.int8) if role is None else role,
    sequence_id=sequence_id,
    weights=aggregation.token_weights(
      mask, sequence_id, mode=mode, num_sequences=8, max_tokens=max_tokens
    ),
    **arrays,
  )


def random_update(mode, seed=0):
  """Five sequences packed in four rows of nine tokens, with NaN wherever untrained."""
  rng = np.random.default_rng(seed)
  shape = (4, 9)
  ids = np.array([[0] * 5 + [1] * 4, [2] * 9, [3] * 3 + [-1] * 6, [4] * 8 + [-1]])
  mask = (rng.uniform(size=shape) < 0.7) & (ids >= 0)
  mask[:, 0] = True
  logprobs = rng.normal(-1.5, 0.5, shape)

  def read_where_trained(values):
    return np.where(mask, values, np.nan)

  batch = make_batch(
    mask,
    ids,
    mode=mode,
    max_tokens=16 if mode == "seq_mean_token_sum_norm" else None,
    role=jnp.asarray(rng.integers(1, 3, shape), jnp.int8),
    advantages=read_where_trained(rng.normal(size=shape)),
    behavior_logprobs=read_where_trained(logprobs + rng.normal(0, 0.3, shape)),
    ref_logprobs=read_where_trained(logprobs + rng.normal(0, 0.3, shape)),
    old_logprobs=read_where_trained(logprobs + rng.normal(0, 0.4, shape)),
  )
  entropy = jnp.asarray(read_where_trained(rng.uniform(0, 2, shape)), jnp.float32)
  return jnp.asarray(read_where_trained(logprobs), jnp.float32), batch, entropy


LOSS = functools.partial(
  losses.policy_loss, kl_coef=0.05, entropy_coef=0.01, importance_cap=1.5
)


@jax.jit
def value_and_grad(logprobs, batch, entropy):
  def objective(x):
    return LOSS(x, batch, entropy=entropy)

  return jax.value_and_grad(objective, has_aux=True)(logprobs)


def test_policy_loss_by_hand(compiled):
  # Two trained tokens of one sequence (w = 1/2), one untrained.
  #   token 0, act:  ratio 1, A = 2, ref: d = log 2, entropy 0.5
  #   token 1, edit: ratio 2, A = 1 -> clipped at 1.2, ref: d = 0, entropy 1.5
  # Surrogate −2, −1.2; k3 1 − log 2 = 0.30685, 0.
  # Loss = ((−2 + 0.1·0.30685 − 0.01·0.5) + (−1.2 − 0.01·1.5)) / 2 = −1.594658.
  log2 = float(np.log(2))
  logprobs = jnp.array([[-1.0, -1.0, 5.0]])
  batch = make_batch(
    [[1, 1, 0]],
    [[0, 0, 0]],
    mode="token_mean",
    role=jnp.array([[ACT, EDIT, ACT]], jnp.int8),
    advantages=[[2.0, 1.0, 7.0]],
    old_logprobs=[[-1.0, -1.0 - log2, 0.0]],
    behavior_logprobs=[[-1.5, -1.0 - log2, 0.0]],
    ref_logprobs=[[-1.0 + log2, -1.0, 0.0]],
  )
  entropy = jnp.array([[0.5, 1.5, 9.0]])
  loss = functools.partial(losses.policy_loss, kl_coef=0.1, entropy_coef=0.01)
  value, metrics = compiled(lambda x, b, e: loss(x, b, entropy=e))(
    logprobs, batch, entropy
  )
  np.testing.assert_allclose(value, -1.594658, rtol=1e-5)
  expected = {
    "ratio": 1.5,
    "act/ratio": 1.0,
    "edit/ratio": 2.0,
    "surrogate": -1.6,
    "clip_high": 0.5,
    "edit/clip_high": 1.0,
    "clip_low": 0.0,
    "clip_dual": 0.0,
    "advantage": 1.5,
    "ref_kl": (1 - log2) / 2,
    "entropy": 1.0,
    "behavior_gap": 0.25,
    # KL(π_old ‖ π): d = log π − log π_old = 0, log 2 -> 0, 2 − 1 − log 2.
    "approx_kl": (1 - log2) / 2,
  }
  numbers = losses.means(metrics)
  np.testing.assert_allclose(
    [numbers[name] for name in expected], list(expected.values()), atol=1e-5
  )


@pytest.mark.parametrize("mode", aggregation.MODES)
@pytest.mark.parametrize(
  "split", [[[0, 1], [2, 3]], [[3], [0], [2], [1]], [[1, 2, 3, 0]]]
)
def test_any_split_into_micro_batches_gives_the_same(mode, split):
  logprobs, batch, entropy = random_update(mode)
  (whole, metrics), gradient = value_and_grad(logprobs, batch, entropy)
  total, summed, parts = 0.0, None, np.zeros(logprobs.shape, np.float32)
  for rows in split:
    rows = np.array(rows)
    part = jax.tree.map(lambda leaf, rows=rows: leaf[rows], batch)
    (value, sums), grad = value_and_grad(logprobs[rows], part, entropy[rows])
    total += float(value)
    summed = sums if summed is None else jax.tree.map(jnp.add, summed, sums)
    parts[rows] = grad
  np.testing.assert_allclose(total, whole, rtol=1e-5)
  np.testing.assert_allclose(parts, gradient, rtol=1e-5, atol=1e-7)
  actual, expected = losses.means(summed), losses.means(metrics)
  assert actual.keys() == expected.keys()
  for name, number in expected.items():
    np.testing.assert_allclose(actual[name], number, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("mode", aggregation.MODES)
def test_untrained_positions_are_never_read(mode):
  # `random_update` puts NaN there; 99 must give the same loss and gradient, and the
  # gradient there must be 0.
  logprobs, batch, entropy = random_update(mode)
  (with_nan, _), gradient = value_and_grad(logprobs, batch, entropy)
  filled = jax.tree.map(
    lambda x: jnp.nan_to_num(x, nan=99.0) if x.dtype == jnp.float32 else x,
    (logprobs, batch, entropy),
  )
  (with_number, _), filled_gradient = value_and_grad(*filled)
  assert np.isfinite(with_nan) and with_nan == with_number
  np.testing.assert_array_equal(gradient, filled_gradient)
  assert not np.asarray(gradient)[~np.asarray(batch.loss_mask)].any()


def test_empty_rows_change_nothing():
  logprobs, batch, entropy = random_update("token_mean")
  (whole, _), _ = value_and_grad(logprobs, batch, entropy)
  padded = jax.tree.map(
    lambda x: jnp.concatenate([x, jnp.zeros((3, 9), x.dtype)]), (logprobs, batch, entropy)
  )
  (longer, metrics), _ = value_and_grad(*padded)
  np.testing.assert_allclose(longer, whole, rtol=1e-6)
  assert int(metrics["ratio"].weight) == int(batch.loss_mask.sum())


@pytest.mark.parametrize("name", sorted(GOLDEN["losses"]))
def test_agrees_with_trl(name, compiled):
  case = GOLDEN["losses"][name]
  numbers = {k: np.array(v, np.float32) for k, v in GOLDEN["inputs"].items()}
  mode, shape = MODE_OF_TRL[case["loss_type"]], numbers["mask"].shape
  batch = make_batch(
    numbers["mask"],
    np.broadcast_to(np.arange(shape[0])[:, None], shape),
    mode=mode,
    max_tokens=GOLDEN["max_tokens"] if case["loss_type"] == "dr_grpo" else None,
    advantages=np.broadcast_to(numbers["advantages"][:, None], shape),
    ref_logprobs=numbers["ref_logprobs"],
    behavior_logprobs=numbers["behavior_logprobs"],
    **({"old_logprobs": numbers["old_logprobs"]} if case["has_old"] else {}),
  )
  objective = functools.partial(
    losses.policy_loss,
    entropy=jnp.asarray(numbers["entropy"]),
    clip_eps_low=case["clip_eps_low"],
    clip_eps_high=case["clip_eps_high"],
    dual_clip=case["dual_clip"],
    kl_coef=case["beta"],
    entropy_coef=case["entropy_coef"],
    importance_cap=GOLDEN["importance_cap"] if case["has_importance"] else None,
  )
  (loss, metrics), gradient = compiled(jax.value_and_grad(objective, has_aux=True))(
    jnp.asarray(numbers["logprobs"]), batch
  )
  np.testing.assert_allclose(loss, case["loss"], rtol=1e-5, atol=1e-6)
  np.testing.assert_allclose(gradient, case["gradient"], rtol=1e-4, atol=1e-6)
  actual = losses.means(metrics)
  for metric in ("clip_low", "clip_high", "entropy", "ref_kl"):
    if case[metric] is not None:
      np.testing.assert_allclose(actual[metric], case[metric], rtol=1e-5, atol=1e-6)


def test_terms_that_are_off_leave_no_metric():
  logprobs, batch, _ = random_update("token_mean")
  _, metrics = losses.policy_loss(logprobs, batch, kl_coef=0.0)
  assert not {"ref_kl", "entropy", "importance_weight"} & metrics.keys()


def test_coefficients_may_be_traced():
  logprobs, batch, entropy = random_update("token_mean")

  @jax.jit
  def loss(kl_coef, entropy_coef):
    return losses.policy_loss(
      logprobs, batch, entropy=entropy, kl_coef=kl_coef, entropy_coef=entropy_coef
    )[0]

  fixed = losses.policy_loss(
    logprobs, batch, entropy=entropy, kl_coef=0.3, entropy_coef=0.2
  )[0]
  np.testing.assert_allclose(loss(0.3, 0.2), fixed, rtol=1e-6)


def test_role_without_tokens_has_no_mean():
  batch = make_batch([[1, 1]], [[0, 0]], mode="token_mean")
  _, metrics = losses.policy_loss(jnp.full((1, 2), -1.0), batch, kl_coef=0.0)
  names = losses.means(metrics)
  assert "act/ratio" in names and "edit/ratio" not in names


def test_sft_loss_by_hand(compiled):
  # Sequence 0: 1, 2; sequence 1: 6. Mean of means (1.5 + 6) / 2; token mean 3.
  logprobs = jnp.array([[-1.0, -2.0, jnp.nan, -6.0]])
  batch = make_batch(
    [[1, 1, 0, 1]],
    [[0, 0, 0, 1]],
    mode="seq_mean_token_mean",
    role=jnp.array([[ACT, ACT, ACT, EDIT]], jnp.int8),
  )
  function = jax.value_and_grad(losses.sft_loss, has_aux=True)
  (loss, metrics), gradient = compiled(function)(logprobs, batch)
  np.testing.assert_allclose(loss, 3.75, rtol=1e-6)
  np.testing.assert_allclose(gradient, [[-0.25, -0.25, 0, -0.5]], rtol=1e-6)
  assert losses.means(metrics) == {"nll": 3.0, "act/nll": 1.5, "edit/nll": 6.0}


def test_missing_inputs_raise():
  batch = make_batch([[1, 1]], [[0, 0]], mode="token_mean")
  logprobs = jnp.full((1, 2), -1.0)
  for function in (losses.policy_loss, losses.sft_loss):
    with pytest.raises(ValueError, match=r"batch\.weights is None"):
      function(logprobs, batch.replace(weights=None))
  with pytest.raises(ValueError, match=r"entropy_coef is 0\.1 but entropy is None"):
    losses.policy_loss(logprobs, batch, entropy_coef=0.1)
