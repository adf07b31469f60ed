"""What a command looks at before it takes time: hosts, folders, the policy, its meshes.

Everything that a config, the devices and the headers of files decide: no weights are
read, no environment starts, nothing is compiled.
Must not know about: flags, the order of events in a run.
"""

import dataclasses
import os
from pathlib import Path

from skilljax import assembly, checkpoint, hosts, sharding
from skilljax.config import ConfigError, flatten, plain
from skilljax.models.config import ModelConfig
from skilljax.models.hf_io import check_checkpoint
from skilljax.models.params import param_specs
from skilljax.optimizer import LearnerSettings
from skilljax.settings import Settings
from skilljax.sharding import MeshSettings

_SAMPLERS = "(config section engine_mesh, or mesh where there is none)"


def check_hosts(settings: Settings, **flags: str | os.PathLike | None) -> None:
  """Raises a ConfigError on every host if they were given different things to run.

  Compared are the config, the flags, the commit and the versions of the packages that
  results depend on.
  """
  given = {f"--{name}": str(value) for name, value in flags.items() if value is not None}
  stamp = checkpoint.run_stamp()
  code = {f"version of {name}": text for name, text in stamp["versions"].items()}
  code["git commit"] = stamp["git_commit"]
  try:
    hosts.check_same("the config", flatten(plain(settings.resolved)) | given | code)
  except ValueError as error:
    raise ConfigError(str(error)) from error


def check_policy(settings: Settings, folder: str | Path, *, trained: bool) -> None:
  """Raises a ConfigError unless a run with these settings can use a policy.

  Args:
    settings: of the run.
    folder: Hugging Face layout.
    trained: whether there is a learner, beside the sampler.
  """
  model, tokenizer = assembly.open_policy(folder)
  assembly.make_chat(settings, tokenizer)
  try:
    check_checkpoint(folder)
  except (OSError, ValueError) as error:
    raise ConfigError(f"policy {folder}: {error}") from error
  if trained:
    check_rows(settings.learner, settings.mesh, "learner")
    numerics = settings.numerics
    learned = dataclasses.replace(
      model, dtype=numerics.compute_dtype, remat=numerics.remat, lora=settings.lora
    )
    assembly.make_learner(settings, learned)
  check_sampler(settings, model)


def check_sampler(settings: Settings, model: ModelConfig) -> None:
  """Raises a ConfigError unless the engine can hold a model, on its mesh if any."""
  engine, sizes = settings.engine, settings.engine_mesh
  mesh = assembly.make_engine_mesh(settings)
  if engine.max_len > model.max_len:
    raise ConfigError(
      f"engine.max_len={engine.max_len} must be <= {model.max_len}, the positions of the "
      "policy (max_position_embeddings in its config.json)"
    )
  if mesh is None:
    return
  assembly.check_lanes(settings)
  if engine.num_slots % (sizes.data * sizes.fsdp):
    raise ConfigError(
      f"engine.num_slots={engine.num_slots} must be divided by data={sizes.data} x "
      f"fsdp={sizes.fsdp} of the sampler's mesh {_SAMPLERS}"
    )
  try:
    sharding.decode_shardings(param_specs(model), mesh)
  except ValueError as error:
    raise ConfigError(f"{error}; this is the sampler's mesh {_SAMPLERS}") from error


def check_rows(learner: LearnerSettings, mesh: MeshSettings, section: str) -> None:
  """Raises a ConfigError unless there is a mesh that divides rows of a micro-batch."""
  assembly.make_mesh(mesh)
  if learner.rows_per_batch % (mesh.data * mesh.fsdp):
    raise ConfigError(
      f"mesh.data={mesh.data} x mesh.fsdp={mesh.fsdp} must divide "
      f"{section}.rows_per_batch={learner.rows_per_batch}"
    )
