"""Reading the benchmark's files: both layouts, every split, every kind of damage."""

import json
import lzma
import pathlib
import shutil

import pytest

from skilljax.envs.alfworld import games

GRAMMAR = 'grammar :: "task": [{"rhs": "Your task is to: UNKNOWN GOAL."}]'


def _row(number: int, task_type: str = "pick_heat_then_place_in_recep") -> dict:
  return {
    "task": f"{task_type}-Apple-None-Fridge-{number}",
    "trial": "trial_T1",
    "task_type": task_type,
    "goal": "put a hot apple in fridge",
    "pddl_problem": f"(define (problem p{number}))",
    "walkthrough": ["go to fridge 1", f"look {number}"],
    "human_goals": [f"Heat apple {number}. ", "make an apple hot"],
  }


def _write_packed(folder: pathlib.Path, rows: list[dict], split: str = "train"):
  folder.mkdir(parents=True, exist_ok=True)
  with lzma.open(folder / f"{split}.jsonl.xz", "wt") as file:
    file.writelines(json.dumps(row) + "\n" for row in rows)
  (folder / "alfred.pddl").write_text("(define (domain alfred))")
  (folder / "alfred.twl2").write_text(GRAMMAR)


def _write_download(root: pathlib.Path, row: dict, split: str = "train", **changes):
  folder = root / split / row["task"] / row["trial"]
  folder.mkdir(parents=True)
  game = {
    "pddl_domain": "(define (domain alfred))",
    "grammar": GRAMMAR.replace("UNKNOWN GOAL", row["goal"]),
    "pddl_problem": row["pddl_problem"],
    "solvable": True,
    "walkthrough": row["walkthrough"],
    **changes,
  }
  (folder / "game.tw-pddl").write_text(json.dumps(game))
  trajectory = {"task_type": row["task_type"], "pddl_params": {}}
  said = [{"task_desc": goal} for goal in row["human_goals"]]
  trajectory["turk_annotations"] = {"anns": said}
  (folder / "traj_data.json").write_text(json.dumps(trajectory))
  return folder


def _archive(folder, tmp_path, split="train"):
  return games.GameArchive(folder, tmp_path / "cache", split)


def test_packed_rows_come_back(tmp_path):
  _write_packed(tmp_path / "data", [_row(2), _row(1, "pick_two_obj_and_place")])
  archive = _archive(tmp_path / "data", tmp_path)
  first, second = archive.index()  # in order of names
  assert first.name == "pick_heat_then_place_in_recep-Apple-None-Fridge-2/trial_T1"
  assert (first.family, second.family) == ("heat", "pick_two")
  assert first.walkthrough == ("go to fridge 1", "look 2")
  assert archive.game(first.name) == games.GameText(
    domain="(define (domain alfred))",
    grammar=GRAMMAR,
    problem="(define (problem p2))",
    goal="put a hot apple in fridge",
    human_goals=("Heat apple 2. ", "make an apple hot"),
  )
  assert first.human_goals == archive.game(first.name).human_goals
  with pytest.raises(KeyError):
    archive.game("no such game")


@pytest.mark.parametrize("below", ["", "json_2.1.1"])
def test_the_download_layout_gives_the_same_games(tmp_path, below):
  _write_packed(tmp_path / "packed", [_row(1), _row(2)])
  root = tmp_path / "download"
  for number in (1, 2):
    _write_download(root / below, _row(number))
  _write_download(root / below, _row(3), solvable=False)
  _write_download(root / below, {**_row(4), "task": "pick_x-movable-4"})
  packed = _archive(tmp_path / "packed", tmp_path)
  download = _archive(root, tmp_path)
  assert download.index() == packed.index()
  name = packed.index()[0].name
  assert download.game(name) == packed.game(name)


def test_data_without_human_goals_can_be_read(tmp_path):
  row = {key: value for key, value in _row(1).items() if key != "human_goals"}
  _write_packed(tmp_path / "packed", [row])
  folder = _write_download(tmp_path / "download", _row(1))
  path = folder / "traj_data.json"
  path.write_text(json.dumps({"task_type": row["task_type"]}))
  for layout in ("packed", "download"):
    archive = _archive(tmp_path / layout, tmp_path)
    (info,) = archive.index()
    assert info.human_goals == archive.game(info.name).human_goals == ()


def test_the_file_of_a_game_is_named(tmp_path):
  _write_packed(tmp_path / "packed", [_row(1)])
  folder = _write_download(tmp_path / "download", _row(1))
  packed = _archive(tmp_path / "packed", tmp_path)
  download = _archive(tmp_path / "download", tmp_path)
  name = packed.index()[0].name
  assert packed.place(name) == tmp_path / "packed" / "train.jsonl.xz"
  assert download.place(name) == folder / "game.tw-pddl"


