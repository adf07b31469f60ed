"""Hugging Face checkpoints in and out: config.json and safetensors.

Purpose: a table of names and orientations between the parameter tree and the files of
Qwen2, Qwen3 and Llama. No torch: safetensors is read and written as NumPy arrays.
Must not know about: the forward pass, meshes, tokenizers.
"""

import json
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
import safetensors
from safetensors.numpy import save_file

from skilljax.models.config import ModelConfig
from skilljax.models.params import Params, ParamSpec, param_specs

# Parameter -> (tensor name, leading axes that are inputs). Files hold matrices as
# [outputs, inputs]; 0 marks a vector, stored flat; None is stored as it is here.
_TOP = {
  "embed": ("model.embed_tokens.weight", None),
  "final_norm": ("model.norm.weight", 0),
  "head": ("lm_head.weight", 1),
}
_LAYER = {
  "attn_norm": ("input_layernorm.weight", 0),
  "wq": ("self_attn.q_proj.weight", 1),
  "wk": ("self_attn.k_proj.weight", 1),
  "wv": ("self_attn.v_proj.weight", 1),
  "wo": ("self_attn.o_proj.weight", 2),
  "bq": ("self_attn.q_proj.bias", 0),
  "bk": ("self_attn.k_proj.bias", 0),
  "bv": ("self_attn.v_proj.bias", 0),
  "q_norm": ("self_attn.q_norm.weight", 0),
  "k_norm": ("self_attn.k_norm.weight", 0),
  "mlp_norm": ("post_attention_layernorm.weight", 0),
  "w_gate": ("mlp.gate_proj.weight", 1),
  "w_up": ("mlp.up_proj.weight", 1),
  "w_down": ("mlp.down_proj.weight", 1),
}
_CONFIG = "config.json"
_WEIGHTS = "model.safetensors"
_INDEX = "model.safetensors.index.json"
# A buffer, not a weight, that old Llama exports carry along.
_IGNORED_SUFFIX = "rotary_emb.inv_freq"


class _Found(NamedTuple):
  path: Path
  shape: tuple[int, ...]


def load_checkpoint(
  folder: str | Path, *, param_dtype: str = "float32"
) -> tuple[ModelConfig, Params]:
  """Reads a checkpoint folder: config.json with one safetensors file or sharded ones.

  Args:
    folder: holds config.json and model.safetensors or model.safetensors.index.json.
    param_dtype: type of the returned arrays, whatever the files hold.
  Returns:
    (config, parameters in the stacked layout). The config computes in float32; use
    `dataclasses.replace` for another compute type.
  Raises:
    FileNotFoundError: a file is missing; names it.
    ValueError: an unsupported config; or tensors that are missing, not expected or of
      another shape, all listed in one message.
  """
  folder = Path(folder)
  cfg = ModelConfig.from_hf_dict(json.loads(_existing(folder / _CONFIG).read_text()))
  found = _scan(_weight_files(folder))
  _check_tensors(cfg, found, folder)

  def read(name: str, shape: tuple[int, ...], inputs: int | None) -> np.ndarray:
    with safetensors.safe_open(found[name].path, "numpy") as file:
      tensor = file.get_tensor(name)
    return (tensor.T if inputs else tensor).reshape(shape).astype(param_dtype)

  specs = param_specs(cfg)
  layers = {}
  for key, spec in specs.pop("layers").items():
    per_layer = [
      read(_layer_name(i, key), spec.shape[1:], _LAYER[key][1])
      for i in range(cfg.num_layers)
    ]
    layers[key] = jnp.asarray(np.stack(per_layer))
  params: Params = {"layers": layers}
  for key, spec in specs.items():
    name, inputs = _TOP[key]
    params[key] = jnp.asarray(read(name, spec.shape, inputs))
  return cfg, params


