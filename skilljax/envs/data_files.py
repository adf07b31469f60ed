"""What data files of environments have in common: one error, checksums, safe folders.

Purpose: a damaged or foreign file is found before it is used; derived files appear in the
cache folder as a whole or not at all.
Must not know about: any environment, or what the files hold.
"""

import json
import os
import pathlib
import shutil
import tempfile
import zlib
from collections.abc import Callable

_MANIFEST = "manifest.json"
# Larger files are checked by size alone: every worker would read gigabytes.
_MAX_CHECKED_BYTES = 64 << 20


class DataError(ValueError):
  """A data file is damaged or incomplete; the message names the file and the fix."""


def read_sums(path: pathlib.Path) -> dict[str, str]:
  """File name -> sha256 of a SHA256SUMS file; empty if there is none.

  Raises:
    DataError: the file is no list of checksums.
  """
  if not path.exists():
    return {}
  try:
    lines = path.read_text("ascii").splitlines()
    pairs = [line.split(maxsplit=1) for line in lines if line.strip()]
    return {name.strip().lstrip("*"): digest for digest, name in pairs}
  except ValueError as error:
    raise DataError(f"{path}: no list of checksums ({error}); copy it again") from error


def derived_folder(
  path: pathlib.Path, build: Callable[[pathlib.Path], None]
) -> pathlib.Path:
  """A folder of derived files: as it is if intact, else built again.

  Processes that build at the same time do the work twice and keep one result.

  Args:
    path: the folder; its name must contain a digest of what it is derived from.
    build: writes all files into the (temporary) folder that it is given.
  Raises:
    DataError: what was just written cannot be read back.
  """
  if _intact(path):
    return path
  path.parent.mkdir(parents=True, exist_ok=True)
  with tempfile.TemporaryDirectory(dir=path.parent, suffix=".tmp") as work:
    fresh = pathlib.Path(work) / "fresh"
    fresh.mkdir()
    build(fresh)
    _write_manifest(fresh)
    _swap(fresh, path)
  if not _intact(path):
    raise DataError(
      f"{path}: the files just written are unreadable; is the disk full? "
      "(config key env.cache_dir)"
    )
  return path


def write_atomically(path: pathlib.Path, content: bytes):
  """Writes to a temporary file first: readers see all of it or nothing."""
  path.parent.mkdir(parents=True, exist_ok=True)
  handle, temporary = tempfile.mkstemp(dir=path.parent, suffix=".tmp")
  try:
    with os.fdopen(handle, "wb") as file:
      file.write(content)
    os.replace(temporary, path)
  except BaseException:
    os.unlink(temporary)
    raise


def _swap(fresh: pathlib.Path, path: pathlib.Path):
  # A folder cannot replace one that is not empty; a loser of the race keeps the winner's.
  if path.exists() and not _intact(path):
    shutil.rmtree(path, ignore_errors=True)
  try:
    os.rename(fresh, path)
  except OSError:
    if not path.exists():
      raise


def _write_manifest(folder: pathlib.Path):
  files = {file.name: _fingerprint(file) for file in sorted(folder.iterdir())}
  (folder / _MANIFEST).write_text(json.dumps(files), "utf-8")


def _fingerprint(file: pathlib.Path) -> list[int]:
  size = file.stat().st_size
  return [size, zlib.crc32(file.read_bytes()) if size <= _MAX_CHECKED_BYTES else 0]


def _intact(folder: pathlib.Path) -> bool:
  try:
    files = json.loads((folder / _MANIFEST).read_text("utf-8"))
    return bool(files) and all(
      _fingerprint(folder / name) == expected for name, expected in files.items()
    )
  except (OSError, ValueError, AttributeError):
    return False
