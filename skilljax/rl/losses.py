"""Losses per token, and the policy loss that adds them up.

Every term is a [B, T] array; `aggregation` decides what each token weighs. Log-probs
are of the sampled tokens, at the sampling temperature; position t belongs to tokens[t].

Purpose: log-probs, advantages, weights -> scalar to minimise, and sums for metrics.
Must not know about: models, optimisers, how many micro-batches there are.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from skilljax.rl import aggregation
from skilljax.rl.batch import TokenBatch
from skilljax.types import Role

# exp(20) = 5e8 is finite in float32, and its square too. Beyond it a policy ratio
# carries no information and its gradient is 0.
MAX_LOG_RATIO = 20.0


class Surrogate(NamedTuple):
  """Per-token results of `clipped_surrogate`, [B, T] each."""

  loss: jax.Array  # float32, to minimise
  ratio: jax.Array  # float32, π / π_old
  clipped_low: jax.Array  # bool, A < 0 and ratio below 1 − ε_low: no gradient
  clipped_high: jax.Array  # bool, A > 0 and ratio above 1 + ε_high: no gradient
  dual_clipped: jax.Array  # bool, A < 0 and ratio above the dual clip: no gradient


class WeightedSum(NamedTuple):
  """A mean that can be added over micro-batches: total / weight."""

  total: jax.Array  # [] float32, Σ w · x
  weight: jax.Array  # [] float32, Σ w


def _log_ratio(logprobs: jax.Array, other: jax.Array) -> jax.Array:
  return jnp.clip(logprobs - other, -MAX_LOG_RATIO, MAX_LOG_RATIO)


def _check_tokens(*arrays: jax.Array) -> None:
  chex.assert_equal_shape(arrays)
  chex.assert_type(arrays, float)


def clipped_surrogate(
  logprobs: jax.Array,
  old_logprobs: jax.Array,
  advantages: jax.Array,
  *,
  clip_eps_low: float = 0.2,
  clip_eps_high: float = 0.2,
  dual_clip: float | None = 3.0,
) -> Surrogate:
  """PPO's clipped objective with separate lower and upper range and a dual clip.

  ρ = π / π_old;  L = max(−A ρ, −A clip(ρ, 1 − ε_low, 1 + ε_high));
  where A < 0:    L = min(L, −c A)

  Sources: PPO (arXiv:1707.06347), dual clip (arXiv:1912.09729), ε_high > ε_low: DAPO
  (arXiv:2503.14476). Gradient flows through `logprobs` only.

  Args:
    logprobs: [..., T] float32, of the policy being trained.
    old_logprobs: [..., T] float32, of the policy before the update.
    advantages: [..., T] float32.
    clip_eps_low: in [0, 1).
    clip_eps_high: >= 0.
    dual_clip: c > 1, or None.
  Returns:
    `Surrogate`, [..., T] each.
  Raises:
    ValueError: a hyper-parameter out of range.
  """
  if not 0.0 <= clip_eps_low < 1.0 or clip_eps_high < 0.0:
    raise ValueError(
      f"need 0 <= clip_eps_low={clip_eps_low} < 1 and clip_eps_high={clip_eps_high} "
      ">= 0 (config keys loss.clip_eps_low, loss.clip_eps_high)"
    )
  if dual_clip is not None and dual_clip <= 1.0:
    raise ValueError(f"dual_clip is {dual_clip}, must be > 1 (config key loss.dual_clip)")
  _check_tokens(logprobs, old_logprobs, advantages)
  old_logprobs, advantages = jax.lax.stop_gradient((old_logprobs, advantages))
  ratio = jnp.exp(_log_ratio(logprobs, old_logprobs))
  bounded = jnp.clip(ratio, 1.0 - clip_eps_low, 1.0 + clip_eps_high)
  loss = jnp.maximum(-advantages * ratio, -advantages * bounded)
  dual_clipped = jnp.zeros(loss.shape, bool)
  if dual_clip is not None:
    dual_clipped = (advantages < 0) & (ratio > dual_clip)
    loss = jnp.where(dual_clipped, -dual_clip * advantages, loss)
  return Surrogate(
    loss,
    ratio,
    (advantages < 0) & (ratio < 1.0 - clip_eps_low),
    (advantages > 0) & (ratio > 1.0 + clip_eps_high),
    dual_clipped,
  )


def kl(
  logprobs: jax.Array, ref_logprobs: jax.Array, *, estimator: str = "k3"
) -> jax.Array:
  """Estimates KL(π ‖ π_ref) from the sampled tokens. d = log π_ref − log π:

  k1 = −d           unbiased, high variance, may be negative; as a loss its expected
                    gradient on policy is 0
  k2 = d² / 2       biased, low variance; its gradient is that of the true KL
  k3 = eᵈ − 1 − d   unbiased, low variance, never negative

  Source: J. Schulman, "Approximating KL divergence" (2020); k3 as in GRPO.

  Args:
    logprobs: [..., T] float32, of the policy that sampled.
    ref_logprobs: [..., T] float32; no gradient.
    estimator: 'k1', 'k2' or 'k3'.
  Returns:
    [..., T] float32.
  Raises:
    ValueError: unknown estimator.
  """
  _check_tokens(logprobs, ref_logprobs)
  difference = _log_ratio(jax.lax.stop_gradient(ref_logprobs), logprobs)
  if estimator == "k1":
    return -difference
  if estimator == "k2":
    return 0.5 * difference**2
  if estimator == "k3":
    # expm1 keeps the digits of a small difference that exp(d) − 1 would lose.
    return jnp.expm1(difference) - difference
  raise ValueError(
    f"estimator is {estimator!r}, must be 'k1', 'k2' or 'k3' "
    "(config key loss.kl_estimator)"
  )


def importance_weights(
  old_logprobs: jax.Array, behavior_logprobs: jax.Array, *, cap: float = 2.0
) -> jax.Array:
  """Truncated weights min(π_old / π_behavior, cap), for a sampler that lags or differs.

  Source: truncated importance sampling (Ionides 2008). Without gradient.

  Args:
    old_logprobs: [..., T] float32, of the learner before the update.
    behavior_logprobs: [..., T] float32, of the sampler.
    cap: largest weight, >= 1.
  Returns:
    [..., T] float32 in (0, cap].
  Raises:
    ValueError: cap < 1.
  """
  if cap < 1.0:
    raise ValueError(f"cap is {cap}, must be >= 1 (config key loss.importance_cap)")
  _check_tokens(old_logprobs, behavior_logprobs)
  weights = jnp.exp(_log_ratio(old_logprobs, behavior_logprobs))
  return jax.lax.stop_gradient(jnp.minimum(weights, cap))


def _sums(
  terms: Mapping[str, jax.Array],
  trained: jax.Array,
  role: jax.Array,
  roles: Sequence[Role],
) -> dict[str, WeightedSum]:
  """Token sums of each term over all trained tokens and over those of each role."""
  selections = {"": trained}
  selections |= {f"{r.name.lower()}/": trained & (role == int(r)) for r in roles}
  metrics = {}
  for prefix, selection in selections.items():
    weight = jnp.sum(selection.astype(jnp.float32))
    for name, term in terms.items():
      kept = jnp.where(selection, jax.lax.stop_gradient(term).astype(jnp.float32), 0.0)
      metrics[prefix + name] = WeightedSum(jnp.sum(kept), weight)
  return metrics


class _Read(NamedTuple):
  """What the policy loss reads of a batch, [B, T] each; 0 where untrained."""

  trained: jax.Array
  current: jax.Array
  old: jax.Array
  behavior: jax.Array
  ref: jax.Array
  advantages: jax.Array


def _check_weights(batch: TokenBatch) -> jax.Array:
  if batch.weights is None:
    raise ValueError("batch.weights is None; set it to aggregation.token_weights(…)")
  return batch.weights


def _is_off(coef: float | jax.Array) -> bool:
  """True for the Python number 0; a traced coefficient keeps its term."""
  return isinstance(coef, float | int) and coef == 0


def _mask(values: jax.Array, trained: jax.Array) -> jax.Array:
  # Masked before any arithmetic: 0 · NaN would reach the gradient.
  return jnp.where(trained, values.astype(jnp.float32), 0.0)


def _read(logprobs: jax.Array, batch: TokenBatch) -> _Read:
  weights = _check_weights(batch)
  _check_tokens(
    logprobs, batch.advantages, batch.behavior_logprobs, batch.ref_logprobs, weights
  )
  trained = weights != 0
  current = _mask(logprobs, trained)
  old = jax.lax.stop_gradient(
    current if batch.old_logprobs is None else _mask(batch.old_logprobs, trained)
  )
  return _Read(
    trained,
    current,
    old,
    _mask(batch.behavior_logprobs, trained),
    _mask(batch.ref_logprobs, trained),
    _mask(batch.advantages, trained),
  )


def policy_loss(
  logprobs: jax.Array,
  batch: TokenBatch,
  *,
  entropy: jax.Array | None = None,
  clip_eps_low: float = 0.2,
  clip_eps_high: float = 0.2,
  dual_clip: float | None = 3.0,
  kl_coef: float | jax.Array = 0.01,
  kl_estimator: str = "k3",
  entropy_coef: float | jax.Array = 0.0,
  importance_cap: float | None = None,
  roles: Sequence[Role] = (Role.ACT, Role.EDIT),
) -> tuple[jax.Array, dict[str, WeightedSum]]:
  """Adds up the terms: Σ w · (ω · surrogate + β · KL − η · entropy).

  Losses and metrics of micro-batches add up to those of the update:
  `jax.tree.map(jnp.add, a, b)`, at the end `means`.

  Source: SkillMaster (arXiv:2605.08693), DualAdv-GRPO; the weight ω is ours, for
  sampler mismatch.

  Args:
    logprobs: [B, T] float32, of the policy being trained; the only path of gradients
      besides `entropy`. Values at untrained positions are not read.
    batch: B rows; needs `weights`; `old_logprobs` None means the current policy.
    entropy: [B, T] float32, of the policy at each position; None: no such term.
    clip_eps_low, clip_eps_high, dual_clip: as in `clipped_surrogate`.
    kl_coef: β >= 0; the Python number 0 leaves the term and its metric out.
    kl_estimator: as in `kl`.
    entropy_coef: η >= 0.
    importance_cap: largest ω = π_old / π_behavior; None: ω = 1.
    roles: roles with metrics of their own, prefixed 'act/', 'edit/', ….
  Returns:
    (loss [], metrics): token means of surrogate, ratio, clip_low, clip_high, clip_dual,
    approx_kl (old, current), behavior_gap |log π_old − log π_behavior|, advantage, and
    ref_kl, entropy, importance_weight where they are in use.
  Raises:
    ValueError: no weights; entropy_coef without entropy; a value out of range.
  """
  if entropy is None and not _is_off(entropy_coef):
    raise ValueError(
      f"entropy_coef is {entropy_coef} but entropy is None (config key loss.entropy_coef)"
    )
  read = _read(logprobs, batch)
  surrogate = clipped_surrogate(
    read.current,
    read.old,
    read.advantages,
    clip_eps_low=clip_eps_low,
    clip_eps_high=clip_eps_high,
    dual_clip=dual_clip,
  )
  per_token = surrogate.loss
  terms = {
    "surrogate": surrogate.loss,
    "ratio": surrogate.ratio,
    "clip_low": surrogate.clipped_low,
    "clip_high": surrogate.clipped_high,
    "clip_dual": surrogate.dual_clipped,
    "approx_kl": kl(read.old, read.current),
    "behavior_gap": jnp.abs(read.old - read.behavior),
    "advantage": read.advantages,
  }
  if importance_cap is not None:
    omega = importance_weights(read.old, read.behavior, cap=importance_cap)
    per_token = per_token * omega
    terms["importance_weight"] = omega
  if not _is_off(kl_coef):
    terms["ref_kl"] = kl(read.current, read.ref, estimator=kl_estimator)
    per_token = per_token + kl_coef * terms["ref_kl"]
  if entropy is not None:
    terms["entropy"] = _mask(entropy, read.trained)
    per_token = per_token - entropy_coef * terms["entropy"]
  loss = aggregation.weighted_sum(per_token, batch.weights)
  return loss, _sums(terms, read.trained, batch.role, roles)


def sft_loss(
  logprobs: jax.Array,
  batch: TokenBatch,
  *,
  roles: Sequence[Role] = (Role.ACT, Role.EDIT),
) -> tuple[jax.Array, dict[str, WeightedSum]]:
  """Negative log-likelihood of the trained tokens: −Σ w · log π.

  Args:
    logprobs: [B, T] float32, of the policy at temperature 1.
    batch: B rows; needs `weights`; advantages and other log-probs are not read.
    roles: as in `policy_loss`.
  Returns:
    (loss [], metrics): token mean `nll`, in nats; micro-batches add up.
  Raises:
    ValueError: no weights.
  """
  weights = _check_weights(batch)
  _check_tokens(logprobs, weights)
  trained = weights != 0
  nll = -_mask(logprobs, trained)
  loss = aggregation.weighted_sum(nll, weights)
  return loss, _sums({"nll": nll}, trained, batch.role, roles)


def means(metrics: Mapping[str, WeightedSum]) -> dict[str, float]:
  """Turns summed metrics into numbers; leaves out what had no tokens. Host side."""
  return {
    name: float(value.total) / float(value.weight)
    for name, value in metrics.items()
    if float(value.weight) > 0
  }
