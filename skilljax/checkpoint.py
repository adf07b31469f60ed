"""Checkpoints: everything a run needs to go on, written as one atomic unit.

Purpose: asynchronous, sharded saving of arrays and host state together, and restore on
another mesh.
Must not know about: what the arrays or the host state mean.

A step is either complete on disk or it does not exist: Orbax writes into a temporary
folder and gives it its name last. The manifest (shape, dtype and checksum of each array)
travels inside the same unit, so a damaged file is an error and never a slightly
different run.
"""

import functools
import importlib.metadata
import json
import os
import platform
import subprocess
import zlib
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp

PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "transformers")


class CheckpointError(RuntimeError):
  """A checkpoint that cannot be used. The message names folder, step and reason."""


class Checkpointer:
  """Saves and restores (arrays, host) under `folder/<step>/`."""

  def __init__(self, folder: str | os.PathLike, *, keep: int | None = 2):
    """Opens or creates the folder.

    What a killed save left there is no step, and is removed in the background; the next
    save waits for that.

    Args:
      folder: local path; one run per folder.
      keep: number of newest steps to keep, >= 1; None keeps all.
    Raises:
      ValueError: keep < 1.
    """
    if keep is not None and keep < 1:
      raise ValueError(f"keep = {keep} must be >= 1, or None to keep every step")
    self.folder = os.path.abspath(os.fspath(folder))
    self._manager = ocp.CheckpointManager(
      self.folder,
      options=ocp.CheckpointManagerOptions(
        max_to_keep=keep,
        create=True,
        cleanup_tmp_directories=True,
        enable_async_checkpointing=True,
      ),
    )

  def save(self, step: int, arrays: Any, host: dict[str, Any]) -> None:
    """Copies everything now, writes it in the background.

    The caller may donate or change `arrays` and `host` as soon as this returns.

    Args:
      step: update count, larger than every saved one.
      arrays: pytree of jax (typed PRNG keys too) and numpy arrays.
      host: plain JSON data: str keys, lists, no tuples, finite numbers.
    Raises:
      CheckpointError: `step` is not new, a leaf is not an array, or `host` would not
        come back equal. An error of the previous save's writer is raised here, too.
    """
    newest = self.latest_step()
    if newest is not None and step <= newest:
      raise CheckpointError(
        f"{self.folder}: step {step} is not newer than saved step {newest}"
      )
    unit = {"manifest": manifest_of(arrays), "host": copy_json(host)}
    unit["crc32"] = json_checksum(unit)
    self._manager.save(
      step,
      args=ocp.args.Composite(
        arrays=ocp.args.StandardSave(jax.tree.map(stored_leaf, arrays)),
        host=ocp.args.JsonSave(unit),
      ),
    )

  def latest_step(self) -> int | None:
    """The newest complete step, or None."""
    return self._manager.latest_step()

  def restore(self, like: Any, step: int | None = None) -> tuple[Any, dict[str, Any]]:
    """Reads one step.

    Args:
      like: pytree of arrays or `jax.ShapeDtypeStruct`; where a leaf has a sharding the
        array is restored with it, on whatever mesh that is.
      step: which one; None for the newest.
    Returns:
      (arrays, host), bit for bit as saved.
    Raises:
      CheckpointError: there is no such step, the tree, a shape or a dtype differs from
        `like` (all are listed), or the files are damaged. No older step is tried.
    """
    self.wait()
    step = self.latest_step() if step is None else step
    if step is None or step not in self._manager.all_steps():
      raise CheckpointError(
        f"{self.folder} holds no checkpoint of step {step}; "
        f"complete steps: {sorted(self._manager.all_steps())}"
      )
    unit = self._read(step, host=ocp.args.JsonRestore())["host"]
    if not isinstance(unit, dict) or unit.pop("crc32", None) != json_checksum(unit):
      raise CheckpointError(
        f"{self.folder}, step {step}: the host state is damaged (checksum differs)"
      )
    expect_same_tree(unit["manifest"], like, f"{self.folder}, step {step}")
    abstract = jax.tree.map(abstract_leaf, like)
    stored = self._read(step, arrays=ocp.args.StandardRestore(abstract))["arrays"]
    arrays = jax.tree.map(
      lambda leaf, as_: leaf[:0].reshape(as_.shape) if is_empty(as_) else leaf,
      stored,
      like,
    )
    for name, entry in manifest_of(arrays).items():
      if entry["sum32"] != unit["manifest"][name]["sum32"]:
        raise CheckpointError(
          f"{self.folder}, step {step}: array {name} is damaged (checksum differs)"
        )
    return arrays, unit["host"]

  def _read(self, step: int, **items: Any) -> Any:
    """Restores items; every failure of the storage layer names folder and step."""
    try:
      return self._manager.restore(step, args=ocp.args.Composite(**items))
    except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
      raise CheckpointError(
        f"{self.folder}, step {step}: cannot read {', '.join(items)}: {error}\n"
        f"Restore another step of {sorted(self._manager.all_steps())} by number, or "
        "remove this one."
      ) from error

  def wait(self) -> None:
    """Blocks until the last save is durable; raises what its writer raised."""
    self._manager.wait_until_finished()

  def close(self) -> None:
    """Waits, then stops the background threads."""
    self._manager.close()


