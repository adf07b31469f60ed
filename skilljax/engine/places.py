"""Where a sampler's weights and cache live, and how a learner's parameters get there.

Must not know about: slots' content, requests, sampling.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
from jax.sharding import Mesh, NamedSharding

from skilljax import sharding
from skilljax.models import lora, transformer
from skilljax.models.attention import CACHE_AXES
from skilljax.models.config import ModelConfig


@dataclasses.dataclass(frozen=True)
class Places:
  """Shardings of weights, cache and what the host reads; None without a mesh.

  And the type of the weights, and the adapters that a learner's parameters may have.
  """

  dtype: str
  params: Any = None
  cache: Any = None
  whole: NamedSharding | None = None
  adapters: lora.LoraSettings | None = None

  @classmethod
  def on(cls, mesh: Mesh, config: ModelConfig, num_slots: int) -> "Places":
    """Those of a mesh; the learner's parameters may carry adapters."""
    layer = sharding.cache_shardings(CACHE_AXES, mesh, num_slots=num_slots)
    return cls(
      dtype=config.dtype,
      params=sharding.decode_shardings(
        transformer.param_specs(dataclasses.replace(config, lora=None)), mesh
      ),
      cache=(layer,) * config.num_layers,
      whole=sharding.replicated(mesh),
      adapters=config.lora,
    )

  def decode_params(self, params: transformer.Params) -> transformer.Params:
    """A learner's parameters in the layout, the type and the place for decoding."""
    if not all(leaf.is_fully_addressable for leaf in jax.tree.leaves(params)):
      return self._from_all_hosts(params)
    unstacked = self.unstack_program(params)
    return unstacked if self.params is None else jax.device_put(unstacked, self.params)

  @functools.cached_property
  def unstack_program(self) -> Callable[[transformer.Params], transformer.Params]:
    """Stacked parameters to those of decoding, merged and in their type.

    One program: layer by layer, each slice would be a copy in the learner's type.
    """
    return jax.jit(self._unstack)

  def _unstack(self, params: transformer.Params) -> transformer.Params:
    if self.adapters is not None:
      params = lora.merge(params, self.adapters)
    return transformer.unstack_layers(params, self.dtype)

  @functools.cached_property
  def _from_all_hosts(self) -> Callable[[transformer.Params], transformer.Params]:
    return sharding.host_copier(self._unstack, self.params)
