"""Where each array lives on a device mesh: one table from logical to mesh axes.

Purpose: the mesh (`data`, `fsdp`, `tensor`), the sharding of every parameter and of a
batch of rows. Rows are split over data and fsdp, matrices over fsdp and tensor.
Must not know about: models (their parameters describe themselves), optimisers, processes.
"""

from collections.abc import Mapping
from typing import Any, Protocol

import jax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

MESH_AXES = ("data", "fsdp", "tensor")

Rules = Mapping[str, str | None]

# Logical axis of a parameter -> mesh axis, or None for replicated.
RULES: Rules = {
  "layers": None,
  "vocab": "tensor",
  "embed": "fsdp",
  "heads": "tensor",
  "kv_heads": "tensor",
  "head_dim": None,
  "mlp": "tensor",
  "norm": None,  # a vector of width D: too small to be worth a gather
}
# The config key behind each logical axis, for error messages.
_CONFIG_KEYS = {
  "vocab": "model.vocab_size",
  "embed": "model.d_model",
  "heads": "model.num_heads",
  "kv_heads": "model.num_kv_heads",
  "mlp": "model.d_ff",
}


class Described(Protocol):
  """A parameter that tells its sizes and a logical name for each axis."""

  @property
  def shape(self) -> tuple[int, ...]:
    """Sizes."""
    ...

  @property
  def axes(self) -> tuple[str, ...]:
    """Logical names, one for each size."""
    ...


def make_mesh(*, data: int = 1, fsdp: int = 1, tensor: int = 1) -> Mesh:
  """A mesh over the first data·fsdp·tensor devices, axes of type Auto.

  Args:
    data: replicas that see different rows.
    fsdp: parts that each parameter's model width is split into; also splits rows.
    tensor: parts that heads, feed-forward and vocabulary are split into.
  Raises:
    ValueError: a size below 1, or more devices than there are.
  """
  sizes = {"data": data, "fsdp": fsdp, "tensor": tensor}
  for name, size in sizes.items():
    if size < 1:
      raise ValueError(f"{name}={size} must be >= 1 (config key mesh.{name})")
  devices = jax.devices()
  wanted = data * fsdp * tensor
  if wanted > len(devices):
    raise ValueError(
      f"mesh data={data} x fsdp={fsdp} x tensor={tensor} needs {wanted} devices, there "
      f"are {len(devices)} (config keys mesh.data, mesh.fsdp, mesh.tensor)"
    )
  # make_mesh defaults to Explicit axes, under which every array's sharding is a type.
  return jax.make_mesh(
    tuple(sizes.values()),
    MESH_AXES,
    axis_types=(AxisType.Auto,) * len(MESH_AXES),
    devices=devices[:wanted],
  )


def param_shardings(specs: Any, mesh: Mesh, *, rules: Rules = RULES) -> Any:
  """A `NamedSharding` for each parameter.

  Args:
    specs: pytree of `Described`, for example `transformer.param_specs(cfg)`.
    mesh: from `make_mesh`.
    rules: logical axis -> mesh axis; every axis of every parameter needs one.
  Returns:
    The same tree with a sharding at each leaf.
  Raises:
    ValueError: a logical axis without a rule, one mesh axis used twice in a parameter,
      or a mesh axis that does not divide the dimension it splits; names the config keys.
  """

  def one(path: tuple, spec: Described) -> NamedSharding:
    name = jax.tree_util.keystr(path, simple=True, separator=".")
    return NamedSharding(mesh, _partition(name, spec, mesh, rules))

  return jax.tree.map_with_path(one, specs)


def batch_sharding(mesh: Mesh) -> NamedSharding:
  """Sharding of [B, ...] arrays: rows over data and fsdp, the rest whole."""
  return NamedSharding(mesh, PartitionSpec(("data", "fsdp")))


def replicated(mesh: Mesh) -> NamedSharding:
  """Sharding of scalars, keys and other small values."""
  return NamedSharding(mesh, PartitionSpec())


def _partition(name: str, spec: Described, mesh: Mesh, rules: Rules) -> PartitionSpec:
  """The partition of one parameter, after all checks."""
  used: dict[str, str] = {}
  parts = []
  for axis, size in zip(spec.axes, spec.shape, strict=True):
    if axis not in rules:
      raise ValueError(f"logical axis {axis!r} of {name} has no rule in {list(rules)}")
    mesh_axis = rules[axis]
    parts.append(mesh_axis)
    if mesh_axis is None:
      continue
    if mesh_axis in used:
      raise ValueError(
        f"mesh axis {mesh_axis!r} would split both {used[mesh_axis]!r} and {axis!r} of "
        f"{name}; a mesh axis may split one dimension of an array"
      )
    used[mesh_axis] = axis
    if size % mesh.shape[mesh_axis]:
      raise ValueError(
        f"mesh.{mesh_axis}={mesh.shape[mesh_axis]} must divide "
        f"{_CONFIG_KEYS.get(axis, axis)}={size} (parameter {name})"
      )
  return PartitionSpec(*parts)
