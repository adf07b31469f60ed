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
from jax.sharding import Mesh

from skilljax import sharding
from skilljax.models import lora
from skilljax.models.config import ModelConfig
from skilljax.models.logprobs import sequence_logprobs
from skilljax.optimizer import LearnerSettings as LearnerSettings
from skilljax.optimizer import make_optimizer
from skilljax.placement import Placement
from skilljax.rl import aggregation, losses
from skilljax.rl.batch import TokenBatch

Params = Any
Metrics = dict[str, losses.WeightedSum]


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


class Learner:
  """Jitted programs of one model, one optimiser and one loss."""

  def __init__(
    self,
    model: ModelConfig,
    settings: LearnerSettings,
    loss: LossSettings,
    mesh: Mesh | None = None,
  ):
    """Compiles nothing yet.

    Args:
      model, settings, loss: of the policy.
      mesh: over which parameters, optimiser and rows are split; None: one device.
    Raises:
      ValueError: the mesh does not divide the model or the rows; names the config keys.
    """
    self.model = model
    self.settings = settings
    self.loss = loss
    self.optimizer = make_optimizer(settings)
    self.place = Placement()
    if mesh is not None:
      self.place = Placement.on(mesh, model, settings, self.optimizer)
    self._policy_grad = self._make_grad(self._policy_loss)
    self._sft_grad = self._make_grad(self._sft_loss)
    self._apply = jax.jit(
      self._apply_gradients,
      donate_argnums=(0,),
      out_shardings=(
        self.place.state(TrainState),
        self.place.whole,
      ),
    )
    self._score = jax.jit(self._logprobs, out_shardings=self.place.whole)
    self._weights = jax.jit(
      aggregation.token_weights,
      static_argnames=("mode", "num_sequences", "max_tokens"),
    )

  def init(self, params: Params) -> TrainState:
    """A fresh optimiser around a copy of `params`, which stay the caller's."""
    placed = self.place.put_params(params)
    return jax.jit(self._fresh, out_shardings=self.place.state(TrainState))(placed)

  def _fresh(self, params: Params) -> TrainState:
    own = jax.tree.map(jnp.copy, params)
    trained, _ = lora.split(own)
    return TrainState(own, self.optimizer.init(trained), jnp.zeros((), jnp.int32))

  def reference(self, params: Params, batch: TokenBatch) -> TokenBatch:
    """Fills `ref_logprobs` [M, R, T] with those of a frozen policy."""
    scored = [
      np.asarray(self._score(params, self._micro_batch(batch, m)))
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

  def lower(
    self, params: Params, reference: Params, batch: TokenBatch
  ) -> dict[str, jax.stages.Lowered]:
    """The programs of an update, from shapes alone; needs none of the mesh's devices.

    Args:
      params, reference: shapes of the policy's and of the KL reference's parameters.
      batch: shapes of one micro-batch [R, T].
    Returns:
      'score', 'gradient', 'accumulate' and 'step'.
    Raises:
      ValueError: the learner has no mesh.
    """
    place = self.place
    if place.params is None or place.rows is None:
      raise ValueError("lower needs a learner with a mesh, of one device at least")
    state = sharding.placed(jax.eval_shape(self._fresh, params), place.state(TrainState))
    extra = batch.behavior_logprobs
    batch = sharding.placed(batch.replace(weights=extra, old_logprobs=extra), place.rows)
    own = {name: place.params[name] for name in reference}
    gradient = self._policy_grad.lower(*lora.split(state.params), batch)
    total = sharding.placed(gradient.out_info, (place.whole, place.trained))
    return {
      "score": self._score.lower(sharding.placed(reference, own), batch),
      "gradient": gradient,
      "accumulate": _add.lower(total, total),
      "step": self._apply.lower(state, total[1]),
    }

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
      part = grad(*lora.split(state.params), self._micro_batch(batch, index))
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
    def of_trained(trained: Params, frozen: Params, batch: TokenBatch):
      return loss({**frozen, **trained}, batch)

    place = self.place
    return jax.jit(
      jax.value_and_grad(of_trained, has_aux=True),
      out_shardings=(place.whole, place.trained),
    )

  def _micro_batch(self, batch: TokenBatch, index: int) -> TokenBatch:
    return self.place.put_rows(jax.tree.map(lambda leaf: leaf[index], batch))

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
      place=self.place.keep_rows,
    )

  def _apply_gradients(
    self, state: TrainState, gradient: Params
  ) -> tuple[TrainState, jax.Array]:
    trained, frozen = lora.split(state.params)
    # optax raises floats to integer step counts, and adds float32 to bfloat16: strict
    # promotion refuses both.
    with jax.numpy_dtype_promotion("standard"):
      updates, opt_state = self.optimizer.update(gradient, state.opt_state, trained)
      trained = optax.apply_updates(trained, updates)
    params = {**frozen, **trained}
    return TrainState(params, opt_state, state.step + 1), optax.tree.norm(gradient)


@functools.partial(jax.jit, donate_argnums=(0,))
def _add(total, part):
  return jax.tree.map(jnp.add, total, part)


def minibatches(num_items: int, num_parts: int, seed: Sequence[int]) -> list[np.ndarray]:
  """Splits indices into parts of nearly equal size, shuffled by `seed`."""
  order = np.random.default_rng(list(seed)).permutation(num_items)
  return [np.sort(part) for part in np.array_split(order, num_parts) if len(part)]
