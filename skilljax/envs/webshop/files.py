"""The published data files: finding, checking and reading them.

Two layouts are read, which differ only in the name of the human instructions: the packed
files and the official download. Any file may be compressed with gzip or xz.
Must not know about: what a product or a goal is.
"""

import dataclasses
import gzip
import hashlib
import json
import lzma
import pathlib
import re
import zlib
from collections.abc import Callable, Iterator
from typing import Any, TextIO

from skilljax.envs.data_files import DataError, read_sums

_NAMES = {
  "small": (
    ("items_shuffle_1000.json",),
    ("items_ins_v2_1000.json",),
    ("items_human_ins_1000.json", "items_human_ins.json"),
  ),
  "full": (("items_shuffle.json",), ("items_ins_v2.json",), ("items_human_ins.json",)),
}
_OPENERS: dict[str, Callable[..., Any]] = {"": open, ".gz": gzip.open, ".xz": lzma.open}
_DAMAGE = (lzma.LZMAError, EOFError, zlib.error, gzip.BadGzipFile, ValueError)
_CHUNK = 1 << 20
_MAX_ENTRY_CHARS = 8 * _CHUNK  # of one product; the largest real one is far smaller
_BETWEEN = re.compile(r"[\s,]*")
_MAX_HASHED_BYTES = 256 << 20


@dataclasses.dataclass(frozen=True)
class DataFiles:
  """The files of one catalogue.

  Attributes:
    products: a JSON list of products, in the official order.
    attributes: a JSON object, product id -> attributes and generated instruction.
    human: a JSON object, product id -> instructions people wrote; None if absent.
  """

  products: pathlib.Path
  attributes: pathlib.Path
  human: pathlib.Path | None

  def stamp(self) -> tuple:
    """Size and time of change of each file: cheap, to notice a change in a process."""
    stats = [path.stat() for path in (self.products, self.attributes, self.human) if path]
    return tuple((stat.st_size, stat.st_mtime_ns) for stat in stats)

  def fingerprint(self) -> str:
    """Digest of the files.

    Files above 256 MB enter by name, size and time of change: see `check_large`.

    Raises:
      DataError: a file differs from what SHA256SUMS beside it says.
    """
    digest = hashlib.sha256()
    for path in (self.products, self.attributes, self.human):
      digest.update(b"absent" if path is None else _file_digest(path))
    return digest.hexdigest()

  def check_large(self):
    """Compares the files that `fingerprint` does not read with SHA256SUMS beside them.

    Takes seconds a gigabyte: once, when files are derived.

    Raises:
      DataError: a file differs from what SHA256SUMS says.
    """
    for path in (self.products, self.attributes, self.human):
      if path is not None and path.stat().st_size > _MAX_HASHED_BYTES:
        _content_digest(path)


def find_files(folder: pathlib.Path, catalogue: str) -> DataFiles:
  """Finds the files of a catalogue, 'small' or 'full'.

  Raises:
    FileNotFoundError: products or attributes are absent; the message names the key.
  """
  products, attributes, human = (_find(folder, names) for names in _NAMES[catalogue])
  for path, names in zip((products, attributes), _NAMES[catalogue], strict=False):
    if path is None:
      raise FileNotFoundError(
        f"{folder}: no {names[0]} (or .gz, .xz) of the {catalogue} WebShop catalogue "
        "(config keys env.data_dir and env.catalogue, or variable SKILLJAX_DATA for the "
        "folder above)"
      )
  return DataFiles(products, attributes, human)


def read_object(path: pathlib.Path) -> dict[str, Any]:
  """A whole JSON object. Raises DataError if the file is damaged or no object."""
  try:
    with _open(path) as file:
      value = json.load(file)
  except _DAMAGE as error:
    raise _damaged(path, error) from error
  if not isinstance(value, dict):
    raise DataError(f"{path}: holds no JSON object; is it another file?")
  return value


def read_list(path: pathlib.Path) -> Iterator[Any]:
  """The entries of a JSON list one by one: the full catalogue does not fit in memory.

  Raises:
    DataError: the file is damaged, or no list.
  """
  try:
    with _open(path) as file:
      yield from _entries(file)
  except _DAMAGE as error:
    raise _damaged(path, error) from error


def _entries(file: TextIO) -> Iterator[Any]:
  decode = json.JSONDecoder().raw_decode
  text, position = file.read(_CHUNK).lstrip(), 1
  if not text.startswith("["):
    raise ValueError("it is no JSON list")
  while True:
    position = _BETWEEN.match(text, position).end()
    if text.startswith("]", position):
      return
    try:
      value, position = decode(text, position)
    except ValueError:
      # Half an entry, or a damaged one: the next chunks tell.
      if len(text) - position > _MAX_ENTRY_CHARS:
        raise
      chunk = file.read(_CHUNK)
      if not chunk:
        raise
      text, position = text[position:] + chunk, 0
      continue
    yield value


def _find(folder: pathlib.Path, names: tuple[str, ...]) -> pathlib.Path | None:
  for name in names:
    for suffix in _OPENERS:
      if (path := folder / f"{name}{suffix}").is_file():
        return path
  return None


def _open(path: pathlib.Path) -> TextIO:
  suffix = path.suffix if path.suffix in _OPENERS else ""
  return _OPENERS[suffix](path, "rt", encoding="utf-8")


def _file_digest(path: pathlib.Path) -> bytes:
  stat = path.stat()
  if stat.st_size > _MAX_HASHED_BYTES:
    entry = f"{path.name}:{stat.st_size}:{stat.st_mtime_ns}"
    return hashlib.sha256(entry.encode("utf-8")).digest()
  return _content_digest(path)


def _content_digest(path: pathlib.Path) -> bytes:
  with open(path, "rb") as file:
    found = hashlib.file_digest(file, "sha256")
  expected = read_sums(path.with_name("SHA256SUMS")).get(path.name, found.hexdigest())
  if found.hexdigest() != expected:
    raise DataError(
      f"{path}: sha256 is {found.hexdigest()}, SHA256SUMS says {expected}; the file is "
      "damaged, copy it again"
    )
  return found.digest()


def _damaged(path: pathlib.Path, error: Exception) -> DataError:
  return DataError(f"{path}: damaged ({type(error).__name__}: {error}); copy it again")
