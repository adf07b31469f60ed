"""The policy of a run as an ordinary checkpoint, or its adapters as `peft` keeps them.

A finished run has its policy in `<folder>/policy/`; a checkpoint of an unfinished one,
or an earlier one, has it beside the optimiser's state, which is not read. Both runs that
train are meant: reinforcement learning and cold starts.

Must not know about: flags, how a policy is trained.
"""

import dataclasses
import json
from pathlib import Path
from typing import Any

import jax
import numpy as np

from skilljax import assembly, folders, hosts
from skilljax.checkpoint import manifest_of
from skilljax.config import ConfigError, build
from skilljax.data.tokenizer import Tokenizer
from skilljax.models.config import ModelConfig
from skilljax.models.hf_io import load_checkpoint
from skilljax.models.lora import LoraSettings
from skilljax.models.params import Params, param_specs
from skilljax.models.peft_io import save_adapters
from skilljax.runs.cold_start import write_policy
from skilljax.saved import SavedStep

DTYPES = ("float32", "bfloat16")


def run(
  folder: str | Path,
  out: str | Path,
  *,
  policy: str | Path | None = None,
  step: int | None = None,
  dtype: str | None = None,
  adapters: bool = False,
) -> Path:
  """Writes a policy folder, or a folder of adapters.

  Args:
    folder: of the run.
    out: folder to write.
    policy: that the run began with; only a finished run is exported without it.
    step: of the checkpoint; None: the finished policy, or else the newest checkpoint.
    dtype: of the weights, one of `DTYPES`; None: the type they have.
    adapters: write them alone, unmerged; `policy` is then their base.
  Returns:
    `out`.
  Raises:
    ConfigError: folders or policy do not fit, there is nothing to export, several hosts.
    CheckpointError: no such step, or it is damaged.
  """
  if hosts.count() > 1:
    raise ConfigError("an export takes one host; leave out --hosts")
  folders.check_local(folder, key="--workdir")
  folders.check_writable(out, key="--out")
  folder, out = Path(folder), Path(out)
  finished = (folder / "policy" / "config.json").is_file()
  if finished and step is None and not adapters:
    _convert(folder / "policy", out, dtype)
    return out
  if policy is None and (adapters or not finished):
    why = "adapters need their base" if adapters else "this run is not finished"
    raise ConfigError(f"--policy is missing: {why}; give the folder that it began with")
  begun_with = Path(policy or folder / "policy")
  saved = SavedStep(folder / "checkpoints", step)
  model, tokenizer = _open(begun_with, saved)
  if adapters:
    _check_base(begun_with, model, saved)
    like = _shapes(model)["lora"]
    tree = saved.arrays("params", {"lora": like})["lora"]
    save_adapters(out, model, tree, base=begun_with, dtype=dtype)
  else:
    tree = saved.arrays("params", _shapes(model))
    write_policy(out, model, tree, tokenizer, dtype=dtype)
  return out


def _convert(policy: Path, out: Path, dtype: str | None) -> None:
  """Writes a finished policy again."""
  if out.resolve() == policy.resolve():
    raise ConfigError(f"--out={out} is what is exported; give another folder")
  kept = json.loads((policy / "config.json").read_text()).get("dtype", "float32")
  model, tokenizer = assembly.open_policy(policy)
  _, params = load_checkpoint(policy, param_dtype=dtype or kept)
  write_policy(out, model, params, tokenizer)


def _open(policy: Path, saved: SavedStep) -> tuple[ModelConfig, Tokenizer]:
  """The model of a checkpoint, with its adapters, and the tokenizer of its run.

  Raises:
    ConfigError: the run began with another policy.
  """
  model, tokenizer = assembly.open_policy(policy)
  if saved.host["tokenizer"] != tokenizer.fingerprint:
    raise ConfigError(
      f"--policy={policy} has tokenizer {tokenizer.fingerprint}, the run's is "
      f"{saved.host['tokenizer']}; give the policy that the run began with"
    )
  section = saved.host["config"].get("lora")
  lora = None if section is None else build(LoraSettings, section, prefix="lora")
  return dataclasses.replace(model, lora=lora), tokenizer


def _shapes(model: ModelConfig) -> Params:
  """The tree of a model's parameters, with a shape at each leaf."""
  return jax.tree.map(
    lambda spec: jax.ShapeDtypeStruct(spec.shape, np.float32), param_specs(model)
  )


def _check_base(policy: Path, model: ModelConfig, saved: SavedStep) -> None:
  """Raises a ConfigError unless the adapters of a checkpoint belong to these weights."""
  if model.lora is None:
    raise ConfigError(
      "--adapters: this run trains the weights themselves (no config section lora); "
      "leave it out"
    )
  types = {entry["dtype"] for entry in _frozen(saved.manifest).values()}
  (dtype,) = types or {"float32"}
  _, params = load_checkpoint(policy, param_dtype=dtype)
  found = {f".params{name}": entry for name, entry in manifest_of(params).items()}
  other = sorted(k for k, v in _frozen(saved.manifest).items() if found.get(k) != v)
  if other:
    raise ConfigError(
      f"--policy={policy} is not the base of these adapters: {len(other)} of "
      f"{len(found)} arrays differ, {other[0]} first; give the policy that the run began "
      "with"
    )


def _frozen(manifest: dict[str, Any]) -> dict[str, Any]:
  """The entries of parameters that are not trained beside adapters."""
  return {
    name: entry
    for name, entry in manifest.items()
    if name.startswith(".params[") and not name.startswith(".params['lora']")
  }
