"""The files of the ALFWorld benchmark: which games exist, and one game by its name.

Two layouts are read: packed rows (`<split>.jsonl.xz` with one domain and one grammar) and
the benchmark's own download (`<split>/<task>/<trial>/game.tw-pddl`). Either is turned
once into one archive per split in the cache folder, from which a worker reads single
games; the archive's name holds the fingerprint of its source, a damaged one is rebuilt.

A packed file that is damaged is refused whole. Of a download each game is a file of its
own: a damaged one stays in the index, with the reason, and costs its own episodes only.

Must not know about: the engine, episodes, rewards.
"""

import dataclasses
import hashlib
import json
import lzma
import os
import pathlib
import re
import tempfile
import warnings
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from typing import Any

from skilljax.envs.data_files import DataError, read_sums

SPLIT_SIZES = {"train": 3553, "valid_train": 200, "valid_seen": 140, "valid_unseen": 134}
FAMILY_OF_TASK_TYPE = {
  "pick_and_place_simple": "pick_and_place",
  "pick_two_obj_and_place": "pick_two",
  "look_at_obj_in_light": "look_in_light",
  "pick_heat_then_place_in_recep": "heat",
  "pick_cool_then_place_in_recep": "cool",
  "pick_clean_then_place_in_recep": "clean",
}
GOAL_SLOT = "UNKNOWN GOAL"  # the grammar's own placeholder
_GOAL_RULE = re.compile(r"Your task is to: ([^\"\n]*?)\.(?=\")")
_INDEX = "index.json"
_TRAJECTORY = "traj_data.json"  # in the folder of a downloaded game
_FORMAT = "3"


@dataclasses.dataclass(frozen=True)
class GameInfo:
  """One line of a split's index.

  Attributes:
    name: '<task>/<trial>', unique in the split.
    family: short family name.
    goal: goal sentence without its full stop.
    walkthrough: the plan that came with the game, one command each.
    human_goals: crowd-written goal sentences, as they were written; () if the data have
      none.
    error: why the game cannot be played, with its file and the fix; '' if it can. Then
      goal, walkthrough and human goals are empty.
  """

  name: str
  family: str
  goal: str
  walkthrough: tuple[str, ...]
  human_goals: tuple[str, ...]
  error: str = ""


@dataclasses.dataclass(frozen=True)
class GameText:
  """What the engine needs of one game. The grammar still holds `GOAL_SLOT`.

  `error` is that of `GameInfo`; where there is one, the texts are empty.
  """

  domain: str
  grammar: str
  problem: str
  goal: str
  human_goals: tuple[str, ...]
  error: str = ""


class GameArchive:
  """All games of one split, by name. Opens nothing before it is asked."""

  def __init__(self, data_dir: pathlib.Path, cache_dir: pathlib.Path, split: str):
    """See `open_source` for the layouts of `data_dir`.

    Raises:
      ValueError: unknown split.
    """
    if split not in SPLIT_SIZES:
      raise ValueError(f"split={split!r} must be one of {', '.join(SPLIT_SIZES)}")
    self._source = open_source(data_dir, split)
    self._path = cache_dir / f"games-{split}-{self._source.fingerprint()[:24]}.zip"
    self._archive: zipfile.ZipFile | None = None

  def index(self) -> tuple[GameInfo, ...]:
    """All games of the split, in order of their names."""
    rows = json.loads(self._read(_INDEX))
    lists = ("walkthrough", "human_goals")
    return tuple(GameInfo(**{**r, **{k: tuple(r[k]) for k in lists}}) for r in rows)

  def place(self, name: str) -> pathlib.Path:
    """The file that a game comes from, for messages."""
    return self._source.place(name)

  def game(self, name: str) -> GameText:
    """One game. Raises KeyError if the split has no game of this name."""
    row = json.loads(self._read(f"game/{name}"))
    texts = {part: self._read(f"text/{row[part]}") for part in ("domain", "grammar")}
    return GameText(
      problem=row["problem"],
      goal=row["goal"],
      human_goals=tuple(row["human_goals"]),
      error=row["error"],
      **texts,
    )

  def _read(self, member: str) -> str:
    # A damaged archive costs its rebuilding, nothing else; twice is the disk's fault.
    for attempt in range(2):
      try:
        if self._archive is None:
          if attempt or not self._path.exists():
            _write_archive(self._path, self._source.rows())
          self._archive = zipfile.ZipFile(self._path)
        return self._archive.read(member).decode("utf-8")
      except (zipfile.BadZipFile, EOFError, OSError, zlib.error) as error:
        self._archive = None
        failure = error
    raise DataError(
      f"{self._path}: the archive just written is unreadable ({failure}); is the disk "
      "full? (config key env.cache_dir)"
    )


