"""One case on one topology: what each program needs, and what a chip holds at its worst.

A chip holds learner and sampler together. What stays between programs:

  policy and moments, reference, the sampler's weights and its cache

and each program adds its outputs and temporaries to that; gradients are added up over
micro-batches, so one of them, or two, are there as well. The largest sum must be below
the chip's memory. TPUs: from the compiler. GPUs: from the formula of `perf.py`.

Must not know about: flags, pages.
"""

import dataclasses
import json
from collections.abc import Callable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import jax
from jax.sharding import AbstractMesh

from skilljax import assembly, sharding
from skilljax import config as config_lib
from skilljax.fit import cases, compiled, devices, programs, roofline
from skilljax.fit.cases import Case
from skilljax.fit.chips import Topology
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
    fingerprint: of the resolved config, and so of everything that decides.
    versions: of what compiled; {} where nothing did.
    source: 'compiler' or 'formula'.
    memory_bytes: of a chip.
    peaks: phase, or purpose where the source is the formula -> bytes of a chip. The sum
      counts for purposes, the largest for phases.
    programs: name -> compiled program.
    times: seconds of an update by part (`roofline.py`).
    chip_hours: of all updates, by those seconds.
  """

  case: Case
  fingerprint: str
  versions: dict[str, str]
  source: str
  memory_bytes: int
  peaks: dict[str, int]
  programs: dict[str, compiled.Compiled]
  times: roofline.Times
  chip_hours: float

  @property
  def peak_bytes(self) -> int:
    """Of a chip at its worst."""
    return (max if self.source == COMPILER else sum)(self.peaks.values())

  @property
  def fits(self) -> bool:
    """Whether a chip holds learner and sampler together."""
    return self.peak_bytes <= self.memory_bytes


def check(
  case: Case,
  *,
  compiles: bool = True,
  on_program: Callable[[str], Any] = lambda line: None,
) -> Report:
  """Compiles, or computes where there is no compiler, one case.

  Args:
    case: config, topology, model.
    compiles: False takes the formula for TPUs as well.
    on_program: gets a line after each program.
  Raises:
    ConfigError: the config does not fit the topology or its model.
    ModuleNotFoundError: the compiler is not installed.
    ValueError: the topology or the model is unknown.
  """
  topology = case.place
  resolved = config_lib.load(case.config)
  settings = read_settings(resolved)
  model = programs.as_trained(settings, cases.read_model(case.model))
  check_sizes(settings, model, topology)
  found, versions = {}, {}
  compiles = compiles and topology.chip.is_tpu
  if compiles:
    found = compile_all(settings, model, topology, on_program)
    peaks, versions = phases(found), {"jax": jax.__version__, **_libtpu()}
  else:
    peaks = assembly.memory_plan(settings, model)
  workload = roofline.WORKLOADS[settings.env_name]
  times = roofline.predict(settings, model, topology.chip, workload=workload)
  chips = settings.mesh.num_devices
  return Report(
    case=case,
    fingerprint=config_lib.fingerprint(resolved),
    versions=versions,
    source=COMPILER if compiles else FORMULA,
    memory_bytes=topology.chip.memory_bytes,
    peaks=peaks,
    programs=found,
    times=times,
    chip_hours=settings.train.num_updates * times.update_s * chips / 3600,
  )


def compile_all(settings, model, topology, on_program) -> dict[str, compiled.Compiled]:
  """Every program of a config, compiled one after the other."""
  try:
    lowered = programs.lower(settings, model, devices.devices_of(topology))
  except config_lib.ConfigError:
    raise
  except ValueError as error:
    raise config_lib.ConfigError(str(error)) from error
  found = {}
  for name in list(lowered):
    one = compiled.compile_program(lowered.pop(name))
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


def _libtpu() -> dict[str, str]:
  return {"libtpu": metadata.version("libtpu")}


def save(report: Report, folder: Path) -> None:
  """Writes a report, for `load`."""
  folder.mkdir(parents=True, exist_ok=True)
  text = json.dumps(dataclasses.asdict(report), indent=2)
  _file(report.case, folder).write_text(text + "\n")


def load(case: Case, folder: Path) -> Report | None:
  """The report of a case, if one was saved of the config as it is now."""
  path = _file(case, folder)
  if not path.is_file():
    return None
  record = json.loads(path.read_text())
  if record["fingerprint"] != config_lib.fingerprint(config_lib.load(case.config)):
    return None
  parts = {
    "case": Case(**record["case"]),
    "times": roofline.Times(**record["times"]),
    "programs": {n: compiled.Compiled(**p) for n, p in record["programs"].items()},
  }
  return Report(**{**record, **parts})


def _file(case: Case, folder: Path) -> Path:
  name = f"{Path(case.config).name}@{case.topology}"
  return folder / f"{name.replace('.py', '').replace(':', '_').replace('=', '_')}.json"
