"""Low-rank adapters: a subtree of the parameters that is trained in their place.

Purpose: `W + alpha / rank · A B` for chosen matrices of every layer (Hu et al.,
arXiv:2106.09685). A and B are parameters like all others: described in `param_specs`,
split by the same rules, saved in the same checkpoint. The learner merges layer by layer,
inside its scan; a sampler and an export merge once.

Must not know about: optimisers, files.
"""

import dataclasses
import functools
import math
from typing import Any

import jax
import jax.numpy as jnp

# Matrix -> leading axes, after the layer axis, that are inputs.
INPUTS = {"wq": 1, "wk": 1, "wv": 1, "wo": 2, "w_gate": 1, "w_up": 1, "w_down": 1}


@dataclasses.dataclass(frozen=True)
class LoraSettings:
  """Config section `lora`.

  Attributes:
    rank: r of each adapter, >= 1.
    alpha: adapters are scaled by alpha / rank, > 0.
    targets: matrices that get one.
  """

  rank: int = 16
  alpha: float = 32.0
  targets: tuple[str, ...] = tuple(INPUTS)

  def __post_init__(self):
    if self.rank < 1:
      raise ValueError(f"rank={self.rank} must be >= 1 (config key lora.rank)")
    if not (math.isfinite(self.alpha) and self.alpha > 0):
      raise ValueError(f"alpha={self.alpha} must be > 0 (config key lora.alpha)")
    unknown = sorted(set(self.targets) - set(INPUTS))
    if unknown or not self.targets or len(set(self.targets)) < len(self.targets):
      raise ValueError(
        f"targets={self.targets} must be some of {tuple(INPUTS)}, each once "
        "(config key lora.targets)"
      )

  @property
  def scale(self) -> float:
    """Factor of A B."""
    return self.alpha / self.rank


def adapter_axes(axes: tuple[str, ...], name: str) -> tuple[tuple[str, ...], ...]:
  """The logical axes of A and B of a stacked matrix with the given axes."""
  split = 1 + INPUTS[name]
  return (*axes[:split], "rank"), ("layers", "rank", *axes[split:])


def merge_layer(
  layer: dict[str, Any],
  adapters: Any,
  settings: LoraSettings,
  *,
  dtype: str | None = None,
) -> Any:
  """One layer, or a stack of layers, with its adapters added to its matrices.

  Args:
    layer: name -> array, with or without a leading layer axis.
    adapters: name -> {'a', 'b'}; None or {} changes nothing.
    settings: of the adapters.
    dtype: of the merged matrices; None: the type that each of them has.
  Returns:
    The layer.
  """
  merged = dict(layer)
  for name, pair in (adapters or {}).items():
    weight = layer[name]
    a, b = pair["a"].astype(jnp.float32), pair["b"].astype(jnp.float32)
    times = functools.partial(jnp.tensordot, axes=1)
    one_layer = weight.ndim == a.ndim + b.ndim - 2
    delta = times(a, b) if one_layer else jax.vmap(times)(a, b)
    wide = weight.astype(jnp.float32) + settings.scale * delta
    merged[name] = wide.astype(dtype or weight.dtype)
  return merged


def merge(
  params: dict[str, Any], settings: LoraSettings, *, dtype: str | None = None
) -> dict[str, Any]:
  """A stacked parameter tree without adapters that computes the same.

  `dtype` as in `merge_layer`: weights in bfloat16 would round small adapters away.
  """
  plain = {key: value for key, value in params.items() if key != "lora"}
  layers = merge_layer(params["layers"], params.get("lora"), settings, dtype=dtype)
  return {**plain, "layers": layers}


def split(params: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
  """(what is trained, what is not): adapters where there are some, else everything."""
  if "lora" not in params:
    return params, {}
  frozen = {key: value for key, value in params.items() if key != "lora"}
  return {"lora": params["lora"]}, frozen
