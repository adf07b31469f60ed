"""One case on one topology: what each program needs, and what a chip holds at its worst.

A chip holds learner and sampler together. What stays between programs:

  policy and moments, reference, the sampler's weights and its cache

and each program adds its outputs and temporaries to that; gradients are added up over
micro-batches, so one of them, or two, are there as well. The largest sum must be below
the chip's memory. TPUs: from the compiler. GPUs: from the formula of `perf.py`, which is
there for TPUs too, to see how far it is off.

Must not know about: flags, pages.
"""

import dataclasses
from collections.abc import Callable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from jax.sharding import AbstractMesh

from skilljax import assembly, sharding
from skilljax import config as config_lib
from skilljax.fit import cases, compiled, programs, roofline
from skilljax.fit.cases import Case
from skilljax.fit.chips import Topology
from skilljax.fit.kept import Kept, key_of
from skilljax.models.attention import CACHE_AXES
from skilljax.models.config import ModelConfig
from skilljax.models.params import param_specs
from skilljax.optimizer import make_optimizer
from skilljax.placement import Placement
from skilljax.settings import Settings, read_settings

COMPILER, FORMULA = "compiler", "formula"


@dataclasses.dataclass(frozen=True)
class Report:
  """What is known of a case.

  Attributes:
    case: config, topology, model.
    memory_bytes: of a chip.
    formula: purpose -> bytes of a chip, by `perf.py`; they are there together.
    programs: name -> compiled program; {} where nothing was compiled.
    versions: of what compiled.
    times: seconds of an update by part (`roofline.py`).
    chip_hours: of all updates, by those seconds.
  """

  case: Case
  memory_bytes: int
  formula: dict[str, int]
  programs: dict[str, compiled.Compiled]
  versions: dict[str, str]
  times: roofline.Times
  chip_hours: float

  @property
  def source(self) -> str:
    """'compiler' or 'formula': who says what a chip holds."""
    return COMPILER if self.programs else FORMULA

  @property
  def formula_bytes(self) -> int:
    """Of a chip at its worst, by the formula."""
    return sum(self.formula.values())

  @property
  def peak_bytes(self) -> int:
    """Of a chip at its worst."""
    return max(phases(self.programs).values()) if self.programs else self.formula_bytes

  @property
  def fits(self) -> bool:
    """Whether a chip holds learner and sampler together."""
    return self.peak_bytes <= self.memory_bytes


def check(
  case: Case,
  *,
  compiles: bool = True,
  folder: Path | None = None,
  on_program: Callable[[str], Any] = lambda line: None,
) -> Report:
  """Compiles, or computes where there is no compiler, one case.

  Args:
    case: config, topology, model.
    compiles: False takes the formula for TPUs whose programs are not all in the folder.
    folder: keeps what was compiled; None: nothing is kept.
    on_program: gets a line after each program.
  Raises:
    ConfigError: the config does not fit the topology or its model.
    ModuleNotFoundError: the compiler is not installed.
    ValueError: the topology or the model is unknown.
  """
  topology = case.place
  settings = read_settings(config_lib.load(case.config))
  model = programs.as_trained(settings, cases.read_model(case.model))
  check_sizes(settings, model, topology)
  found = {}
  if topology.chip.is_tpu and (compiles or folder):
    kept = Kept(folder / _name(case)) if folder else None
    found = compile_all(
      settings, model, topology, kept=kept, compiles=compiles, on_program=on_program
    )
  workload = roofline.WORKLOADS[settings.env_name]
  times = roofline.predict(settings, model, topology.chip, workload=workload)
  chips = settings.mesh.num_devices
  return Report(
    case=case,
    memory_bytes=topology.chip.memory_bytes,
    formula=assembly.memory_plan(settings, model),
    programs=found,
    versions=_versions() if found else {},
    times=times,
    chip_hours=settings.train.num_updates * times.update_s * chips / 3600,
  )


def compile_all(
  settings: Settings,
  model: ModelConfig,
  topology: Topology,
  *,
  kept: Kept | None = None,
  compiles: bool = True,
  on_program: Callable[[str], Any] = lambda line: None,
) -> dict[str, compiled.Compiled]:
  """Every program of a config, compiled one after the other.

  Args:
    settings, model, topology: of a case.
    kept: where programs are looked for, and kept.
    compiles: False gives {} if a program is not there.
    on_program: gets a line after each program.
  """
  try:
    lowered = programs.lower(settings, model, topology)
    meshes = programs.meshes(settings, topology)
  except config_lib.ConfigError:
    raise
  except ValueError as error:
    raise config_lib.ConfigError(str(error)) from error
  order = [str(chip) for mesh in meshes for chip in mesh.devices.flat]
  found = {}
  for name in list(lowered):
    program = lowered.pop(name)  # their texts are large
    key = key_of(program, order=order, versions=_versions())
    one = kept.load(name, key) if kept else None
    if one is None and not compiles:
      return {}
    if one is None:
      one = compiled.compile_program(program)
      if kept:
        kept.save(name, key, one)
    found[name] = one
    size = one.over_bytes or one.argument_bytes + one.added_bytes
    on_program(
      f"  {name:10} {size / 2**30:7.2f} GiB  {one.compile_s:5.0f} s  {one.collectives}"
    )
  return found


def phases(found: Mapping[str, compiled.Compiled]) -> dict[str, int]:
  """Phase of an update -> bytes of a chip, from the compiler's numbers.

  Args:
    found: the programs of `Learner.lower` and `DecodeEngine.lower`.
  """
  gradient = found["accumulate"].argument_bytes // 2
  learner = found["step"].argument_bytes - gradient + found["score"].argument_bytes
  sampler = found["decode"].argument_bytes
  live = {"gradient": gradient, "accumulate": 2 * gradient, "step": gradient}
  peaks = {}
  for name, one in found.items():
    resident = learner + sampler + live.get(name, 0)
    peaks[name] = max(resident + one.added_bytes, one.over_bytes)
  return peaks


def check_sizes(settings: Settings, model: ModelConfig, topology: Topology) -> None:
  """Refuses meshes that do not fit the chips, the model, the rows or the slots.

  Raises:
    ConfigError: names the config keys and what they must divide.
  """
  meshes = {}
  for key, mesh in (("mesh", settings.mesh), ("engine_mesh", settings.engine_mesh)):
    sizes = (mesh.data, mesh.fsdp, mesh.tensor)
    meshes[key] = AbstractMesh(sizes, sharding.MESH_AXES)
    if mesh.num_devices > topology.num_chips:
      raise config_lib.ConfigError(
        f"{key}.data={mesh.data} x {key}.fsdp={mesh.fsdp} x {key}.tensor={mesh.tensor} "
        f"needs {mesh.num_devices} chips, topology={topology.name!r} has "
        f"{topology.num_chips} (config keys {key}.*, flag --topology)"
      )
  learner, num_slots = settings.learner, settings.engine.num_slots
  specs = param_specs(dataclasses.replace(model, lora=None))
  try:
    Placement.on(meshes["mesh"], model, learner, make_optimizer(learner))
    sharding.decode_shardings(specs, meshes["engine_mesh"])
    sharding.cache_shardings(CACHE_AXES, meshes["engine_mesh"], num_slots=num_slots)
  except ValueError as error:
    raise config_lib.ConfigError(str(error)) from error


def _versions() -> dict[str, str]:
  return {name: metadata.version(name) for name in ("jax", "jaxlib", "libtpu")}


def _name(case: Case) -> str:
  """Of the folder of a case."""
  name = f"{Path(case.config).name}@{case.topology}"
  return name.replace(".py", "").replace(":", "_").replace("=", "_")
