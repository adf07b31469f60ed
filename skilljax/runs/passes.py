"""Finished passes of an evaluation under way: a killed one goes on after the last.

  <folder>/config.json              the resolved config, as a training run leaves it
  <folder>/passes/made_with.json    what the passes were made with
  <folder>/passes/<index>.json      records and banks of one pass

`passes` is gone when the evaluation is written; its summary then says what it was made
with, and the folder takes no other. Must not know about: how passes are made.
"""

import dataclasses
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from skilljax import hosts
from skilljax.checkpoint import run_stamp
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
    self._num = settings.eval.passes
    self._commits: list[str] = []

  def about(self) -> dict[str, Any]:
    """What a summary says of how it came about."""
    return {
      "made_with": self._made_with,
      "passes": self._num,
      "commits": sorted(set(self._commits)),  # more than one: killed, and gone on later
    }

  def finished(self) -> dict[str, Any] | None:
    """The summary, if this evaluation is whole already; on all hosts.

    Raises:
      ConfigError: the folder holds another evaluation.
    """
    return hosts.from_first(self._finished)

  def _finished(self) -> dict[str, Any] | None:
    path = self.results / "summary.json"
    if not path.exists():
      return None
    try:
      summary = json.loads(path.read_text())
      theirs = {"passes": summary.get("passes"), **summary["made_with"]}
    except KeyError:
      if self._folder.exists():  # left behind by an evaluation that is under way
        return None
      raise ConfigError(
        f"{path} is of an older version, which does not say what it was made with; give "
        "another --workdir, or remove it"
      ) from None
    except (OSError, ValueError, TypeError, AttributeError) as error:
      raise ConfigError(
        f"{path} is no summary of an evaluation ({error}); remove it, or give another "
        "--workdir"
      ) from error
    if changed := _changed(theirs, {"passes": self._num, **self._made_with}):
      raise ConfigError(
        f"{path} is the result of another evaluation: {', '.join(changed)} differ; give "
        "another --workdir, or remove it"
      )
    print(f"{path} is there already, nothing is played again", flush=True)
    return summary

  def begin(self) -> list[Pass]:
    """The finished passes, on all hosts; from here on the folder is this evaluation's.

    Raises:
      ConfigError: they were made with something else, or cannot be read.
    """
    return hosts.from_first(self._begin)

  def _begin(self) -> list[Pass]:
    passes = self._read()
    for name in ("summary.json", "records.json"):  # of an older version
      (self.results / name).unlink(missing_ok=True)
    write_atomically(self.results / "config.json", self._config)
    write_atomically(self._folder / "made_with.json", json.dumps(self._made_with))
    return passes

  def keep(self, index: int, finished: Pass) -> None:
    """Writes one pass; the first host does."""
    if not hosts.is_first():
      return
    self._commits.append(run_stamp()["git_commit"])
    record = {
      "commit": self._commits[-1],
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
        record = json.loads(path.read_text())
        passes.append(_read_pass(record))
        self._commits.append(record.get("commit", "unknown"))
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
      raise ConfigError(
        f"{path}: no finished pass can be read from it ({error}); remove {self._folder} "
        "to begin anew"
      ) from error
    changed = _changed(theirs, self._made_with)
    if passes and changed:
      raise ConfigError(
        f"{self._folder} holds {len(passes)} finished passes of another evaluation: "
        f"{', '.join(changed)} differ; restore them, remove that folder to begin anew, "
        "or give another --workdir"
      )
    return passes


def _changed(theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> list[str]:
  names = sorted(theirs.keys() | ours.keys())
  return [name for name in names if theirs.get(name) != ours.get(name)]


def _read_pass(record: Mapping[str, Any]) -> Pass:
  return Pass(
    records=tuple(EpisodeRecord(**row) for row in record["records"]),
    banks={
      arm: {scope: store.bank_from_record(bank) for scope, bank in banks.items()}
      for arm, banks in record["banks"].items()
    },
    rollouts={},
  )
