"""The programs of a config, lowered for devices that are not there.

They are those of training: `Learner.lower` and `DecodeEngine.lower`. A lowered program
holds shapes alone, so a model of any size costs megabytes here.

Must not know about: chips, compilers, tables.
"""

import dataclasses

import jax
from jax.sharding import Mesh

from skilljax import sharding
from skilljax.assembly import check_shapes
from skilljax.data.packing import pack
from skilljax.engine.engine import DecodeEngine
from skilljax.fit import devices as devices_lib
from skilljax.fit.chips import Topology
from skilljax.learner import Learner
from skilljax.models.config import ModelConfig
from skilljax.models.params import init_params
from skilljax.settings import Settings


def lower(
  settings: Settings, model: ModelConfig, topology: Topology
) -> dict[str, jax.stages.Lowered]:
  """Program -> its lowered form.

  Args:
    settings: of a config.
    model: of its policy, without adapters.
    topology: all chips; where they belong to several hosts, each has a sampler.
  Raises:
    ModuleNotFoundError: the compiler is not installed.
    ValueError: a mesh does not fit the devices, the model, the rows or the slots.
  """
  check_shapes(settings.learner, settings.engine, "learner")
  if settings.engine.num_lanes > 1:
    raise ValueError(f"engine.num_lanes={settings.engine.num_lanes} must be 1 on a mesh")
  mesh, engine_mesh = meshes(settings, topology)
  numerics, model = settings.numerics, as_trained(settings, model)
  learner = Learner(model, settings.learner, settings.loss, mesh)
  engine = DecodeEngine(
    model,
    settings=settings.engine,
    root_key=jax.random.key(settings.seed),
    stop_ids=(0,),
    mesh=engine_mesh,
  )
  shapes = jax.eval_shape(lambda key: init_params(key, model), jax.random.key(0))
  base = {
    name: jax.tree.map(
      lambda leaf: jax.ShapeDtypeStruct(leaf.shape, numerics.param_dtype), part
    )
    for name, part in shapes.items()
    if name != "lora"
  }
  params = sharding.placed({**shapes, **base}, learner.place.params)
  # Packing nothing gives a stack of no micro-batches: the shapes of one.
  stack = pack(
    *((), ()),
    row_len=settings.learner.row_len,
    rows_per_batch=settings.learner.rows_per_batch,
  )
  batch = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape[1:], a.dtype), stack)
  return {**learner.lower(params, base, batch), **engine.lower(params)}


def meshes(settings: Settings, topology: Topology) -> tuple[Mesh, Mesh]:
  """The learner's mesh, over all chips, and that of the first host's sampler.

  Raises:
    ModuleNotFoundError: the compiler is not installed.
    ValueError: one of them does not fit the chips.
  """
  own = devices_lib.first_host(topology)
  return (
    devices_lib.make_mesh(settings.mesh, devices_lib.devices_of(topology), "mesh"),
    devices_lib.make_mesh(settings.engine_mesh, own, "engine_mesh"),
  )


def as_trained(settings: Settings, model: ModelConfig) -> ModelConfig:
  """The model with the config's numerics and adapters."""
  return dataclasses.replace(
    model,
    dtype=settings.numerics.compute_dtype,
    remat=settings.numerics.remat,
    lora=settings.lora,
  )
