"""The optimiser of a learner: AdamW or muon, with warm-up, decay and clipping.

Must not know about: losses, batches, meshes.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import optax
import optax.contrib
from optax.contrib import MuonDimensionNumbers

DTYPES = ("float32", "bfloat16")
OPTIMIZERS = ("adamw", "muon")
MUON_RMS = 0.2
# Parameter [L, …] -> (input axes, output axes); see `skilljax.models.params`.
_MUON_AXES = {
  **dict.fromkeys(("wq", "wk", "wv"), MuonDimensionNumbers((1,), (2, 3))),
  "wo": MuonDimensionNumbers((1, 2), (3,)),
  **dict.fromkeys(("w_gate", "w_up", "w_down"), MuonDimensionNumbers((1,), (2,))),
}

Params = Any


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
    rows_per_batch: rows of a micro-batch; mesh.data · mesh.fsdp must divide it.
    logprob_chunk: columns of logits at a time.
    moment_dtype: type in which the optimiser's moments are stored; they are computed in
      float32.
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
  moment_dtype: str = "float32"

  def __post_init__(self):
    if self.optimizer not in OPTIMIZERS:
      raise ValueError(
        f"optimizer={self.optimizer!r} must be one of {OPTIMIZERS} "
        "(config key learner.optimizer)"
      )
    if self.moment_dtype not in DTYPES:
      raise ValueError(
        f"moment_dtype={self.moment_dtype!r} must be one of {DTYPES} "
        "(config key learner.moment_dtype)"
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
  clipped = optax.chain(optax.clip_by_global_norm(settings.max_grad_norm), step)
  return stored_as(settings.moment_dtype, clipped)


def stored_as(
  dtype: str, inner: optax.GradientTransformation
) -> optax.GradientTransformation:
  """An optimiser whose state lies in a float type of its own between two steps.

  Gradients and state are float32 inside a step, whatever they are outside; optax alone
  would take the type of the parameters.
  """

  def cast(tree: Any, to: str) -> Any:
    def one(leaf: Any) -> Any:
      dtype = getattr(leaf, "dtype", jnp.int32)  # optax also walks it with marks
      return leaf.astype(to) if jnp.issubdtype(dtype, jnp.floating) else leaf

    return jax.tree.map(one, tree)

  def init(params: Params) -> Any:
    return cast(inner.init(params), dtype)

  def update(gradient: Params, state: Any, params: Params) -> tuple[Params, Any]:
    updates, state = inner.update(
      cast(gradient, "float32"), cast(state, "float32"), cast(params, "float32")
    )
    return updates, cast(state, dtype)

  return optax.GradientTransformation(init, update)


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