def save_checkpoint(folder: str | Path, cfg: ModelConfig, params: Params) -> None:
  """Writes config.json and model.safetensors, which `transformers` loads.

  Each file appears whole or not at all; weights come first, so a folder with a
  config.json is complete.

  Args:
    folder: made if absent; files of the same names are replaced.
    cfg: the model.
    params: stacked layout; stored in the type they have.
  Raises:
    ValueError: no supported family computes this config.
  """
  folder = Path(folder)
  hf_config = cfg.to_hf_dict()
  hf_config["dtype"] = hf_config["torch_dtype"] = str(params["embed"].dtype)
  folder.mkdir(parents=True, exist_ok=True)
  tensors = {}
  for name, array, inputs in _named_arrays(params):
    if inputs:
      array = array.reshape(math.prod(array.shape[:inputs]), -1).T
    elif inputs == 0:
      array = array.reshape(-1)
    tensors[name] = np.ascontiguousarray(array)
  partial = folder / f"{_WEIGHTS}.partial"
  save_file(tensors, partial, metadata={"format": "pt"})
  os.replace(partial, folder / _WEIGHTS)
  partial = folder / f"{_CONFIG}.partial"
  partial.write_text(json.dumps(hf_config, indent=2) + "\n")
  os.replace(partial, folder / _CONFIG)


def _layer_name(index: int, key: str) -> str:
  return f"model.layers.{index}.{_LAYER[key][0]}"


def _named_arrays(params: Params) -> Iterator[tuple[str, np.ndarray, int | None]]:
  """(tensor name, our array, input axes) for every tensor of the file."""
  for key, array in params.items():
    if key != "layers":
      yield _TOP[key][0], np.asarray(array), _TOP[key][1]
  for key, stacked in params["layers"].items():
    for i, array in enumerate(np.asarray(stacked)):
      yield _layer_name(i, key), array, _LAYER[key][1]


def _expected_shapes(cfg: ModelConfig) -> dict[str, tuple[int, ...]]:
  """Tensor name -> shape in the file."""

  def stored(shape: tuple[int, ...], inputs: int | None) -> tuple[int, ...]:
    if inputs is None:
      return shape
    if inputs == 0:
      return (math.prod(shape),)
    return math.prod(shape[inputs:]), math.prod(shape[:inputs])

  specs = param_specs(cfg)
  layers: dict[str, ParamSpec] = specs.pop("layers")
  shapes = {_TOP[key][0]: stored(s.shape, _TOP[key][1]) for key, s in specs.items()}
  for key, spec in layers.items():
    for i in range(cfg.num_layers):
      shapes[_layer_name(i, key)] = stored(spec.shape[1:], _LAYER[key][1])
  return shapes


def _weight_files(folder: Path) -> list[Path]:
  """The single file, or every shard that the index names."""
  if not (folder / _INDEX).exists():
    return [_existing(folder / _WEIGHTS)]
  shards = sorted(set(json.loads((folder / _INDEX).read_text())["weight_map"].values()))
  for shard in shards:
    if Path(shard).name != shard:
      raise ValueError(f"{_INDEX} names {shard!r}; must be a file of the same folder")
  return [_existing(folder / shard) for shard in shards]


def _scan(paths: list[Path]) -> dict[str, _Found]:
  """Tensor name -> where it is and its shape; reads headers only."""
  found = {}
  for path in paths:
    with safetensors.safe_open(path, "numpy") as file:
      for name in file.keys():  # noqa: SIM118 (not a mapping)
        if not name.endswith(_IGNORED_SUFFIX):
          found[name] = _Found(path, tuple(file.get_slice(name).get_shape()))
  return found


def _check_tensors(cfg: ModelConfig, found: dict[str, _Found], folder: Path) -> None:
  """Compares names and shapes with what the config asks for."""
  expected = _expected_shapes(cfg)
  problems = [f"missing: {name}" for name in sorted(expected.keys() - found.keys())]
  extra = found.keys() - expected.keys()
  if cfg.tie_embeddings:
    extra = extra - {_TOP["head"][0]}  # some exports repeat the tied matrix
  problems += [f"not expected: {name}" for name in sorted(extra)]
  problems += [
    f"shape {found[name].shape}, must be {shape}: {name}"
    for name, shape in expected.items()
    if name in found and found[name].shape != shape
  ]
  if problems:
    lines = "\n  ".join(problems)
    raise ValueError(f"tensors in {folder} do not fit its config.json:\n  {lines}")


def _existing(path: Path) -> Path:
  if not path.exists():
    raise FileNotFoundError(f"checkpoint file {path} does not exist")
  return path
