"""Where a learner's arrays live: on one device, or split over a mesh.

Must not know about: losses, engines, how a mesh is made.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import optax
from jax.sharding import Mesh, NamedSharding

from skilljax import sharding
from skilljax.models import lora
from skilljax.models.config import ModelConfig
from skilljax.models.params import init_params, param_specs
from skilljax.optimizer import LearnerSettings


@dataclasses.dataclass(frozen=True)
class Placement:
  """Shardings of everything that a learner touches; None where there is no mesh.

  Attributes:
    params: tree of shardings, as the parameters.
    trained: of that part of them which is trained.
    opt_state: the same of the optimiser's state.
    rows: of [R, ...] arrays of a micro-batch.
    whole: of what every device holds: scalars, metrics, log-probs that the host reads.
  """

  params: Any = None
  trained: Any = None
  opt_state: Any = None
  rows: NamedSharding | None = None
  whole: NamedSharding | None = None

  @classmethod
  def on(
    cls,
    mesh: Mesh,
    model: ModelConfig,
    settings: LearnerSettings,
    optimizer: optax.GradientTransformation,
  ) -> "Placement":
    """The shardings of one learner on a mesh.

    Raises:
      ValueError: the mesh does not divide the model or the rows.
    """
    parts = mesh.shape["data"] * mesh.shape["fsdp"]
    if settings.rows_per_batch % parts:
      raise ValueError(
        f"mesh.data={mesh.shape['data']} x mesh.fsdp={mesh.shape['fsdp']} must divide "
        f"learner.rows_per_batch={settings.rows_per_batch}"
      )
    params = sharding.param_shardings(param_specs(model), mesh)
    whole = sharding.replicated(mesh)
    shapes = jax.eval_shape(lambda key: init_params(key, model), jax.random.key(0))
    state = jax.eval_shape(optimizer.init, lora.split(shapes)[0])
    opt_state = _like_params(state, params, whole)
    return cls(
      params=params,
      trained=lora.split(params)[0],
      opt_state=opt_state,
      rows=sharding.batch_sharding(mesh),
      whole=whole,
    )

  def state(self, make: Callable[[Any, Any, Any], Any]) -> Any:
    """Shardings of a train state: `make(params, opt_state, step)`; None without mesh."""
    return None if self.params is None else make(self.params, self.opt_state, self.whole)

  def put_params(self, params: Any) -> Any:
    """Parameters where they belong; those that are there already stay."""
    if self.params is None:
      return params

    def one(leaf: jax.Array, place: NamedSharding) -> jax.Array:
      # What only this host holds reaches devices of others as host arrays.
      own = jax.process_count() > 1 and leaf.is_fully_addressable
      return jax.device_put(np.asarray(leaf) if own else leaf, place)

    return jax.tree.map(one, params, self.params)

  def keep_rows(self, x: jax.Array) -> jax.Array:
    """Inside a program: activations [R, ...] stay split by rows, weights come to them."""
    return x if self.rows is None else jax.lax.with_sharding_constraint(x, self.rows)

  def put_rows(self, batch: Any) -> Any:
    """Host arrays [R, ...], the same on every process, as arrays split over the mesh."""
    if self.rows is None:
      return batch

    def one(leaf: np.ndarray) -> jax.Array:
      leaf = np.asarray(leaf)
      return jax.make_array_from_callback(leaf.shape, self.rows, lambda part: leaf[part])

    return jax.tree.map(one, batch)


def _like_params(state: Any, params: Any, other: NamedSharding) -> Any:
  """A sharding for each array of an optimiser's state.

  Moments carry the names of their parameter at the end of their path, whatever the
  optimiser wraps around them (optax's own `tree_map_params` stops at masked ones).

  Args:
    state: tree of shapes.
    params: tree of shardings.
    other: of what is no moment: counts, scalars.
  """
  by_name = {_names(p): s for p, s in jax.tree_util.tree_leaves_with_path(params)}

  def one(path: tuple, leaf: jax.ShapeDtypeStruct) -> NamedSharding:
    names = _names(path)
    for start in range(len(names)):
      place = by_name.get(names[start:])
      if place is not None and len(place.spec) == leaf.ndim:
        return place
    return other

  return jax.tree_util.tree_map_with_path(one, state)


def _names(path: tuple) -> tuple[str, ...]:
  """The dictionary keys of a path."""
  return tuple(part.key for part in path if isinstance(part, jax.tree_util.DictKey))