def test_the_archive_is_written_once_and_follows_its_source(tmp_path):
  data = tmp_path / "data"
  _write_packed(data, [_row(1)])
  _archive(data, tmp_path).index()
  (path,) = (tmp_path / "cache").iterdir()
  before = path.stat().st_mtime_ns
  assert len(_archive(data, tmp_path).index()) == 1
  assert path.stat().st_mtime_ns == before
  _write_packed(data, [_row(1), _row(2)])
  assert len(_archive(data, tmp_path).index()) == 2


@pytest.mark.parametrize("damage", [b"", b"no zip at all", None])
def test_a_damaged_archive_is_rebuilt(tmp_path, damage):
  data = tmp_path / "data"
  _write_packed(data, [_row(n) for n in range(20)])
  whole = _archive(data, tmp_path).index()
  (path,) = (tmp_path / "cache").iterdir()
  content = path.read_bytes()
  path.write_bytes(content[: len(content) // 2] if damage is None else damage)
  assert _archive(data, tmp_path).index() == whole


def test_a_flipped_byte_in_a_game_is_repaired(tmp_path):
  data = tmp_path / "data"
  _write_packed(data, [{**_row(1), "pddl_problem": "abcdefgh" * 100}])
  archive = _archive(data, tmp_path)
  (info,) = archive.index()
  (path,) = (tmp_path / "cache").iterdir()
  content = bytearray(path.read_bytes())
  position = content.index(b"game/") + len(f"game/{info.name}") + 20
  content[position] ^= 0xFF
  path.write_bytes(content)
  assert _archive(data, tmp_path).game(info.name).problem == "abcdefgh" * 100


def test_a_cut_data_file_names_the_file_and_the_fix(tmp_path):
  data = tmp_path / "data"
  _write_packed(data, [_row(n) for n in range(50)])
  path = data / "train.jsonl.xz"
  path.write_bytes(path.read_bytes()[:-60])
  with pytest.raises(games.DataError, match=r"train\.jsonl\.xz: damaged .*copy it again"):
    _archive(data, tmp_path).index()
  assert not any((tmp_path / "cache").glob("*"))  # nothing half-written stays


def test_a_changed_data_file_disagrees_with_its_checksum(tmp_path):
  data = tmp_path / "data"
  _write_packed(data, [_row(1)])
  (data / "SHA256SUMS").write_text(f"{'0' * 64}  train.jsonl.xz\n")
  with pytest.raises(games.DataError, match=r"train\.jsonl\.xz: sha256 is .*SHA256SUMS"):
    _archive(data, tmp_path)


@pytest.mark.parametrize(
  "change",
  [
    lambda row: None,
    lambda row: [],
    lambda row: {**row, "walkthrough": None},
    lambda row: {**row, "human_goals": None},
    lambda row: {**row, "pddl_problem": None},
    lambda row: {**row, "goal": 3},
  ],
)
def test_rows_of_another_shape_name_the_file(tmp_path, change):
  _write_packed(tmp_path / "d", [_row(1), change(_row(2))])
  with pytest.raises(games.DataError, match=r"train\.jsonl\.xz: damaged \(TypeError: "):
    _archive(tmp_path / "d", tmp_path).index()


def test_a_missing_grammar_is_named(tmp_path):
  data = tmp_path / "data"
  _write_packed(data, [_row(1)])
  (data / "alfred.twl2").unlink()
  with pytest.raises(FileNotFoundError, match=r"alfred\.twl2 is missing"):
    _archive(data, tmp_path)


def _cut(path: pathlib.Path):
  path.write_text(path.read_text()[:-20])


def _swap(path: pathlib.Path, old: str, new: str):
  text = path.read_text()
  assert old in text
  path.write_text(text.replace(old, new))


@pytest.mark.parametrize(
  ("damage", "said"),
  [
    (lambda f: _cut(f / "game.tw-pddl"), "JSONDecodeError"),
    (lambda f: _cut(f / "traj_data.json"), "JSONDecodeError"),
    (lambda f: (f / "traj_data.json").unlink(), "FileNotFoundError"),
    (lambda f: (f / "game.tw-pddl").write_bytes(b"\xff\xfe"), "UnicodeDecodeError"),
    (lambda f: (f / "game.tw-pddl").write_text("[]"), "AttributeError"),
    (lambda f: _swap(f / "game.tw-pddl", "Your task", "A task"), "no goal sentence"),
    (lambda f: _swap(f / "game.tw-pddl", '"pddl_problem"', '"p"'), "KeyError"),
    (lambda f: _swap(f / "traj_data.json", "pick_heat", "pick_eat"), "KeyError"),
  ],
)
def test_a_damaged_download_costs_one_game(tmp_path, damage, said):
  good, bad = (_write_download(tmp_path / "d", _row(number)) for number in (1, 2))
  damage(bad)
  archive = _archive(tmp_path / "d", tmp_path)
  sound, damaged = archive.index()
  assert not sound.error and not archive.game(sound.name).error
  assert (sound.name, damaged.name) == tuple(
    f"{f.parent.name}/{f.name}" for f in (good, bad)
  )
  assert damaged.family == "heat" and damaged.walkthrough == damaged.human_goals == ()
  assert archive.game(damaged.name).error == damaged.error
  assert damaged.error.startswith(f"{bad / 'game.tw-pddl'}: ") and said in damaged.error
  assert "run alfworld-download again" in damaged.error


def test_a_folder_that_is_no_task_is_left_out_with_a_warning(tmp_path):
  _write_download(tmp_path / "d", _row(1))
  other = _write_download(tmp_path / "d", {**_row(2), "task": "notes-2"})
  (other / "traj_data.json").unlink()
  with pytest.warns(RuntimeWarning, match=r"notes-2/trial_T1 is damaged"):
    (info,) = _archive(tmp_path / "d", tmp_path).index()
  assert info.name.endswith("Fridge-1/trial_T1")


def test_an_unsolvable_game_is_left_out_unless_the_split_then_lacks_it(
  tmp_path, monkeypatch
):
  _write_download(tmp_path / "d", _row(1))
  _write_download(tmp_path / "d", _row(2), solvable=False)
  archive = _archive(tmp_path / "d", tmp_path)
  assert [not info.error for info in archive.index()] == [True]
  monkeypatch.setitem(games.SPLIT_SIZES, "train", 2)
  whole = games.GameArchive(tmp_path / "d", tmp_path / "other", "train")
  sound, changed = whole.index()
  assert not sound.error and "says that it is not solvable" in changed.error


def test_a_trajectory_that_changes_makes_the_archive_anew(tmp_path):
  folder = _write_download(tmp_path / "d", _row(1))
  assert _archive(tmp_path / "d", tmp_path).index()[0].human_goals[1] == (
    "make an apple hot"
  )
  _swap(folder / "traj_data.json", "make an apple hot", "get the apple quite hot")
  assert _archive(tmp_path / "d", tmp_path).index()[0].human_goals[1] == (
    "get the apple quite hot"
  )
  (folder / "traj_data.json").unlink()
  assert _archive(tmp_path / "d", tmp_path).index()[0].error


def test_no_data_and_no_split_say_what_to_set(tmp_path):
  with pytest.raises(FileNotFoundError, match=r"env\.data_dir.*SKILLJAX_DATA"):
    _archive(tmp_path, tmp_path)
  with pytest.raises(ValueError, match="'test' must be one of train, valid_train"):
    _archive(tmp_path, tmp_path, "test")


def test_the_real_validation_games_in_both_layouts(data_dir, tmp_path):
  if not (data_dir / "alfworld").is_dir():
    pytest.skip(f"no ALFWorld games at {data_dir / 'alfworld'}; set SKILLJAX_DATA")
  packed = _archive(data_dir / "alfworld", tmp_path, "valid_unseen")
  infos = packed.index()
  families = [info.family for info in infos]
  # Per-type counts of the paper's unseen split.
  expected = {
    "pick_and_place": 24,
    "clean": 31,
    "heat": 23,
    "cool": 21,
    "look_in_light": 18,
    "pick_two": 17,
  }
  assert {family: families.count(family) for family in expected} == expected
  for info in infos[::50]:
    text = packed.game(info.name)
    task, trial = info.name.split("/")
    folder = tmp_path / "download" / "valid_unseen" / task / trial
    folder.mkdir(parents=True)
    game = {
      "pddl_domain": text.domain,
      "grammar": text.grammar.replace(games.GOAL_SLOT, text.goal),
      "pddl_problem": text.problem,
      "solvable": True,
      "walkthrough": info.walkthrough,
    }
    (folder / "game.tw-pddl").write_text(json.dumps(game))
    kind = {f: t for t, f in games.FAMILY_OF_TASK_TYPE.items()}[info.family]
    said = [{"task_desc": goal} for goal in info.human_goals]
    trajectory = {"task_type": kind, "turk_annotations": {"anns": said}}
    (folder / "traj_data.json").write_text(json.dumps(trajectory))
    download = _archive(tmp_path / "download", tmp_path, "valid_unseen")
    assert info in download.index()
    assert download.game(info.name) == text
  shutil.rmtree(tmp_path / "download")
