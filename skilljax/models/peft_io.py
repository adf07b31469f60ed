"""Adapters as `peft` keeps them: adapter_config.json, adapter_model.safetensors.

`peft` (torch) stays out of this package; its layout is two matrices a module, stored as
[outputs, inputs]: `lora_A` [rank, inputs] and `lora_B` [outputs, rank], which add
`lora_alpha / r · B A` to the module's weight (https://github.com/huggingface/peft).

Must not know about: optimisers, runs.
"""

import os
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from skilljax.models.config import ModelConfig
from skilljax.models.hf_io import write_json
from skilljax.models.hf_names import TensorName, tensor_names
from skilljax.models.params import Params
from skilljax.models.safetensors_files import NewTensor, write
from skilljax.sharding import to_host

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"
_PREFIX = "base_model.model."  # of the two wrappers around the model's own names


def save_adapters(
  folder: str | Path,
  cfg: ModelConfig,
  adapters: Params,
  *,
  base: str | os.PathLike,
  dtype: str | None = None,
) -> None:
  """Writes the adapters of a policy; the config comes last.

  Args:
    folder: made if absent.
    cfg: the model, with `lora`.
    adapters: subtree `lora` of its parameters.
    base: folder or name of the checkpoint that they were trained on.
    dtype: in which they are stored; None: the type they have.
  Raises:
    ValueError: the model has no adapters.
  """
  if cfg.lora is None:
    raise ValueError("the policy has no adapters (config section lora)")
  folder = Path(folder)
  folder.mkdir(parents=True, exist_ok=True)
  (folder / CONFIG).unlink(missing_ok=True)
  targets = [name for name in tensor_names(cfg) if name.key in cfg.lora.targets]
  write(
    folder / WEIGHTS,
    [
      tensor
      for name in targets
      for part in ("a", "b")
      for tensor in (_new_tensor(name, part, adapters[name.key][part], dtype),)
    ],
  )
  alpha = cfg.lora.alpha
  write_json(
    folder / CONFIG,
    {
      "peft_type": "LORA",
      "task_type": "CAUSAL_LM",
      "base_model_name_or_path": os.fspath(base),
      "r": cfg.lora.rank,
      "lora_alpha": int(alpha) if alpha == int(alpha) else alpha,
      "target_modules": sorted({_module(name).rpartition(".")[2] for name in targets}),
      "lora_dropout": 0.0,
      "bias": "none",
      "fan_in_fan_out": False,
      "use_rslora": False,
      "inference_mode": True,
      "modules_to_save": None,
    },
  )


def _module(name: TensorName) -> str:
  return name.name.removesuffix(".weight")


def _new_tensor(
  name: TensorName, part: str, stacked: Any, dtype: str | None
) -> NewTensor:
  """A or B of one layer, [L, inputs..., rank] or [L, rank, outputs...] here."""
  outputs, inputs = name.file_shape
  rank = stacked.shape[-1] if part == "a" else stacked.shape[1]
  shape = (inputs, rank) if part == "a" else (rank, outputs)
  stored = np.dtype(jnp.dtype(dtype or stacked.dtype))

  def make() -> np.ndarray:
    array = to_host(stacked[name.layer]).reshape(shape)
    return np.ascontiguousarray(array.T.astype(stored))

  full = f"{_PREFIX}{_module(name)}.lora_{part.upper()}.weight"
  return NewTensor(full, shape[::-1], stored, make)