class PackedSource:
  """Rows of `<split>.jsonl.xz`, with `alfred.pddl` and `alfred.twl2` beside them."""

  def __init__(self, folder: pathlib.Path, split: str):
    self._rows_path = folder / f"{split}.jsonl.xz"
    self._domain_path = folder / "alfred.pddl"
    self._grammar_path = folder / "alfred.twl2"

  def place(self, name: str) -> pathlib.Path:
    """The file of a game."""
    del name
    return self._rows_path

  def fingerprint(self) -> str:
    """Digest of all three files. Raises DataError where SHA256SUMS disagrees."""
    sums = read_sums(self._rows_path.with_name("SHA256SUMS"))
    digest = hashlib.sha256(_FORMAT.encode("ascii"))
    for path in (self._rows_path, self._domain_path, self._grammar_path):
      found = hashlib.sha256(_read_bytes(path)).hexdigest()
      if found != sums.get(path.name, found):
        raise DataError(
          f"{path}: sha256 is {found}, SHA256SUMS says {sums[path.name]}; the file is "
          "damaged, copy it again"
        )
      digest.update(found.encode("ascii"))
    return digest.hexdigest()

  def rows(self) -> Iterator[dict[str, Any]]:
    """Archive rows. Raises DataError if the file is cut or no JSON."""
    domain = _read_bytes(self._domain_path).decode("utf-8")
    grammar = _read_bytes(self._grammar_path).decode("utf-8")
    if GOAL_SLOT not in grammar:
      raise DataError(f"{self._grammar_path}: has no {GOAL_SLOT!r}; copy it again")
    try:
      with lzma.open(self._rows_path, "rt", encoding="utf-8") as lines:
        for line in lines:
          yield _packed_row(json.loads(line), domain, grammar)
    except (
      *(lzma.LZMAError, EOFError, ValueError, KeyError),
      *(TypeError, AttributeError),  # JSON of another shape
    ) as error:
      raise DataError(
        f"{self._rows_path}: damaged ({type(error).__name__}: {error}); copy it again "
        "and compare it with SHA256SUMS"
      ) from error


class DownloadSource:
  """The benchmark's own folder of one split."""

  def __init__(self, folder: pathlib.Path, split: str):
    self._folder = folder / split
    self._num_games = SPLIT_SIZES[split]

  def place(self, name: str) -> pathlib.Path:
    """The file of a game."""
    return self._folder / name / "game.tw-pddl"

  def _paths(self) -> list[pathlib.Path]:
    paths = sorted(self._folder.glob("*/*/game.tw-pddl"))
    # As the packaged loader does: these trials are not text games.
    return [p for p in paths if "movable" not in str(p) and "Sliced" not in str(p)]

  def fingerprint(self) -> str:
    """Digest of the folder's listing: names, sizes, times of change."""
    digest = hashlib.sha256(_FORMAT.encode("ascii"))
    for path in self._paths():
      for file in (path, path.with_name(_TRAJECTORY)):
        entry = f"{file.resolve()}:absent\n"
        if file.exists():
          stat = file.stat()
          entry = f"{file.resolve()}:{stat.st_size}:{stat.st_mtime_ns}\n"
        digest.update(entry.encode("utf-8"))
    return digest.hexdigest()

  def rows(self) -> Iterator[dict[str, Any]]:
    """Archive rows of the solvable games, and of the damaged ones with their error."""
    num, unsolvable = 0, []
    for path in self._paths():
      row = self._row(path)
      if row is None:
        unsolvable.append(path)
      elif row["family"]:
        num += 1
        yield row
      else:  # no task that could be asked for
        warnings.warn(row["error"], RuntimeWarning, stacklevel=2)
    # The benchmark leaves unsolvable games out. Where it has exactly those more than
    # there are, it is the files that changed.
    if num + len(unsolvable) == self._num_games:
      for path in unsolvable:
        yield _damaged_row(path, "it says that it is not solvable")

  def _row(self, path: pathlib.Path) -> dict[str, Any] | None:
    """One game; None for one that says that it is not solvable."""
    try:
      game = json.loads(path.read_text("utf-8"))
      trajectory = json.loads(path.with_name(_TRAJECTORY).read_text("utf-8"))
      if game.get("solvable") is not True:
        return None
      return _download_row(path, game, trajectory)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
      return _damaged_row(path, f"{type(error).__name__}: {error}")


