"""The learner: packed rows in, a better policy out.

One jitted gradient per micro-batch, added up on the device, and one jitted optimiser
step. Aggregation weights are computed once over the whole mini-batch, so the result does
not depend on how rows fall into micro-batches.

Must not know about: text, environments, skills, where advantages come from.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import optax
import optax.contrib
from optax.contrib import MuonDimensionNumbers

from skilljax.models.config import ModelConfig
from skilljax.models.logprobs import sequence_logprobs
from skilljax.rl import aggregation, losses
from skilljax.rl.batch import TokenBatch

OPTIMIZERS = ("adamw", "muon")
MUON_RMS = 0.2
# Parameter [L, …] -> (input axes, output axes); see `skilljax.models.params`.
_MUON_AXES = {
  **dict.fromkeys(("wq", "wk", "wv"), MuonDimensionNumbers((1,), (2, 3))),
  "wo": MuonDimensionNumbers((1, 2), (3,)),
  **dict.fromkeys(("w_gate", "w_up", "w_down"), MuonDimensionNumbers((1,), (2,))),
}

Params = Any
Metrics = dict[str, losses.WeightedSum]


@dataclasses.dataclass(frozen=True, kw_only=True)
class LearnerSettings:
  """Optimiser and shapes; config section `learner`.

  Attributes:
    optimizer: 'adamw', or 'muon' (arXiv:2502.16982) for matrices with AdamW for the
      rest: small models trained from scratch learn to copy in a third of the steps.
    learning_rate: peak, > 0; muon's updates have the size of AdamW's at 0.2 of it.
    warmup_steps: optimiser steps of linear warm-up, >= 0.
    decay_steps: optimiser steps until the cosine reaches `end_fraction`; 0 = constant.
    end_fraction: of the peak, at the end of the decay.
    beta1, beta2, weight_decay: AdamW.
    max_grad_norm: global norm at which gradients are clipped, > 0.
    row_len: tokens of a packed row; at least engine.max_len.
    rows_per_batch: rows of a micro-batch.
    logprob_chunk: columns of logits at a time.
  """

  optimizer: str = "adamw"
  learning_rate: float = 1e-6
  warmup_steps: int = 0
  decay_steps: int = 0
  end_fraction: float = 0.1
  beta1: float = 0.9
  beta2: float = 0.95
  weight_decay: float = 0.01
  max_grad_norm: float = 1.0
  row_len: int = 768
  rows_per_batch: int = 8
  logprob_chunk: int = 256

  def __post_init__(self):
    if self.optimizer not in OPTIMIZERS:
      raise ValueError(
        f"optimizer={self.optimizer!r} must be one of {OPTIMIZERS} "
        "(config key learner.optimizer)"
      )
    for name in ("learning_rate", "max_grad_norm"):
      if not self.__dict__[name] > 0:
        raise ValueError(
          f"{name}={self.__dict__[name]} must be > 0 (config key learner.{name})"
        )
    for name in ("row_len", "rows_per_batch", "logprob_chunk"):
      if self.__dict__[name] < 1:
        raise ValueError(
          f"{name}={self.__dict__[name]} must be >= 1 (config key learner.{name})"
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class LossSettings:
  """The policy loss; config section `loss`. Ranges: `skilljax.rl.losses`.

  Attributes:
    clip_eps_low, clip_eps_high, dual_clip: of the surrogate; dual_clip 0 = none.
    kl_coef, kl_estimator: penalty towards the cold-start policy.
    entropy_coef: bonus.
    importance_cap: truncated π_old / π_behavior weights; 0 = not used.
    aggregation: a mode of `skilljax.rl.aggregation`.
    temperature: of the sampler, and so of every log-prob.
  """

  clip_eps_low: float = 0.2
  clip_eps_high: float = 0.2
  dual_clip: float = 3.0
  kl_coef: float = 0.01
  kl_estimator: str = "k3"
  entropy_coef: float = 0.001
  importance_cap: float = 0.0
  aggregation: str = "token_mean"
  temperature: float = 1.0

  def __post_init__(self):
    if self.aggregation not in aggregation.MODES:
      raise ValueError(
        f"aggregation={self.aggregation!r} must be one of {aggregation.MODES} "
        "(config key loss.aggregation)"
      )
    if not self.temperature > 0:
      raise ValueError(
        f"temperature={self.temperature} must be > 0 (config key loss.temperature)"
      )


@flax.struct.dataclass
class TrainState:
  """What an optimiser step changes.

  Attributes:
    params: the policy, stacked layout.
    opt_state: of optax.
    step: [] int32, optimiser steps so far.
  """

  params: Params
  opt_state: optax.OptState
  step: jax.Array


def make_optimizer(settings: LearnerSettings) -> optax.GradientTransformation:
  """Clipping, then AdamW or muon, with warm-up and cosine decay."""
  rate = _learning_rate(settings)
  if settings.optimizer == "muon":
    step = optax.contrib.muon(
      rate,
      weight_decay=settings.weight_decay,
      adam_b1=settings.beta1,
      adam_b2=settings.beta2,
      # Both kinds of update get the same root mean square per learning rate.
      adam_learning_rate=lambda count: MUON_RMS * rate(count),
      consistent_rms=MUON_RMS,
      muon_weight_dimension_numbers=muon_dimensions,
    )
  else:
    step = optax.adamw(
      rate,
      b1=settings.beta1,
      b2=settings.beta2,
      weight_decay=settings.weight_decay,
      mask=lambda params: jax.tree.map(lambda leaf: leaf.ndim > 1, params),
    )
  return optax.chain(optax.clip_by_global_norm(settings.max_grad_norm), step)


def _learning_rate(settings: LearnerSettings) -> optax.Schedule:
  if settings.decay_steps:
    return optax.warmup_cosine_decay_schedule(
      0.0 if settings.warmup_steps else settings.learning_rate,
      settings.learning_rate,
      settings.warmup_steps,
      max(settings.decay_steps, settings.warmup_steps + 1),
      settings.learning_rate * settings.end_fraction,
    )
  if settings.warmup_steps:
    return optax.linear_schedule(0.0, settings.learning_rate, settings.warmup_steps)
  return optax.constant_schedule(settings.learning_rate)


def muon_dimensions(params: Params) -> Params:
  """Which axes of each matrix are inputs and outputs; None where AdamW steps.

  The leading axis of stacked layers stays apart: each layer is a matrix of its own.
  """

  def one(path, _):
    return _MUON_AXES.get(path[-1].key)

  return jax.tree_util.tree_map_with_path(one, params)


class Learner:
  """Jitted programs of one model, one optimiser and one loss."""

  def __init__(self, model: ModelConfig, settings: LearnerSettings, loss: LossSettings):
    self.model = model
    self.settings = settings
    self.loss = loss
    self.optimizer = make_optimizer(settings)
    self._policy_grad = self._make_grad(self._policy_loss)
    self._sft_grad = self._make_grad(self._sft_loss)
    self._apply = jax.jit(self._apply_gradients, donate_argnums=(0,))
    self._score = jax.jit(self._logprobs)
    self._weights = jax.jit(
      aggregation.token_weights,
      static_argnames=("mode", "num_sequences", "max_tokens"),
    )

  def init(self, params: Params) -> TrainState:
    """A fresh optimiser around a copy of `params`, which stay the caller's."""
    own = jax.tree.map(jnp.copy, params)
    opt_state = jax.jit(self.optimizer.init)(own)
    return TrainState(own, opt_state, jnp.zeros((), jnp.int32))

  def reference(self, params: Params, batch: TokenBatch) -> TokenBatch:
    """Fills `ref_logprobs` [M, R, T] with those of a frozen policy."""
    scored = [
      np.asarray(self._score(params, _micro_batch(batch, m)))
      for m in range(batch.tokens.shape[0])
    ]
    return batch.replace(ref_logprobs=np.stack(scored))

  def update(
    self, state: TrainState, batch: TokenBatch, *, num_sequences: int
  ) -> tuple[TrainState, dict[str, float]]:
    """One optimiser step of the policy loss on one mini-batch; donates `state`.

    One model code samples and learns, so the sampler's log-probs are the old ones; with
    `importance_cap` they are computed again and the difference is corrected.
    """
    old = batch.behavior_logprobs
    if self.loss.importance_cap:
      old = self.reference(state.params, batch).ref_logprobs
    batch = batch.replace(old_logprobs=old)
    return self._step(
      self._policy_grad, state, batch, self.loss.aggregation, num_sequences
    )

  def imitate(
    self, state: TrainState, batch: TokenBatch, *, num_sequences: int
  ) -> tuple[TrainState, dict[str, float]]:
    """One optimiser step of the supervised loss; donates `state`."""
    return self._step(self._sft_grad, state, batch, "token_mean", num_sequences)

  def _step(
    self,
    grad: Callable,
    state: TrainState,
    batch: TokenBatch,
    mode: str,
    num_sequences: int,
  ) -> tuple[TrainState, dict[str, float]]:
    """Adds up the gradients of M micro-batches [R, T], then steps once."""
    # Next power of two: the count is static under jit and must not retrace every time.
    bound = 1 << max(num_sequences - 1, 1).bit_length()
    max_tokens = self.settings.row_len if mode == "seq_mean_token_sum_norm" else None
    batch = batch.replace(weights=self._host_weights(batch, mode, bound, max_tokens))
    total = None
    for index in range(batch.tokens.shape[0]):
      part = grad(state.params, _micro_batch(batch, index))
      total = part if total is None else _add(total, part)
    (value, metrics), gradient = total
    state, norm = self._apply(state, gradient)
    numbers = losses.means(jax.device_get(metrics))
    return state, {"loss": float(value), "grad_norm": float(norm), **numbers}

  def _host_weights(self, batch, mode, bound, max_tokens) -> np.ndarray:
    counts = np.bincount(
      batch.sequence_id[batch.loss_mask > 0].ravel(), minlength=bound
    ).astype(np.float32)
    parts = [
      np.asarray(
        self._weights(
          batch.loss_mask[m],
          batch.sequence_id[m],
          mode=mode,
          num_sequences=bound,
          max_tokens=max_tokens,
          counts=counts,
        )
      )
      for m in range(batch.tokens.shape[0])
    ]
    return np.stack(parts)

  def _make_grad(self, loss: Callable) -> Callable:
    return jax.jit(jax.value_and_grad(loss, has_aux=True))

  def _policy_loss(self, params: Params, batch: TokenBatch) -> tuple[jax.Array, Metrics]:
    logprobs, entropy = self._score_rows(params, batch, self.loss.temperature)
    return losses.policy_loss(
      logprobs,
      batch,
      entropy=entropy,
      clip_eps_low=self.loss.clip_eps_low,
      clip_eps_high=self.loss.clip_eps_high,
      dual_clip=self.loss.dual_clip or None,
      kl_coef=self.loss.kl_coef,
      kl_estimator=self.loss.kl_estimator,
      entropy_coef=self.loss.entropy_coef,
      importance_cap=self.loss.importance_cap or None,
    )

  def _sft_loss(self, params: Params, batch: TokenBatch) -> tuple[jax.Array, Metrics]:
    logprobs, _ = self._score_rows(params, batch, temperature=1.0)
    return losses.sft_loss(logprobs, batch)

  def _logprobs(self, params: Params, batch: TokenBatch) -> jax.Array:
    return self._score_rows(params, batch, self.loss.temperature)[0]

  def _score_rows(
    self, params: Params, batch: TokenBatch, temperature: float
  ) -> tuple[jax.Array, jax.Array]:
    """(log-probs, entropy) of the rows, as `sequence_logprobs`."""
    return sequence_logprobs(
      params,
      batch.tokens,
      batch.positions,
      batch.segment_ids,
      self.model,
      temperature=temperature,
      chunk=self.settings.logprob_chunk,
    )

  def _apply_gradients(
    self, state: TrainState, gradient: Params
  ) -> tuple[TrainState, jax.Array]:
    # optax raises floats to integer step counts, which strict promotion refuses.
    with jax.numpy_dtype_promotion("standard"):
      updates, opt_state = self.optimizer.update(gradient, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    return TrainState(params, opt_state, state.step + 1), optax.tree.norm(gradient)


@functools.partial(jax.jit, donate_argnums=(0,))
def _add(total, part):
  return jax.tree.map(jnp.add, total, part)


def _micro_batch(batch: TokenBatch, index: int) -> TokenBatch:
  return jax.tree.map(lambda leaf: leaf[index], batch)


def minibatches(num_items: int, num_parts: int, seed: Sequence[int]) -> list[np.ndarray]:
  """Splits indices into parts of nearly equal size, shuffled by `seed`."""
  order = np.random.default_rng(list(seed)).permutation(num_items)
  return [np.sort(part) for part in np.array_split(order, num_parts) if len(part)]
