"""Safetensors files piece by piece.

The package reads through a memory map and writes from a dictionary of everything; both
keep a whole checkpoint in the memory of the host. Here a piece of a tensor is read, and
a file is written one tensor after the other. The format is eight bytes of header length,
a JSON header, and the tensors' bytes (https://github.com/huggingface/safetensors).

Must not know about: models, devices.
"""

import dataclasses
import json
import math
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import BinaryIO

import jax.numpy as jnp
import numpy as np

_DTYPES = {
  "F64": np.dtype(np.float64),
  "F32": np.dtype(np.float32),
  "F16": np.dtype(np.float16),
  "BF16": np.dtype(jnp.bfloat16),
}
_CODES = {dtype: code for code, dtype in _DTYPES.items()}
_MAX_HEADER_BYTES = 100 << 20  # what the package itself allows
_CHUNK_BYTES = 32 << 20


@dataclasses.dataclass(frozen=True)
class StoredTensor:
  """Where a tensor lies.

  Attributes:
    path: the file.
    shape: as stored.
    dtype: as stored.
    offset: of its first byte in the file.
  """

  path: Path
  shape: tuple[int, ...]
  dtype: np.dtype
  offset: int

  def read(
    self, rows: slice = slice(None), columns: slice = slice(None)
  ) -> Iterable[tuple[int, np.ndarray]]:
    """Pieces of some rows and columns, at most 32 MB of the file at once.

    A vector counts as one column.

    Args:
      rows: of the first axis; step 1.
      columns: of the second axis; step 1.
    Yields:
      (first row of the piece within `rows`, [r, c] array).
    """
    num_rows, num_columns = (*self.shape, 1)[:2]
    start, stop, _ = rows.indices(num_rows)
    row_bytes = num_columns * self.dtype.itemsize
    step = max(1, _CHUNK_BYTES // max(1, row_bytes))
    with self.path.open("rb") as file:
      file.seek(self.offset + start * row_bytes)
      for first in range(start, stop, step):
        count = min(step, stop - first)
        data = np.fromfile(file, np.uint8, count * row_bytes).view(self.dtype)
        yield first - start, data.reshape(count, num_columns)[:, columns]


def read_header(path: Path) -> dict[str, StoredTensor]:
  """Where each tensor of a file lies.

  Raises:
    FileNotFoundError: no such file.
    ValueError: it is damaged, truncated, or has a type that cannot be read; the message
      names the file.
  """
  if not path.exists():
    raise FileNotFoundError(f"checkpoint file {path} does not exist")
  size = path.stat().st_size
  with path.open("rb") as file:
    length = int.from_bytes(file.read(8), "little")
    if not 2 <= length <= min(_MAX_HEADER_BYTES, size - 8):
      raise ValueError(f"{path} is damaged: its header would have {length} bytes")
    header = file.read(length)
  try:
    entries = json.loads(header)
    entries.pop("__metadata__", None)
    found = {name: _stored(path, 8 + length, entry) for name, entry in entries.items()}
  except (ValueError, KeyError, TypeError, AttributeError) as error:
    raise ValueError(f"{path} is damaged: {error}; copy it again") from error
  for name, tensor in found.items():
    end = tensor.offset + math.prod(tensor.shape) * tensor.dtype.itemsize
    if end > size:
      raise ValueError(
        f"{path} is truncated: it has {size} bytes, and {name} ends at {end}; copy it "
        "again"
      )
  return found


def _stored(path: Path, base: int, entry: Mapping) -> StoredTensor:
  if entry["dtype"] not in _DTYPES:
    raise ValueError(f"dtype {entry['dtype']!r} is not one of {', '.join(_DTYPES)}")
  begin, end = entry["data_offsets"]
  shape, dtype = tuple(entry["shape"]), _DTYPES[entry["dtype"]]
  if any(type(n) is not int or n < 0 for n in (begin, end, *shape)):
    raise ValueError(f"offsets {begin}..{end} and shape {shape} must be integers >= 0")
  if end - begin != math.prod(shape) * dtype.itemsize:
    raise ValueError(f"offsets {begin}..{end} do not fit shape {shape}")
  return StoredTensor(path, shape, dtype, base + begin)


@dataclasses.dataclass(frozen=True)
class NewTensor:
  """A tensor to write.

  Attributes:
    name, shape, dtype: of the tensor.
    make: gives it, contiguous; called once, when its turn has come.
  """

  name: str
  shape: tuple[int, ...]
  dtype: np.dtype
  make: Callable[[], np.ndarray]

  @property
  def num_bytes(self) -> int:
    """In the file."""
    return math.prod(self.shape) * self.dtype.itemsize


def write(path: Path, tensors: Iterable[NewTensor]) -> None:
  """Writes one file, whole or not at all; one tensor is in memory at a time.

  Raises:
    ValueError: a dtype that the files of `transformers` do not have.
  """
  tensors = list(tensors)
  header: dict[str, object] = {"__metadata__": {"format": "pt"}}
  offset = 0
  for tensor in tensors:
    if tensor.dtype not in _CODES:
      raise ValueError(f"{tensor.name}: cannot store dtype {tensor.dtype}")
    header[tensor.name] = {
      "dtype": _CODES[tensor.dtype],
      "shape": list(tensor.shape),
      "data_offsets": [offset, offset + tensor.num_bytes],
    }
    offset += tensor.num_bytes
  text = json.dumps(header).encode()
  text += b" " * (-len(text) % 8)
  partial = path.with_name(f"{path.name}.partial")
  with partial.open("wb") as file:
    file.write(len(text).to_bytes(8, "little") + text)
    for tensor in tensors:
      _append(file, tensor)
  os.replace(partial, path)


def _append(file: BinaryIO, tensor: NewTensor):
  array = tensor.make()
  if array.shape != tensor.shape or array.dtype != tensor.dtype:
    raise ValueError(
      f"{tensor.name} became {array.dtype}{array.shape}, announced was "
      f"{tensor.dtype}{tensor.shape}"
    )
  file.write(memoryview(array.reshape(-1).view(np.uint8)))
