"""Hugging Face checkpoints in and out: config.json and safetensors.

Tensors stream one by one, so the host holds little more than what stays on its own
devices: a layer's tensor is put where it belongs and written into the stacked parameter
in place. No torch.
Must not know about: the forward pass, meshes, tokenizers.
"""

import dataclasses
import functools
import itertools
import json
import math
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec, SingleDeviceSharding

from skilljax.models import hf_config, lora
from skilljax.models.checkpoint_files import CONFIG, INDEX, WEIGHTS, find_tensors
from skilljax.models.config import ModelConfig
from skilljax.models.hf_names import TensorName, tensor_names
from skilljax.models.params import Params, param_specs
from skilljax.models.safetensors_files import NewTensor, StoredTensor, write
from skilljax.sharding import to_host

MAX_SHARD_BYTES = 5 << 30
_GENERATION = "generation_config.json"
_CONTROL_IDS = ("bos_token_id", "eos_token_id", "pad_token_id")


def read_config(folder: str | Path) -> ModelConfig:
  """The model that a checkpoint folder holds.

  Raises:
    FileNotFoundError: no config.json.
    ValueError: it is no JSON, or describes what is not supported.
  """
  path = Path(folder) / CONFIG
  if not path.exists():
    raise FileNotFoundError(f"checkpoint file {path} does not exist")
  try:
    return hf_config.read(json.loads(path.read_text("utf-8")))
  except (ValueError, TypeError, AttributeError, ArithmeticError) as error:
    # The last three: a value of another type than it has in every such file.
    raise ValueError(f"{path}: {error}") from error


def read_control_ids(folder: str | Path) -> dict[str, tuple[int, ...]]:
  """Key -> the ids that a folder's model gives to control tokens, () where it names none.

  `config.json` and `generation_config.json` each name some; -1 stands for none.

  Raises:
    FileNotFoundError: no config.json.
    ValueError: one of them is no JSON object, or an id is no integer.
  """
  ids: dict[str, list[int]] = {key: [] for key in _CONTROL_IDS}
  for path in (Path(folder) / CONFIG, Path(folder) / _GENERATION):
    if path.name == _GENERATION and not path.exists():
      continue
    try:
      told = json.loads(path.read_text("utf-8"))
      given = {key: told.get(key) for key in _CONTROL_IDS}
    except (ValueError, AttributeError) as error:
      raise ValueError(f"{path} is damaged: {error}") from error
    for key, value in given.items():
      values = value if isinstance(value, list) else [value]
      values = [one for one in values if one not in (None, -1, *ids[key])]
      if not all(type(one) is int for one in values):
        raise ValueError(f"{path}: {key}={value!r} must be an integer, or several")
      ids[key] += values
  return {key: tuple(values) for key, values in ids.items()}


def check_checkpoint(folder: str | Path) -> ModelConfig:
  """The model that a folder holds, after a look at the headers of its weight files.

  Raises:
    FileNotFoundError, ValueError: as `load_checkpoint`.
  """
  cfg = read_config(folder)
  find_tensors(Path(folder), cfg, tensor_names(cfg))
  return cfg


def load_checkpoint(
  folder: str | Path, *, param_dtype: str = "float32", shardings: Any = None
) -> tuple[ModelConfig, Params]:
  """Reads a checkpoint folder: config.json with one safetensors file or sharded ones.

  Args:
    folder: holds config.json and model.safetensors or model.safetensors.index.json.
    param_dtype: type of the returned arrays, whatever the files hold.
    shardings: tree of `param_specs(config)` with a `NamedSharding` at each leaf, which
      must not split the layer axis; each host reads what its devices hold. None = all on
      one device.
  Returns:
    (config, parameters in the stacked layout). The config computes in float32; use
    `dataclasses.replace` for another compute type.
  Raises:
    FileNotFoundError: a file is missing; names it.
    ValueError: an unsupported config; or tensors that are missing, not expected, of
      another shape, stored twice or not where the index says, all listed in one message.
  """
  folder = Path(folder)
  cfg = read_config(folder)
  names = tensor_names(cfg)
  found = find_tensors(folder, cfg, names)
  if shardings is None:
    one = SingleDeviceSharding(jax.devices()[0])
    shardings = jax.tree.map(lambda _: one, param_specs(cfg))
  dtype = np.dtype(jnp.dtype(param_dtype))
  params: Params = {"layers": {}}
  for key, group in itertools.groupby(sorted(names, key=_param_order), _param_order):
    tensors = list(group)
    if tensors[0].layer is None:
      params[key[1]] = _place(tensors[0], found, dtype, shardings[key[1]])
    else:
      sharding = shardings["layers"][key[1]]
      params["layers"][key[1]] = _stack(tensors, found, dtype, sharding)
  return cfg, params


