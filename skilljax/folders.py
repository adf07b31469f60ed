"""Folders that a command writes, tried before anything expensive starts.

Must not know about: what is written.
"""

import os
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path

from skilljax.config import ConfigError

# 'gs://bucket/x', also after pathlib made 'gs:/bucket/x' of it.
_BUCKET = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")


def check_local(path: str | os.PathLike, *, key: str) -> None:
  """Raises a ConfigError for the address of a bucket, which is no folder of files.

  Args:
    path: as the user gave it.
    key: the flag or config key, for the message.
  """
  if _BUCKET.match(os.fspath(path)):
    raise ConfigError(
      f"{key}={os.fspath(path)} is the address of a bucket; it must be a folder: mount "
      "the bucket (gcsfuse, or a volume of the cluster) and give its place there"
    )


def check_writable(
  folder: str | os.PathLike,
  *,
  key: str = "--workdir",
  folders: Sequence[str] = (),
  files: Sequence[str] = (),
) -> None:
  """Raises a ConfigError unless a run can write what it writes. Leaves nothing behind.

  Args:
    folder: of the run; it need not exist.
    key: the flag, for the message.
    folders, files: names that the run will write in it.
  """
  if not os.fspath(folder):
    raise ConfigError(f"{key} is empty; it must name a folder")
  check_local(folder, key=key)
  path = Path(folder)
  _check_folder(path, f"{key}={folder}")
  for name in folders:
    _check_folder(path / name, f"{key}={folder}")
  for name in files:
    file = path / name
    if file.is_dir() or (file.exists() and not os.access(file, os.W_OK)):
      what = "is a folder" if file.is_dir() else "cannot be written"
      raise ConfigError(
        f"{key}={folder}: {file} {what}, and must be a file that can be; remove it, or "
        "give another folder"
      )


def _check_folder(path: Path, given: str) -> None:
  """Tries a folder, or the nearest one above it that exists."""
  try:
    above = next(p for p in (path, *path.absolute().parents) if os.path.lexists(p))
    if not above.is_dir():
      raise ConfigError(
        f"{given}: {above} is in the way; it must be a folder, or not be there"
      )
    # Tried, not asked: os.access knows nothing of network file systems.
    with tempfile.TemporaryDirectory(prefix=".skilljax-", dir=above) as tried:
      _try(Path(tried), given)
  except OSError as error:
    raise ConfigError(
      f"{given} cannot be written: {error.strerror or error} at {path}; give a folder "
      "that this user may write"
    ) from error


def _try(folder: Path, given: str) -> None:
  """Does in an empty folder what a checkpoint does: its folder is renamed when whole."""
  before = folder / "before"
  before.mkdir()
  (before / "file").write_text("x")
  try:
    before.rename(folder / "after")
  except OSError as error:
    raise ConfigError(
      f"{given}: {error.strerror or error} where a folder with a file in it is renamed, "
      "which is how a checkpoint gets its name; use a bucket with a hierarchical "
      "namespace, or mount it with gcsfuse --rename-dir-limit=1000000 (docs/pods.md)"
    ) from error
