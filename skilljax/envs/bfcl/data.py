"""The multi-turn rows of BFCL v4 as the package holds them, and our split of them.

The package is installed without its dependencies (gigabytes of other people's clients):
its files are read as data here, and only modules without such imports are ever loaded.

Source: Berkeley Function Calling Leaderboard v4, bfcl-eval on PyPI, Apache-2.0.
Must not know about: episodes, policy text, execution.
"""

import dataclasses
import functools
import importlib
import importlib.metadata
import importlib.util
import json
import pathlib
import random
from collections.abc import Mapping
from types import ModuleType
from typing import Any

from skilljax.envs.data_files import DataError

VERSION = "2026.3.23"
INSTALL = f"pip install --no-deps bfcl-eval=={VERSION} && pip install mpmath"
FAMILIES = ("base", "miss_func", "miss_param", "long_context")
NUM_SCENARIOS = 200  # of each family
SPLITS = ("train", "dev", "test", "all")
_PREFIX = "BFCL_v4_multi_turn_"
# The main tool changes every 50 scenarios: files, vehicle, trading, travel.
_BLOCK = 50
_SIDES = ("train",) * 30 + ("dev",) * 5 + ("test",) * 15


@dataclasses.dataclass(frozen=True)
class Scenario:
  """One task of the benchmark.

  Attributes:
    name: the benchmark's id, such as 'multi_turn_base_0'.
    family: one of FAMILIES.
    messages: what the user says, in order; '' where only functions are added.
    classes: names of the tool classes, in the benchmark's order.
    config: tool class -> state that it begins with.
    held_out: index of a message -> functions that exist from there on.
    truth: the calls that answer each message; () where nothing can be done.
  """

  name: str
  family: str
  messages: tuple[str, ...]
  classes: tuple[str, ...]
  config: Mapping[str, Any]
  held_out: Mapping[int, tuple[str, ...]]
  truth: tuple[tuple[str, ...], ...]

  @property
  def number(self) -> int:
    """Which of the 200 stories it is; the four families tell the same ones."""
    return int(self.name.rsplit("_", 1)[1])


def package_module(name: str) -> ModuleType:
  """A module of the package by its name below it, such as 'constants.default_prompts'.

  Raises:
    ModuleNotFoundError: as `package_folder`.
  """
  package_folder()
  return importlib.import_module(f"bfcl_eval.{name}")


@functools.cache
def package_folder() -> pathlib.Path:
  """Where the package is installed. Imports none of it.

  Raises:
    ModuleNotFoundError: it, or mpmath, is not installed, or another version is; the
      message has the install line.
  """
  for name in ("bfcl_eval", "mpmath"):
    if importlib.util.find_spec(name) is None:
      raise ModuleNotFoundError(
        f"environment 'bfcl' needs the package {name}, which is not installed: {INSTALL}",
        name=name,
      )
  found = importlib.metadata.version("bfcl-eval")
  if found != VERSION:
    raise ModuleNotFoundError(
      f"environment 'bfcl' needs bfcl-eval {VERSION}, and {found} is installed; other "
      f"versions have other tasks: {INSTALL}",
      name="bfcl_eval",
    )
  (folder,) = importlib.util.find_spec("bfcl_eval").submodule_search_locations
  return pathlib.Path(folder)


def read_scenarios() -> dict[str, Scenario]:
  """All 800 tasks by name, in the benchmark's order, family by family.

  Raises:
    ModuleNotFoundError: as `package_folder`.
    DataError: the installed files are not those of the package, or damaged.
  """
  data = package_folder() / "data"
  scenarios = {}
  for family in FAMILIES:
    rows = _read_lines(data / f"{_PREFIX}{family}.json")
    answers = _read_lines(data / "possible_answer" / f"{_PREFIX}{family}.json")
    expected = [f"multi_turn_{family}_{number}" for number in range(NUM_SCENARIOS)]
    for found in (rows, answers):
      if [row["id"] for row in found] != expected:
        raise DataError(
          f"{data}: family {family!r} is not complete; install it again: {INSTALL}"
        )
    for row, answer in zip(rows, answers, strict=True):
      scenarios[row["id"]] = _scenario(family, row, answer["ground_truth"])
  return scenarios


def read_docs(class_name: str) -> dict[str, dict[str, Any]]:
  """The documentation of a tool class by function: description, parameters, response.

  Raises:
    ModuleNotFoundError: as `package_folder`.
    DataError: the file is damaged.
  """
  files = package_module("constants.executable_backend_config")
  name = files.MULTI_TURN_FUNC_DOC_FILE_MAPPING[class_name]
  rows = _read_lines(package_folder() / "data" / "multi_turn_func_doc" / name)
  return {row["name"]: row for row in rows}


def split_sides(scenarios: Mapping[str, Scenario]) -> dict[int, str]:
  """Number of a story -> 'train', 'dev' or 'test'. The benchmark itself has no split.

  Of every 50 stories around one main tool, 30 go to train, 5 to dev and 15 to test, by a
  fixed shuffle. All four families of a story are on one side, and so are stories that
  begin from the same state (eight of them, which moves the sizes a little).
  """
  sides = {}
  for start in range(0, NUM_SCENARIOS, _BLOCK):
    drawn = random.Random(f"bfcl/split/{start}").sample(_SIDES, _BLOCK)
    sides |= dict(enumerate(drawn, start))
  first: dict[str, int] = {}
  for number in range(NUM_SCENARIOS):
    config = scenarios[f"multi_turn_base_{number}"].config
    leader = first.setdefault(json.dumps(config, sort_keys=True), number)
    sides[number] = sides[leader]
  return sides


def _read_lines(path: pathlib.Path) -> list[dict[str, Any]]:
  rows = []
  try:
    with open(path, encoding="utf-8") as file:
      for line in file:
        rows.append(json.loads(line))
  except (OSError, ValueError) as error:
    raise DataError(
      f"{path}: damaged after line {len(rows)} ({type(error).__name__}: {error}); "
      f"install it again: {INSTALL}"
    ) from error
  return rows


def _scenario(family: str, row: Mapping[str, Any], truth: list[list[str]]) -> Scenario:
  held_out = row.get("missed_function", {})
  return Scenario(
    name=row["id"],
    family=family,
    messages=tuple(
      "\n".join(message["content"] for message in turn) for turn in row["question"]
    ),
    classes=tuple(row["involved_classes"]),
    config=row["initial_config"],
    held_out={int(turn): tuple(names) for turn, names in held_out.items()},
    truth=tuple(map(tuple, truth)),
  )


@dataclasses.dataclass(frozen=True)
class Benchmark:
  """The benchmark, read when first asked for. Raises as `read_scenarios`."""

  @functools.cached_property
  def scenarios(self) -> dict[str, Scenario]:
    """Name -> task, all 800."""
    return read_scenarios()

  @functools.cached_property
  def sides(self) -> dict[int, str]:
    """Number of a story -> split."""
    return split_sides(self.scenarios)

  @functools.cached_property
  def docs(self) -> dict[str, dict[str, dict[str, Any]]]:
    """Tool class -> function -> documentation."""
    names = sorted({name for s in self.scenarios.values() for name in s.classes})
    return {name: read_docs(name) for name in names}
