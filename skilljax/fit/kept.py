"""Programs that were compiled before, in a folder.

A program is known by its text, the order of its devices and the versions of what
compiles. So no change of code, config or compiler is missed, and one that leaves a
program as it was costs nothing.

Must not know about: what a program is for, chips.
"""

import dataclasses
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import jax

from skilljax.fit.compiled import Compiled


def key_of(
  lowered: jax.stages.Lowered, *, order: Sequence[str], versions: Mapping[str, str]
) -> str:
  """16 hex digits of everything that decides what a program is compiled to.

  Args:
    lowered: the program.
    order: of the devices, by name; the text has only the shape of their mesh.
    versions: of what compiles.
  """
  flags = os.environ.get("LIBTPU_INIT_ARGS", "")
  told = json.dumps([list(order), dict(versions), flags], sort_keys=True)
  return hashlib.sha256((told + lowered.as_text()).encode()).hexdigest()[:16]


@dataclasses.dataclass(frozen=True)
class Kept:
  """A folder with one file a program; the newest takes the place of an older one."""

  folder: Path

  def load(self, name: str, key: str) -> Compiled | None:
    """A program as it was compiled; None if it has changed since, or never was."""
    path = self.folder / f"{name}.json"
    if not path.is_file():
      return None
    record = json.loads(path.read_text())
    return Compiled(**record["compiled"]) if record.get("key") == key else None

  def save(self, name: str, key: str, one: Compiled) -> None:
    """Keeps a program."""
    self.folder.mkdir(parents=True, exist_ok=True)
    record = {"key": key, "compiled": dataclasses.asdict(one)}
    partial = self.folder / f"{name}.json.partial"
    partial.write_text(json.dumps(record, indent=2) + "\n")
    os.replace(partial, self.folder / f"{name}.json")