def save_checkpoint(
  folder: str | Path,
  cfg: ModelConfig,
  params: Params,
  *,
  dtype: str | None = None,
  max_shard_bytes: int = MAX_SHARD_BYTES,
) -> None:
  """Writes config.json and safetensors, which `transformers` loads.

  Each file appears whole or not at all; weights come first, so a folder with a
  config.json is complete. With several processes all must call; the first one writes.

  Args:
    folder: made if absent; weights and config that are there are replaced.
    cfg: the model.
    params: stacked layout, on any devices. Adapters are merged.
    dtype: in which the weights are stored; None: the type they have.
    max_shard_bytes: size above which the weights are several files with an index.
  Raises:
    ValueError: no supported family computes this config.
  """
  folder = Path(folder)
  if cfg.lora:
    params = lora.merge(params, cfg.lora, dtype=dtype)
    cfg = dataclasses.replace(cfg, lora=None)
  hf = hf_config.write(cfg)
  hf["dtype"] = hf["torch_dtype"] = dtype or str(params["embed"].dtype)
  tensors = [_new_tensor(name, params, dtype) for name in tensor_names(cfg)]
  shards = _split(tensors, max_shard_bytes)
  count = len(shards)
  files = [f"model-{i:05d}-of-{count:05d}.safetensors" for i in range(1, count + 1)]
  files = files if count > 1 else [WEIGHTS]
  if jax.process_index() != 0:
    for tensor in tensors:
      tensor.make()  # gathers, with all others
    return
  folder.mkdir(parents=True, exist_ok=True)
  (folder / CONFIG).unlink(missing_ok=True)
  for file, shard in zip(files, shards, strict=True):
    write(folder / file, shard)
  where = {t.name: f for f, shard in zip(files, shards, strict=True) for t in shard}
  if count > 1:
    total = sum(tensor.num_bytes for tensor in tensors)
    index = {"metadata": {"total_size": total}, "weight_map": where}
    write_json(folder / INDEX, index)
  else:
    (folder / INDEX).unlink(missing_ok=True)
  for old in folder.glob("model*.safetensors"):  # of another number of files
    if old.name not in files:
      old.unlink()
  write_json(folder / CONFIG, hf)


# Reading


def _param_order(name: TensorName) -> tuple[bool, str]:
  return name.layer is not None, name.key


def _place(
  name: TensorName, found: dict[str, StoredTensor], dtype: np.dtype, sharding: Any
) -> jax.Array:
  """One tensor as a device array; this host reads what its devices hold."""

  @functools.cache
  def read(bounds: tuple[tuple[int, int], ...]) -> np.ndarray:
    return _read(name, found[name.name], dtype, bounds)

  def piece(index: tuple[slice, ...]) -> np.ndarray:
    bounds = [s.indices(size)[:2] for s, size in zip(index, name.shape, strict=True)]
    return read(tuple(bounds))

  array = jax.make_array_from_callback(name.shape, sharding, piece)
  return jax.block_until_ready(array)  # or pieces of many tensors would wait on the host


def _stack(
  names: Sequence[TensorName],
  found: dict[str, StoredTensor],
  dtype: np.dtype,
  sharding: Any,
) -> jax.Array:
  """The tensors of all layers as one array, filled layer by layer in place."""
  one = _without_layers(sharding)
  make, put = _stacking(names[0].shape, len(names), dtype, sharding)
  stack = make()
  for name in names:
    stack = put(stack, _place(name, found, dtype, one), name.layer)
  return jax.block_until_ready(stack)


@functools.lru_cache(maxsize=64)
def _stacking(shape: tuple[int, ...], num: int, dtype: np.dtype, sharding: Any):
  """(an empty stack, one layer written into it)."""
  make = jax.jit(lambda: jnp.zeros((num, *shape), dtype), out_shardings=sharding)
  put = jax.jit(
    lambda stack, layer, i: jax.lax.dynamic_update_index_in_dim(stack, layer, i, 0),
    donate_argnums=0,
    out_shardings=sharding,
  )
  return make, put