def open_source(folder: pathlib.Path, split: str) -> PackedSource | DownloadSource:
  """Recognises the layout of a data folder.

  Args:
    folder: holds `<split>.jsonl.xz`, or `<split>/` or `json_2.1.1/<split>/` with games.
    split: a key of `SPLIT_SIZES`.
  Raises:
    FileNotFoundError: neither layout is there.
  """
  if (folder / f"{split}.jsonl.xz").is_file():
    return PackedSource(folder, split)
  for root in (folder, folder / "json_2.1.1"):
    if (root / split).is_dir():
      return DownloadSource(root, split)
  raise FileNotFoundError(
    f"{folder}: no ALFWorld games of split {split!r}: expected {split}.jsonl.xz, or the "
    f"folder {split}/ that alfworld-download makes (config key env.data_dir, or variable "
    "SKILLJAX_DATA for the folder above)"
  )


def _packed_row(row: Mapping[str, Any], domain: str, grammar: str) -> dict[str, Any]:
  for key in ("goal", "pddl_problem"):
    if not isinstance(row[key], str):
      raise TypeError(f"{key} of a game is {row[key]!r}, not text")
  return {
    "name": f"{row['task']}/{row['trial']}",
    "family": FAMILY_OF_TASK_TYPE[row["task_type"]],
    "goal": row["goal"],
    "walkthrough": list(row["walkthrough"]),
    "human_goals": list(row.get("human_goals", [])),
    "problem": row["pddl_problem"],
    "domain": domain,
    "grammar": grammar,
    "error": "",
  }


def _download_row(
  path: pathlib.Path, game: Mapping[str, Any], trajectory: Mapping[str, Any]
) -> dict[str, Any]:
  goal = _GOAL_RULE.search(game["grammar"])
  if goal is None:
    raise ValueError("its grammar has no goal sentence")
  start, stop = goal.span(1)
  annotations = trajectory.get("turk_annotations", {}).get("anns", [])
  return {
    "name": f"{path.parent.parent.name}/{path.parent.name}",
    "family": FAMILY_OF_TASK_TYPE[trajectory["task_type"]],
    "goal": goal[1],
    "walkthrough": game["walkthrough"],
    "human_goals": [annotation["task_desc"] for annotation in annotations],
    "problem": game["pddl_problem"],
    "domain": game["pddl_domain"],
    "grammar": game["grammar"][:start] + GOAL_SLOT + game["grammar"][stop:],
    "error": "",
  }


def _damaged_row(path: pathlib.Path, reason: str) -> dict[str, Any]:
  """A game in name only; family '' where its folder is none of the benchmark's."""
  name = f"{path.parent.parent.name}/{path.parent.name}"
  return {
    "name": name,
    "family": FAMILY_OF_TASK_TYPE.get(name.partition("-")[0], ""),
    "walkthrough": [],
    "human_goals": [],
    **dict.fromkeys(("goal", "problem", "domain", "grammar"), ""),
    "error": f"{path}: game {name} is damaged ({reason[:200]}); run alfworld-download "
    "again, or copy the game's folder again (config key env.data_dir)",
  }


def _read_bytes(path: pathlib.Path) -> bytes:
  try:
    return path.read_bytes()
  except FileNotFoundError as error:
    raise FileNotFoundError(f"{path} is missing (config key env.data_dir)") from error


def _write_archive(path: pathlib.Path, rows: Iterator[dict[str, Any]]):
  """Writes to a temporary file first: readers see all of it or nothing."""
  path.parent.mkdir(parents=True, exist_ok=True)
  handle, temporary = tempfile.mkstemp(dir=path.parent, suffix=".tmp")
  try:
    with os.fdopen(handle, "wb") as file:
      _fill_archive(file, rows)
    os.replace(temporary, path)
  except BaseException:
    os.unlink(temporary)
    raise


def _fill_archive(file, rows: Iterator[dict[str, Any]]):
  index, texts = [], set()
  # Level 1: a train split is 200 MB of text, and this runs in front of the user.
  with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
    for row in rows:
      keys = {key: row[key] for key in ("problem", "goal", "human_goals", "error")}
      for part in ("domain", "grammar"):
        key = hashlib.sha256(row[part].encode("utf-8")).hexdigest()[:24]
        if key not in texts:
          archive.writestr(f"text/{key}", row[part])
          texts.add(key)
        keys[part] = key
      archive.writestr(f"game/{row['name']}", json.dumps(keys))
      fields = [field.name for field in dataclasses.fields(GameInfo)]
      index.append({field: row[field] for field in fields})
    index.sort(key=lambda entry: entry["name"])
    archive.writestr(_INDEX, json.dumps(index))