def manifest_of(arrays: Any) -> dict[str, dict[str, Any]]:
  """Path → shape, dtype and checksum of each leaf, as plain JSON.

  Raises:
    CheckpointError: a leaf is neither a jax nor a numpy array.
  """
  leaves = jax.tree_util.tree_leaves_with_path(arrays)
  for path, leaf in leaves:
    if not isinstance(leaf, (jax.Array, np.ndarray)):
      raise CheckpointError(
        f"arrays{jax.tree_util.keystr(path)} = {leaf!r} is a {type(leaf).__name__}; make "
        "it an array (np.asarray), or move it to the host state"
      )
  sums = checksums([leaf for _, leaf in leaves])
  return {
    jax.tree_util.keystr(path): describe(leaf) | {"sum32": total}
    for (path, leaf), total in zip(leaves, sums, strict=True)
  }


def describe(leaf: Any) -> dict[str, Any]:
  """Shape and dtype as plain JSON; a typed key's dtype is 'key<fry>'."""
  return {"shape": list(leaf.shape), "dtype": str(leaf.dtype)}


def checksums(leaves: Sequence[jax.Array | np.ndarray]) -> list[int]:
  """A sum of each array's bits; one changed element always changes it.

  Computed where the arrays lie, because a save must not wait until all of them are on the
  host; so it is the same on every mesh, and every process sees it.
  """
  on_device = [leaf for leaf in leaves if isinstance(leaf, jax.Array)]
  # One program at a time: on CPUs, collectives of two that overlap can wait for each
  # other for ever.
  sums = iter(jax.device_get(_device_sums(jax.block_until_ready(on_device))))
  return [
    int(next(sums) if isinstance(leaf, jax.Array) else _host_sum(leaf)) for leaf in leaves
  ]


def _host_sum(array: np.ndarray) -> np.uint32:
  word = {1: np.uint8, 2: np.uint16}.get(array.itemsize, np.uint32)
  return weighted_sum(np.ascontiguousarray(array)[..., None].view(word), np)


@jax.jit
def _device_sums(arrays: list[jax.Array]) -> list[jax.Array]:
  def one(array: jax.Array) -> jax.Array:
    if jnp.issubdtype(array.dtype, jax.dtypes.prng_key):
      array = jax.random.key_data(array)
    array = array.astype(jnp.uint8) if array.dtype == bool else array
    word = {1: jnp.uint8, 2: jnp.uint16}.get(array.dtype.itemsize, jnp.uint32)
    return weighted_sum(jax.lax.bitcast_convert_type(array, word), jnp)

  return [one(array) for array in arrays]


def weighted_sum(words: Any, xp: Any) -> Any:
  """Scalar uint32 sum of [...] unsigned words, with odd weights by their place.

  `xp` is numpy or jax.numpy, which give the same sum. The leading axis comes first: its
  additions are contiguous, ten times faster than those of all axes at once.
  """

  def odd(count: int) -> Any:
    return 2 * xp.arange(count, dtype=xp.uint32) + xp.uint32(1)

  rows = xp.atleast_1d(words).astype(xp.uint32)
  lead = odd(len(rows)).reshape(-1, *(1,) * (rows.ndim - 1))
  row = xp.sum(rows * lead, axis=0, dtype=xp.uint32).reshape(-1)
  return xp.sum(row * odd(row.size), dtype=xp.uint32)