def _without_layers(sharding: Any) -> Any:
  """The sharding of one layer of a stacked parameter.

  Raises:
    ValueError: the layer axis is split.
  """
  if not isinstance(sharding, NamedSharding):
    return sharding
  axes = tuple(sharding.spec)
  if axes and axes[0] is not None:
    raise ValueError(f"shardings: {sharding.spec} must not split the layer axis")
  return NamedSharding(sharding.mesh, PartitionSpec(*axes[1:]))


def _read(
  name: TensorName,
  stored: StoredTensor,
  dtype: np.dtype,
  bounds: tuple[tuple[int, int], ...],
) -> np.ndarray:
  """A box of a parameter, in our orientation.

  Args:
    name: of the tensor.
    stored: where it lies.
    dtype: of the result.
    bounds: (start, stop) along each axis of the parameter.
  """
  if name.inputs:
    inputs, outputs = bounds[: name.inputs], bounds[name.inputs :]
    in_shape, out_shape = name.shape[: name.inputs], name.shape[name.inputs :]
    columns, rows = _span(inputs, in_shape), _span(outputs, out_shape)
    flat = np.empty((columns.stop - columns.start, rows.stop - rows.start), dtype)
    for first, piece in stored.read(rows, columns):
      flat[:, first : first + len(piece)] = piece.T
    box = flat.reshape(*_lead(inputs, in_shape), *_lead(outputs, out_shape))
    return box[(*_inside(inputs), *_inside(outputs))]
  if name.inputs == 0:
    rows, columns = _span(bounds, name.shape), slice(None)
    inside, shape = _inside(bounds), _lead(bounds, name.shape)
  else:
    rows, columns = slice(*bounds[0]), slice(*bounds[1])
    inside, shape = (), tuple(stop - start for start, stop in bounds)
  flat = np.empty((rows.stop - rows.start, _width(stored, columns)), dtype)
  for first, piece in stored.read(rows, columns):
    flat[first : first + len(piece)] = piece
  return flat.reshape(shape)[inside]


def _width(stored: StoredTensor, columns: slice) -> int:
  return len(range(*columns.indices((*stored.shape, 1)[1])))


def _span(bounds: Sequence[tuple[int, int]], shape: Sequence[int]) -> slice:
  """The range of flat indices that a box over several axes lies in."""
  inner = math.prod(shape[1:])
  return slice(bounds[0][0] * inner, bounds[0][1] * inner)


def _lead(bounds: Sequence[tuple[int, int]], shape: Sequence[int]) -> tuple[int, ...]:
  """The shape of `_span`: the first axis is cut, the others are whole."""
  return (bounds[0][1] - bounds[0][0], *shape[1:])


def _inside(bounds: Sequence[tuple[int, int]]) -> tuple[slice, ...]:
  """The box within `_span`."""
  return (slice(None), *(slice(start, stop) for start, stop in bounds[1:]))


# Writing


def _new_tensor(name: TensorName, params: Params, dtype: str | None) -> NewTensor:
  stacked = params[name.key] if name.layer is None else params["layers"][name.key]
  stored = np.dtype(jnp.dtype(dtype or stacked.dtype))

  def make() -> np.ndarray:
    array = stacked if name.layer is None else stacked[name.layer]
    return name.to_file(to_host(array)).astype(stored, copy=False)

  return NewTensor(name.name, name.file_shape, stored, make)


def _split(tensors: Sequence[NewTensor], most: int) -> list[list[NewTensor]]:
  """Consecutive tensors to files of at most `most` bytes, a larger one alone."""
  return [list(shard) for shard in _shards(tensors, most)]


def _shards(tensors: Sequence[NewTensor], most: int) -> Iterator[list[NewTensor]]:
  shard: list[NewTensor] = []
  size = 0
  for tensor in tensors:
    if shard and size + tensor.num_bytes > most:
      yield shard
      shard, size = [], 0
    shard.append(tensor)
    size += tensor.num_bytes
  yield shard


def write_json(path: Path, value: Any) -> None:
  """Writes a file, whole or not at all."""
  partial = path.with_name(f"{path.name}.partial")
  partial.write_text(json.dumps(value, indent=2) + "\n")
  os.replace(partial, path)
