"""Finished passes of an evaluation under way: a killed one goes on after the last.

  <folder>/config.json              the resolved config, as a training run leaves it
  <folder>/passes/made_with.json    what the passes were made with
  <folder>/passes/<index>.json      records and banks of one pass

`passes` is gone when the evaluation is written. Must not know about: how passes are made.
"""

import dataclasses
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from skilljax import hosts
from skilljax.config import ConfigError, plain, to_json
from skilljax.evaluation.exact import EpisodeRecord, Pass
from skilljax.settings import Settings
from skilljax.skills import store
from skilljax.skills.files import write_atomically

FOLDER = "passes"


class Passes:
  """The passes of one evaluation, in the folder of its results."""

  def __init__(self, folder: Path, settings: Settings, made_with: Mapping[str, Any]):
    """Touches nothing.

    Args:
      folder: of the results.
      settings: of the evaluation.
      made_with: plain data by name: whatever else the result depends on.
    """
    self.results = folder
    self._folder = folder / FOLDER
    self._config = to_json(settings.resolved)
    config = plain(settings.resolved)
    config["eval"]["passes"] = None  # more of them is the same evaluation
    del config["pool"]  # no result depends on it
    sections = {f"config section {name}": value for name, value in config.items()}
    self._made_with = json.loads(json.dumps({**sections, **made_with}))

  def begin(self) -> list[Pass]:
    """The finished passes, on all hosts; from here on the folder is this evaluation's.

    Raises:
      ConfigError: they were made with something else, or cannot be read.
    """
    return hosts.from_first(self._begin)

  def _begin(self) -> list[Pass]:
    passes = self._read()
    write_atomically(self.results / "config.json", self._config)
    write_atomically(self._folder / "made_with.json", json.dumps(self._made_with))
    return passes

  def keep(self, index: int, finished: Pass) -> None:
    """Writes one pass; the first host does."""
    if not hosts.is_first():
      return
    record = {
      "records": [dataclasses.asdict(record) for record in finished.records],
      "banks": {
        arm: {scope: store.bank_to_record(bank) for scope, bank in banks.items()}
        for arm, banks in finished.banks.items()
      },
    }
    write_atomically(self._folder / f"{index}.json", json.dumps(record))

  def remove(self) -> None:
    """The evaluation is written, and needs them no more."""
    shutil.rmtree(self._folder, ignore_errors=True)

  def _read(self) -> list[Pass]:
    path = self._folder / "made_with.json"
    if not path.exists():
      return []
    passes = []
    try:
      theirs = json.loads(path.read_text())
      while (path := self._folder / f"{len(passes)}.json").exists():
        passes.append(_read_pass(json.loads(path.read_text())))
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
      raise ConfigError(
        f"{path}: no finished pass can be read from it ({error}); remove {self._folder} "
        "to begin anew"
      ) from error
    changed = sorted(
      name
      for name in theirs.keys() | self._made_with.keys()
      if theirs.get(name) != self._made_with.get(name)
    )
    if passes and changed:
      raise ConfigError(
        f"{self._folder} holds {len(passes)} finished passes of another evaluation: "
        f"{', '.join(changed)} differ; restore them, remove that folder to begin anew, "
        "or give another --workdir"
      )
    return passes


def _read_pass(record: Mapping[str, Any]) -> Pass:
  return Pass(
    records=tuple(EpisodeRecord(**row) for row in record["records"]),
    banks={
      arm: {scope: store.bank_from_record(bank) for scope, bank in banks.items()}
      for arm, banks in record["banks"].items()
    },
    rollouts={},
  )
