"""Where each array lives on a device mesh: one table from logical to mesh axes.

Purpose: the mesh (`data`, `fsdp`, `tensor`), the sharding of every parameter, of a batch
of rows and of a KV cache. Rows are split over data and fsdp, matrices over fsdp and
tensor; a sampler, which reads all weights for each token, splits them over tensor only.
Must not know about: models (their parameters describe themselves), optimisers, processes.
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import jax
import numpy as np
from jax import lax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

MESH_AXES = ("data", "fsdp", "tensor")

Rules = Mapping[str, str | tuple[str, ...] | None]

# Logical axis of a parameter -> mesh axis, or None for replicated.
RULES: Rules = {
  "layers": None,
  "vocab": "tensor",
  "embed": "fsdp",
  "heads": "tensor",
  "kv_heads": "tensor",
  "head_dim": None,
  "mlp": "tensor",
  "rank": None,  # of an adapter: small
  "norm": None,  # a vector of width D: too small to be worth a gather
}
# Of a sampler: its weights, and its cache.
ENGINE_RULES: Rules = {
  **RULES,
  "embed": None,
  "slots": ("data", "fsdp"),
  "positions": None,
}
# The config key behind each logical axis, for error messages.
_CONFIG_KEYS = {
  "vocab": "model.vocab_size",
  "embed": "model.d_model",
  "heads": "model.num_heads",
  "kv_heads": "model.num_kv_heads",
  "mlp": "model.d_ff",
  "slots": "engine.num_slots",
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


@dataclasses.dataclass(frozen=True, kw_only=True)
class MeshSettings:
  """Config sections `mesh` (learner) and `engine_mesh` (sampler; as `mesh` if absent).

  Attributes:
    data: replicas that see different rows.
    fsdp: parts that each parameter's model width is split into; also splits rows.
    tensor: parts that heads, feed-forward and vocabulary are split into.
  """

  data: int = 1
  fsdp: int = 1
  tensor: int = 1

  def __post_init__(self):
    for name in MESH_AXES:
      if (size := self.__dict__[name]) < 1:
        raise ValueError(f"{name}={size} must be >= 1 (config key mesh.{name})")

  @property
  def num_devices(self) -> int:
    """Devices that such a mesh takes."""
    return self.data * self.fsdp * self.tensor


ONE_DEVICE = MeshSettings()


def make_mesh(
  *,
  data: int = 1,
  fsdp: int = 1,
  tensor: int = 1,
  devices: Sequence[jax.Device] | None = None,
) -> Mesh:
  """A mesh over the first data·fsdp·tensor devices, axes of type Auto.

  Args:
    data, fsdp, tensor: see `MeshSettings`.
    devices: to choose from; None = all of all processes.
  Raises:
    ValueError: a size below 1, or more devices than there are.
  """
  wanted = MeshSettings(data=data, fsdp=fsdp, tensor=tensor).num_devices
  sizes = {"data": data, "fsdp": fsdp, "tensor": tensor}
  devices = jax.devices() if devices is None else devices
  if wanted > len(devices):
    raise ValueError(
      f"mesh data={data} x fsdp={fsdp} x tensor={tensor} needs {wanted} devices, there "
      f"are {len(devices)} (config keys mesh.data, mesh.fsdp, mesh.tensor)"
    )
  # The default are Explicit axes, under which every array's sharding is a type.
  auto = (AxisType.Auto,) * len(MESH_AXES)
  shape = tuple(sizes.values())
  several = jax.process_count() > 1 or len({d.process_index for d in devices}) > 1
  if not several:  # the best order for the network between the devices
    return jax.make_mesh(shape, MESH_AXES, axis_types=auto, devices=devices[:wanted])
  ordered = sorted(devices[:wanted], key=lambda device: (device.process_index, device.id))
  return Mesh(np.array(ordered).reshape(shape), MESH_AXES, axis_types=auto)


def host_copier(make: Callable[[Any], Any], shardings: Any) -> Callable[[Any], Any]:
  """A function tree -> `make(tree)` as arrays of this host; it compiles once.

  Args:
    make: traced; what becomes of a tree of arrays that are split over all hosts, on a
      mesh with its devices in the order of `make_mesh`.
    shardings: of its result, on a mesh over this host's devices.
  """
  local = jax.tree.leaves(shardings)[0].mesh

  @functools.cache
  def program(everywhere: Mesh) -> Callable[[Any], Any]:
    devices = everywhere.devices.reshape(-1, *local.devices.shape)
    auto = (AxisType.Auto,) * devices.ndim
    copies = Mesh(devices, ("hosts", *local.axis_names), axis_types=auto)
    outs = jax.tree.map(lambda place: NamedSharding(copies, place.spec), shardings)
    return jax.jit(make, out_shardings=outs)

  def own(array: jax.Array, place: NamedSharding) -> jax.Array:
    pieces = [shard.data for shard in array.addressable_shards]
    return jax.make_array_from_single_device_arrays(array.shape, place, pieces)

  def copy(tree: Any) -> Any:
    everywhere = jax.tree.leaves(tree)[0].sharding.mesh
    return jax.tree.map(own, program(everywhere)(tree), shardings)

  return copy


def to_host(array: jax.Array | np.ndarray, *, piece_bytes: int = 4 << 20) -> np.ndarray:
  """The whole array on this host. Where several hosts share it, all of them must call.

  Args:
    array: on any devices.
    piece_bytes: what each device may hold of the others' at a time.
  """
  if not isinstance(array, jax.Array) or array.is_fully_addressable or not array.ndim:
    return np.asarray(array)
  place = array.sharding
  lead = place.spec[0] if place.spec else None
  names = (lead,) if isinstance(lead, str) else lead or ()
  parts = math.prod(place.mesh.shape[name] for name in names)
  count = len(array) // parts  # rows of a part: pieces are cut where the rows lie
  size = min(count, max(1, piece_bytes * count // max(1, array.nbytes)))
  whole = np.empty((parts, count, *array.shape[1:]), array.dtype)
  for start in range(0, count, size):
    start = min(start, count - size)  # the last piece overlaps: one shape, one program
    piece = _rows(place)(array, np.int32(start), size).addressable_data(0)
    whole[:, start : start + size] = np.asarray(piece).reshape(
      parts, size, *whole.shape[2:]
    )
  return whole.reshape(array.shape)


@functools.cache
def _rows(place: NamedSharding) -> Callable[[jax.Array, np.int32, int], jax.Array]:
  """(array, start, size) -> rows start to start + size of every part, on all devices."""

  @functools.partial(
    jax.jit, static_argnums=2, out_shardings=NamedSharding(place.mesh, PartitionSpec())
  )
  def take(array: jax.Array, start: jax.Array, size: int) -> jax.Array:
    def cut(part: jax.Array, start: jax.Array) -> jax.Array:
      return lax.dynamic_slice_in_dim(part, start, size)

    spec = place.spec
    return jax.shard_map(
      cut, mesh=place.mesh, in_specs=(spec, PartitionSpec()), out_specs=spec
    )(array, start)

  return take


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


def decode_shardings(specs: Any, mesh: Mesh) -> Any:
  """Shardings of a sampler's weights: each layer of `specs` an array tree of its own.

  Arguments and errors as `param_shardings`.
  """
  stacked = param_shardings(specs, mesh, rules=ENGINE_RULES)
  num_layers = jax.tree.leaves(specs["layers"])[0].shape[0]
  layer = jax.tree.map(
    lambda place: NamedSharding(mesh, PartitionSpec(*place.spec[1:])), stacked["layers"]
  )
  return {**stacked, "layers": (layer,) * num_layers}


def cache_shardings(
  axes: Sequence[tuple[str, ...]], mesh: Mesh, *, num_slots: int
) -> tuple[NamedSharding, ...]:
  """Shardings of the arrays of one layer's KV cache.

  Args:
    axes: logical axes of each array.
    mesh: from `make_mesh`.
    num_slots: of the engine.
  Raises:
    ValueError: the mesh does not divide the slots.
  """
  parts = mesh.shape["data"] * mesh.shape["fsdp"]
  if num_slots % parts:
    raise ValueError(
      f"mesh.data={mesh.shape['data']} x mesh.fsdp={mesh.shape['fsdp']} must divide "
      f"engine.num_slots={num_slots}"
    )
  return tuple(
    NamedSharding(mesh, PartitionSpec(*(ENGINE_RULES[axis] for axis in names)))
    for names in axes
  )


def placed(shapes: Any, shardings: Any) -> Any:
  """Shapes with their shardings, to lower a program with.

  Args:
    shapes: tree of what has a shape and a type.
    shardings: the same tree, or one that ends earlier: a sharding of all below it.
  """

  def below(place: NamedSharding, part: Any) -> Any:
    return jax.tree.map(
      lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=place), part
    )

  return jax.tree.map(below, shardings, shapes)


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
    if not isinstance(mesh_axis, str):
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
