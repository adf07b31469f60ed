"""Which tensors the weight files of a Hugging Face folder hold, and where they lie.

Purpose: whatever is wrong with a folder is found in the headers, before a weight is read,
and told at once. Must not know about: devices, how tensors become parameters.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from skilljax.models.config import ModelConfig
from skilljax.models.hf_names import TIED_HEAD, TensorName, text_name
from skilljax.models.safetensors_files import StoredTensor, read_header

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"


def find_tensors(
  folder: Path, cfg: ModelConfig, names: Sequence[TensorName]
) -> dict[str, StoredTensor]:
  """Tensor name -> where it is; reads headers only.

  Of a model that also sees pictures the tensors of the text part are found, under the
  names that they have without the rest.

  Args:
    folder: holds one weight file, or an index and the shards that it names.
    cfg: the model, whose tied head may be repeated.
    names: the tensors that the model has.
  Raises:
    FileNotFoundError: a file is missing; names it.
    ValueError: a file is damaged; or tensors are missing, not expected, of another shape,
      stored twice, or not where the index says: all listed in one message.
  """
  index = _read_index(folder)
  found, problems = _scan(_weight_files(folder, index))
  expected = {name.name: name.file_shape for name in names}
  problems += [f"missing: {name}" for name in sorted(expected.keys() - found.keys())]
  extra = found.keys() - expected.keys()
  if cfg.tie_embeddings:
    extra = extra - {TIED_HEAD}
  problems += [f"not expected: {name}" for name in sorted(extra)]
  problems += [
    f"shape {found[name].shape}, must be {shape}: {name}"
    for name, shape in expected.items()
    if name in found and found[name].shape != shape
  ]
  if index is not None:
    problems += [
      f"in {found[name].path.name}, and {index.get(name, 'nowhere')} by {INDEX}: {name}"
      for name in sorted(expected.keys() & found.keys())
      if index.get(name) != found[name].path.name
    ]
  if problems:
    lines = "\n  ".join(problems)
    raise ValueError(
      f"tensors in {folder} do not fit its {CONFIG}, or their files do not belong "
      f"together:\n  {lines}"
    )
  return found


def _scan(paths: Sequence[Path]) -> tuple[dict[str, StoredTensor], list[str]]:
  """(tensor name -> where it is, a line for each that is in several files)."""
  found: dict[str, StoredTensor] = {}
  problems = []
  for path in paths:
    for full_name, stored in read_header(path).items():
      name = text_name(full_name)
      if name is None:
        continue
      if name in found:
        problems.append(f"in {found[name].path.name} and in {path.name}: {name}")
      found.setdefault(name, stored)
  return found, problems


def _read_index(folder: Path) -> dict[str, str] | None:
  """Tensor name -> file, as the index says; None where there is no index.

  Raises:
    ValueError: the index is damaged, or names files of other folders.
  """
  path = folder / INDEX
  if not path.exists():
    return None
  try:
    where: Mapping[str, str] = json.loads(path.read_text("utf-8"))["weight_map"]
    shards = set(where.values())
    strange = [shard for shard in shards if not shard or Path(shard).name != shard]
  except (ValueError, KeyError, TypeError, AttributeError) as error:
    raise ValueError(f"{path} is damaged: {error}; copy it again") from error
  if strange:
    raise ValueError(f"{INDEX} names {strange[0]!r}; must be a file of the same folder")
  return {text_name(name) or name: shard for name, shard in where.items()}


def _weight_files(folder: Path, index: Mapping[str, str] | None) -> list[Path]:
  """The single file, or every shard that the index names.

  Raises:
    FileNotFoundError: one of them is missing.
  """
  if index is None:
    if not (folder / WEIGHTS).is_file():
      raise FileNotFoundError(
        f"{folder} has neither {WEIGHTS} nor {INDEX}; weights in another format must be "
        "saved as safetensors first"
      )
    return [folder / WEIGHTS]
  shards = sorted(set(index.values()))
  missing = [shard for shard in shards if not (folder / shard).is_file()]
  if missing:
    raise FileNotFoundError(
      f"{folder} lacks {', '.join(missing)}, which {INDEX} names; copy them too"
    )
  return [folder / shard for shard in shards]