def json_checksum(value: Any) -> int:
  """CRC-32 of the canonical JSON text."""
  return zlib.crc32(json.dumps(value, sort_keys=True).encode())


def is_empty(leaf: Any) -> bool:
  """True for an array without elements, which Orbax refuses to store."""
  return 0 in leaf.shape


def stored_leaf(leaf: jax.Array | np.ndarray) -> jax.Array | np.ndarray:
  """What is written for a leaf: itself, or one zero where it is empty."""
  return np.zeros((1,), leaf.dtype) if is_empty(leaf) else leaf


def abstract_leaf(leaf: Any) -> jax.ShapeDtypeStruct:
  """Shape, dtype and sharding of what `stored_leaf` wrote."""
  if is_empty(leaf):
    return jax.ShapeDtypeStruct((1,), leaf.dtype)
  sharding = None if isinstance(leaf, np.ndarray) else leaf.sharding
  return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)


def expect_same_tree(manifest: dict[str, dict[str, Any]], like: Any, where: str) -> None:
  """Raises a CheckpointError that lists every difference between disk and `like`."""
  wanted = {
    jax.tree_util.keystr(path): describe(leaf)
    for path, leaf in jax.tree_util.tree_leaves_with_path(like)
  }
  show = "{0[dtype]}{0[shape]}".format
  problems = []
  for name in sorted(manifest.keys() | wanted.keys()):
    if name not in wanted:
      problems.append(f"  {name}: saved {show(manifest[name])}, not part of this run")
    elif name not in manifest:
      problems.append(f"  {name}: this run needs {show(wanted[name])}, not saved")
    elif any(manifest[name][part] != wanted[name][part] for part in wanted[name]):
      problems.append(
        f"  {name}: saved {show(manifest[name])}, this run needs {show(wanted[name])}"
      )
  if problems:
    raise CheckpointError(
      f"{where}: {len(problems)} array(s) do not fit this run:\n" + "\n".join(problems)
    )


def copy_json(host: dict[str, Any]) -> dict[str, Any]:
  """A deep copy through JSON; raises where the copy would not be equal.

  Raises:
    CheckpointError: tuples, int keys, numpy scalars, NaN, …
  """
  try:
    copy = json.loads(json.dumps(host, allow_nan=False))
  except (TypeError, ValueError) as error:
    raise CheckpointError(f"host state is not plain JSON: {error}") from error
  if copy != host:
    names = [name for name in host if copy.get(name) != host[name]]
    raise CheckpointError(
      f"host state {names or list(host)} would not come back equal from JSON; "
      "use lists for tuples and str for every key"
    )
  return copy


def run_stamp() -> dict[str, Any]:
  """Code and versions a run was made with; goes into every checkpoint and report.

  Returns:
    git_commit (see `code_commit`), versions by package, python, platform.
  """
  versions = {}
  for package in PACKAGES:
    try:
      versions[package] = importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
      versions[package] = "absent"
  return {
    "git_commit": code_commit(),
    "versions": versions,
    "python": platform.python_version(),
    "platform": platform.platform(),
  }


@functools.cache
def code_commit() -> str:
  """The commit of the code that this process runs.

  Asked once: who checks out another commit during a run does not change what runs. So
  commands ask as they start.

  Returns:
    'unknown' outside a git checkout; ends in '+changes' where tracked files differ from
    the commit.
  """
  root = os.path.dirname(os.path.abspath(__file__))
  commit = git_answer(root, "rev-parse", "HEAD")
  if not commit:
    return "unknown"
  changed = git_answer(root, "status", "--porcelain", "--untracked-files=no")
  return f"{commit}+changes" if changed else commit


def git_answer(folder: str, *command: str) -> str:
  """Standard output of a git command, '' where git or the repository is missing."""
  try:
    done = subprocess.run(
      ("git", "-C", folder, *command), capture_output=True, text=True, timeout=10
    )
  except (OSError, subprocess.TimeoutExpired):
    return ""
  return done.stdout.strip() if done.returncode == 0 else ""


def write_atomically(path: str, data: bytes) -> None:
  """Replaces a file; a crash leaves the old one or the new one, never a part."""
  temporary = f"{path}.{os.getpid()}.tmp"
  with open(temporary, "wb") as file:
    file.write(data)
    file.flush()
    os.fsync(file.fileno())
  os.replace(temporary, path)
