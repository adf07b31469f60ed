"""Checkpoints for a reader who does not own their folder: some arrays of one step.

`checkpoint.Checkpointer` belongs to the run: it clears away what a killed save left, and
would take a save under way for that. Here nothing is written, optimiser states stay on
the disk, and arrays come to the host, whatever mesh they were saved from.

Must not know about: what the arrays mean.
"""

import os
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from skilljax.checkpoint import CheckpointError, json_checksum, manifest_of


class SavedStep:
  """One step of a folder of checkpoints."""

  def __init__(self, folder: str | os.PathLike, step: int | None = None):
    """Reads the host state and the manifest.

    Args:
      folder: of a `Checkpointer`; it may be writing there.
      step: None for the newest.
    Raises:
      CheckpointError: there is no such complete step, or it is damaged.
    """
    there = Path(folder).is_dir()
    steps = sorted(ocp.utils.checkpoint_steps(os.fspath(folder))) if there else []
    if not steps or (step is not None and step not in steps):
      wanted = "" if step is None else f" of step {step}"
      raise CheckpointError(
        f"{folder} holds no checkpoint{wanted}; complete steps: {steps}"
      )
    self.step = steps[-1] if step is None else step
    self._path = Path(folder).absolute() / str(self.step)
    unit = self._read("host", ocp.JsonCheckpointHandler())
    if not isinstance(unit, dict) or unit.pop("crc32", None) != json_checksum(unit):
      raise CheckpointError(f"{self._path}: the host state is damaged (checksum differs)")
    self.host: dict[str, Any] = unit["host"]
    self.manifest: dict[str, dict[str, Any]] = unit["manifest"]

  def arrays(self, prefix: str, like: Any) -> Any:
    """Arrays of the host, in the types they were saved in.

    Args:
      prefix: name of the part of the saved tree, an attribute at its top.
      like: nested dicts with a shape at each leaf; a part of what is saved will do.
    Raises:
      CheckpointError: an array is absent, has another shape, or is damaged; all of the
        first two are listed.
    """
    names = jax.tree.map_with_path(
      lambda path, _: f".{prefix}{jax.tree_util.keystr(path)}", like
    )
    problems = [
      f"{name} has shape {tuple(self.manifest.get(name, {}).get('shape', ()))}, not "
      f"{tuple(leaf.shape)}"
      if name in self.manifest
      else f"{name} is missing"
      for name, leaf in zip(jax.tree.leaves(names), jax.tree.leaves(like), strict=True)
      if name not in self.manifest
      or tuple(self.manifest[name]["shape"]) != tuple(leaf.shape)
    ]
    if problems:
      raise CheckpointError("\n  ".join([f"{self._path} does not fit:", *problems]))
    item = {prefix: like}
    options = ocp.args.PyTreeRestore(
      item=item,
      restore_args=jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), item),
      partial_restore=True,
    )
    arrays = self._read("arrays", ocp.PyTreeCheckpointHandler(), args=options)[prefix]
    for name, entry in manifest_of(arrays).items():
      if entry["sum32"] != self.manifest[f".{prefix}{name}"]["sum32"]:
        raise CheckpointError(f"{self._path}: array {name} is damaged (checksum differs)")
    return arrays

  def _read(self, item: str, handler: ocp.CheckpointHandler, **options: Any) -> Any:
    """Restores one item; every failure of the storage layer names the folder."""
    try:
      with ocp.Checkpointer(handler) as reader:
        return reader.restore(self._path / item, **options)
    except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
      raise CheckpointError(f"{self._path}: cannot read {item}: {error}") from error
