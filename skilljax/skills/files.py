"""Files that cannot be half written and cannot be half read.

Purpose: atomic replacement, bounded reading, strict JSON, one error type with advice.
Must not know about: what is inside the files.
"""

import contextlib
import json
import os
import pathlib
import tempfile
from typing import Any

MAX_FILE_BYTES = 64 * 2**20


class BankFileError(Exception):
  """A bank file (or folder) that cannot be read or written; nothing was changed.

  Attributes:
    path: which file.
    problem: what is wrong with it.
    advice: what to do.
  """

  def __init__(self, path: str | os.PathLike, problem: str, advice: str):
    super().__init__(f"{os.fspath(path)}: {problem}. {advice}")
    self.path = os.fspath(path)
    self.problem = problem
    self.advice = advice


def write_atomically(path: str | os.PathLike, text: str) -> None:
  """Replaces a file in one step: readers see the old text or the new one.

  The text goes to a temporary file in the same folder, is synced to disk, and takes the
  name with `os.replace`. Whatever goes wrong before that leaves the old file intact.

  Raises:
    BankFileError: the file system refused.
  """
  path = pathlib.Path(path)
  temporary = None
  try:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(
      dir=path.parent, prefix=f".{path.name}.", suffix=".tmp"
    )
    with os.fdopen(handle, "w", encoding="utf-8", newline="") as file:
      file.write(text)
      file.flush()
      os.fsync(file.fileno())
    os.chmod(temporary, 0o644)  # mkstemp makes files that only the owner can read
    os.replace(temporary, path)
    temporary = None
    sync_folder(path.parent)
  except OSError as err:
    raise BankFileError(
      path, f"cannot be written: {err}", "Check space and permissions, then save again."
    ) from err
  finally:
    if temporary is not None:
      with contextlib.suppress(OSError):
        os.unlink(temporary)


def sync_folder(path: str | os.PathLike) -> None:
  """Makes a rename in this folder survive a power cut."""
  handle = os.open(path, os.O_RDONLY)
  try:
    os.fsync(handle)
  finally:
    os.close(handle)


def read_text(path: str | os.PathLike, *, max_bytes: int = MAX_FILE_BYTES) -> str:
  """Reads a UTF-8 file of bounded size; a leading byte-order mark is dropped.

  Raises:
    BankFileError: missing, unreadable, too large, or not UTF-8.
  """
  try:
    with open(path, "rb") as file:
      raw = file.read(max_bytes + 1)
  except OSError as err:
    raise BankFileError(
      path, f"cannot be read: {err.strerror}", "Check the path and the permissions."
    ) from err
  if len(raw) > max_bytes:
    raise BankFileError(
      path, f"is larger than {max_bytes} bytes", "No bank is; check the path."
    )
  try:
    return raw.decode("utf-8-sig")
  except UnicodeDecodeError as err:
    raise BankFileError(
      path, f"is not UTF-8 text: {err}", "Restore it from a copy."
    ) from err


def parse_json(path: str | os.PathLike, text: str) -> Any:
  """Strict JSON: no NaN, no repeated keys.

  Args:
    path: for the message only.
  Raises:
    BankFileError: not such JSON; truncated files end here.
  """
  try:
    return json.loads(text, parse_constant=_no_constant, object_pairs_hook=_unique)
  except (ValueError, RecursionError) as err:
    raise BankFileError(
      path,
      f"is not valid JSON (damaged or cut off): {err}",
      "Restore it from a copy or a checkpoint.",
    ) from err


def _no_constant(name: str) -> Any:
  raise ValueError(f"{name} is not allowed")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
  record = dict(pairs)
  if len(record) != len(pairs):
    raise ValueError("an object repeats a key")
  return record


def pretty_json(record: Any) -> str:
  """Indented JSON with a final line break; ASCII, so that any string survives."""
  return json.dumps(record, indent=2, allow_nan=False) + "\n"
