"""One run at a time in a folder: two writers would mix their records.

What is locked is a file of this machine, not of the folder: the kernel frees it when a
process ends, however it ends, where a network file system may keep the lock of a machine
that is gone. So runs of other machines are not noticed.

Must not know about: what a run writes.
"""

import contextlib
import fcntl
import functools
import hashlib
import inspect
import os
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import ParamSpec, TypeVar

from skilljax import hosts
from skilljax.config import ConfigError

P = ParamSpec("P")
R = TypeVar("R")


def claims_folder(run: Callable[P, R]) -> Callable[P, R]:
  """Decorates a function with an argument `folder`; of several hosts the first claims.

  The decorated function raises a ConfigError where another run has the folder.
  """
  signature = inspect.signature(run)

  @functools.wraps(run)
  def alone(*args: P.args, **kwargs: P.kwargs) -> R:
    folder = signature.bind(*args, **kwargs).arguments["folder"]
    with claimed(folder) if hosts.is_first() else contextlib.nullcontext():
      return run(*args, **kwargs)

  return alone


@contextlib.contextmanager
def claimed(folder: str | os.PathLike) -> Iterator[None]:
  """Holds a folder, which need not exist, until the block or the process ends.

  Raises:
    ConfigError: another run of this user on this machine holds it.
  """
  try:
    path = _lock_path(folder)
    file = _lock(path, folder)
    while not _is_at(file, path):  # who held it before has removed it meanwhile
      os.close(file)
      file = _lock(path, folder)
  except OSError as error:
    warnings.warn(
      f"a second run in {folder} will not be noticed: no lock can be made ({error})",
      RuntimeWarning,
      stacklevel=3,
    )
    file = None
  try:
    if file is not None:
      os.truncate(file, 0)
      os.write(file, str(os.getpid()).encode())
    yield
  finally:
    if file is not None:
      path.unlink(missing_ok=True)
      os.close(file)


def _lock_path(folder: str | os.PathLike) -> Path:
  name = hashlib.sha256(os.path.realpath(folder).encode()).hexdigest()[:16]
  return Path(tempfile.gettempdir()) / f"skilljax-{os.getuid()}-{name}.lock"


def _lock(path: Path, folder: str | os.PathLike) -> int:
  file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
  try:
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
  except BlockingIOError:
    owner = os.read(file, 20).decode() or "unknown"
    os.close(file)
    raise ConfigError(
      f"--workdir={folder} is in use by process {owner}; a folder takes one run at a "
      "time: wait for that one, end it, or give another folder"
    ) from None
  except OSError:
    os.close(file)
    raise
  return file


def _is_at(file: int, path: Path) -> bool:
  try:
    return os.path.samestat(os.fstat(file), path.stat())
  except FileNotFoundError:
    return False
