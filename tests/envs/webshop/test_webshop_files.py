"""Reading the published files: both layouts, compression, damage, a larger catalogue."""

import dataclasses
import gzip
import hashlib
import io
import json
import lzma
import shutil

import pytest

from skilljax.envs import data_files
from skilljax.envs.data_files import DataError
from skilljax.envs.webshop import (
  WebshopSettings,
  WebshopSource,
  files,
  goal_list,
)
from skilljax.envs.webshop.files import read_list


def _product(number: int, **changes) -> dict:
  return {
    "asin": f"B{number:09d}",
    "name": f"Red shoe {number}",
    "full_description": "",
    "small_description": ["soft"],
    "pricing": "$10.00",
    "customization_options": {"Size": [{"value": "S/M"}, {"value": "L"}], "Fit": None},
    "category": "fashion",
    "query": "Shoes ",
    "product_category": "Clothing › Shoes",
    "images": [],
    **changes,
  }


_ENTRY = {
  "attributes": ["soft"],
  "instruction": "Find me shoes",
  "instruction_attributes": ["soft"],
}


def _write(folder, products, entries=None, human=None):
  folder.mkdir(exist_ok=True)
  entries = entries or {product["asin"]: _ENTRY for product in products}
  (folder / "items_shuffle_1000.json").write_text(json.dumps(products))
  (folder / "items_ins_v2_1000.json").write_text(json.dumps(entries))
  if human is not None:
    (folder / "items_human_ins.json").write_text(json.dumps(human))


@pytest.fixture
def own(tmp_path):
  """Settings for data of one's own in `data/`."""
  folder = tmp_path / "data"
  return WebshopSettings(
    data_dir=str(folder), cache_dir=str(tmp_path / "cache"), require_official=False
  )


def test_the_loader_follows_the_published_rules(own, tmp_path):
  products = [
    _product(1, pricing="$1,234.50 - $2,000"),
    _product(1, name="a repeated id"),
    _product(2, asin="nan"),
    _product(3, asin="much too long an id"),
    _product(4, pricing="", small_description="one text", customization_options=""),
  ]
  _write(tmp_path / "data", products)
  catalogue, listed = goal_list.open_data(own)
  assert [p.asin for p in catalogue] == ["B000000001", "B000000004"]
  first, last = catalogue
  assert (first.prices, first.price_tag) == ((1234.5, 2000.0), "$1234.5 to $2000.0")
  assert first.options == {"size": ["s | m", "l"]}
  assert first.query == "shoes"
  assert (last.prices, last.price_tag, last.bullets) == (
    (100.0,),
    "$100.0",
    ("one text",),
  )
  assert 1234.5 <= listed.prices[0] <= 2000.0
  sentences = sorted(goal.instruction for goal in listed.goals)
  assert sentences[:2] == ["Find me shoes with size: l", "Find me shoes with size: s | m"]
  assert sentences[2].startswith("Find me shoes, and price lower than 1")
  with pytest.raises(IndexError, match=r"number=2 must be in \[0, 2\)"):
    catalogue.product(2)


def test_an_empty_option_list_gives_no_goal(own, tmp_path):
  none = _product(1, customization_options={"size": []})
  _write(tmp_path / "data", [none, _product(2)])
  _, listed = goal_list.open_data(own)
  assert {goal.asin for goal in listed.goals} == {"B000000002"}


@pytest.mark.parametrize(("suffix", "opener"), [(".gz", gzip.open), (".xz", lzma.open)])
def test_the_download_layout_and_compressed_files_are_equal(
  settings, shop, webshop_data, tmp_path, suffix, opener
):
  for name, target in (
    ("items_shuffle_1000.json", "items_shuffle_1000.json"),
    ("items_ins_v2_1000.json", "items_ins_v2_1000.json"),
    ("items_human_ins_1000.json", "items_human_ins.json"),
  ):
    with opener(tmp_path / f"{target}{suffix}", "wb") as file:
      file.write((webshop_data / name).read_bytes())
  other = dataclasses.replace(settings, data_dir=str(tmp_path))
  catalogue, listed = goal_list.open_data(other)  # passes the check for the official one
  assert catalogue.digest == shop[0].digest
  assert listed.goals == shop[1].goals


def test_other_contents_are_refused_unless_allowed(own, tmp_path):
  _write(tmp_path / "data", [_product(1)])
  strict = dataclasses.replace(own, require_official=True)
  with pytest.raises(
    DataError, match=r"not those of the official .*require_official=False"
  ):
    goal_list.open_data(strict)
  assert len(goal_list.open_data(own)[1].goals) == 2


def test_a_wrong_checksum_is_named(own, tmp_path):
  _write(tmp_path / "data", [_product(1)])
  sums = f"{'0' * 64}  items_shuffle_1000.json\n"
  (tmp_path / "data" / "SHA256SUMS").write_text(sums)
  with pytest.raises(
    DataError, match=r"items_shuffle_1000.json: sha256 is .*copy it again"
  ):
    goal_list.open_data(own)


@pytest.mark.parametrize("name", ["items_shuffle_1000.json", "items_ins_v2_1000.json"])
@pytest.mark.parametrize("kept", [0.5, 0.0])
def test_truncated_files_are_named(own, tmp_path, name, kept):
  folder = tmp_path / "data"
  _write(folder, [_product(number) for number in range(50)])
  content = (folder / name).read_bytes()
  (folder / name).write_bytes(content[: int(kept * len(content))])
  with pytest.raises(DataError, match=f"{name}: damaged .*copy it again"):
    goal_list.open_data(own)
  assert not list((tmp_path / "cache").glob("*.tmp"))


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"pricing": "10 euro"}, "no dollar sign"),
    ({"name": None}, "its title is no text"),
    ({"customization_options": {"size": [{}]}}, "KeyError: 'value'"),
  ],
)
def test_damaged_products_are_named(own, tmp_path, changes, message):
  _write(tmp_path / "data", [_product(0), _product(1, **changes)])
  with pytest.raises(DataError, match=f"product 1 .*{message}"):
    goal_list.open_data(own)


def test_a_huge_damaged_list_is_given_up_early(monkeypatch):
  monkeypatch.setattr(files, "_CHUNK", 100)
  monkeypatch.setattr(files, "_MAX_ENTRY_CHARS", 800)
  damaged = io.StringIO('[{"asin": "B000000001", "name": "' + "x" * 100_000)
  with pytest.raises(ValueError, match="Unterminated string"):
    list(files._entries(damaged))
  assert damaged.tell() < 1500
  whole = io.StringIO(json.dumps([{"name": "x" * 700}, {"name": "y"}]))
  assert [len(entry["name"]) for entry in files._entries(whole)] == [700, 1]


def test_attributes_of_another_catalogue_are_refused(own, tmp_path):
  _write(tmp_path / "data", [_product(1)], entries={"B999999999": _ENTRY})
  with pytest.raises(DataError, match="B000000001 has no entry in the attributes file"):
    goal_list.open_data(own)
  entry = {"B000000001": {**_ENTRY, "instruction_attributes": []}}
  _write(tmp_path / "data", [_product(1)], entries=entry)
  with pytest.raises(DataError, match="has an instruction without attributes"):
    goal_list.open_data(own)


def test_with_human_goals_some_attributes_may_be_missing(own, tmp_path):
  """The published loader then writes a stand-in for them, and asks for no instruction."""
  products = [_product(number) for number in (1, 2, 3)]
  entries = {"B000000001": _ENTRY}
  instruction = {
    "instruction": "shoes",
    "instruction_attributes": ["soft"],
    "instruction_options": [],
  }
  _write(tmp_path / "data", products, entries, {"B000000002": [instruction]})
  human = dataclasses.replace(own, human_goals=True)
  catalogue, listed = goal_list.open_data(human)
  assert [product.attributes for product in catalogue] == [
    ("soft",),
    *[("DUMMY_ATTR",)] * 2,
  ]
  assert catalogue.product(1).instruction is None
  assert catalogue.without_attributes == ("B000000002", "B000000003")
  assert [goal.asin for goal in listed.goals] == ["B000000002"]
  with pytest.raises(DataError, match=r"B000000002 .*, like 2 of 3 .*env\.human_goals"):
    goal_list.open_data(own)
  # A file of another catalogue helps nobody.
  _write(tmp_path / "data", products, {"B999999999": _ENTRY}, {"B000000002": []})
  with pytest.raises(
    DataError, match=r"B000000001 has no entry .*, like 3 of 3 products"
  ):
    goal_list.open_data(human)


def test_large_files_are_compared_with_their_sums_once(own, tmp_path, monkeypatch):
  monkeypatch.setattr(files, "_MAX_HASHED_BYTES", 100)
  _write(tmp_path / "data", [_product(1)])
  sums = tmp_path / "data" / "SHA256SUMS"
  sums.write_text(f"{'0' * 64}  items_shuffle_1000.json\n")
  with pytest.raises(DataError, match=r"items_shuffle_1000.json: sha256 is .*copy it ag"):
    goal_list.open_data(own)
  assert not list((tmp_path / "cache").glob("products-*"))
  content = (tmp_path / "data" / "items_shuffle_1000.json").read_bytes()
  digest = hashlib.sha256(content).hexdigest()
  sums.write_text(f"{digest}  items_shuffle_1000.json\n")
  assert len(goal_list.open_data(own)[0]) == 1
  sums.write_text(f"{'0' * 64}  items_shuffle_1000.json\n")
  goal_list.open_once.cache_clear()  # another process: it reads the small files only
  assert len(goal_list.open_data(own)[0]) == 1


def test_human_goals_need_their_file_and_products(own, tmp_path):
  human = dataclasses.replace(own, human_goals=True)
  _write(tmp_path / "data", [_product(1)])
  with pytest.raises(FileNotFoundError, match=r"items_human_ins.json .*env.human_goals"):
    goal_list.open_data(human)
  entry = {
    "instruction": "shoes.",
    "instruction_attributes": ["soft"],
    "instruction_options": ["l"],
  }
  _write(tmp_path / "data", [_product(1)], human={"B999999999": [entry]})
  with pytest.raises(DataError, match="no instruction for any product"):
    goal_list.open_data(human)
  half = {key: value for key, value in entry.items() if key != "instruction_attributes"}
  for damaged in (half, {**entry, "instruction": None}):
    _write(tmp_path / "data", [_product(1)], human={"B000000001": [damaged]})
    with pytest.raises(DataError, match="an instruction is incomplete"):
      goal_list.open_data(human)
  empty = {**entry, "instruction_attributes": []}
  _write(tmp_path / "data", [_product(1)], human={"B000000001": [entry, empty]})
  (goal,) = goal_list.open_data(human)[1].goals
  assert goal.options == ["l"] and goal.instruction.startswith("shoes, and price")


def test_without_data_the_error_names_key_and_variable(monkeypatch, tmp_path):
  monkeypatch.delenv("SKILLJAX_DATA", raising=False)
  with pytest.raises(FileNotFoundError, match=r"env\.data_dir.*SKILLJAX_DATA"):
    WebshopSource(WebshopSettings()).tasks("train")
  monkeypatch.setenv("SKILLJAX_DATA", str(tmp_path))
  with pytest.raises(FileNotFoundError, match=r"webshop: no items_shuffle_1000.json"):
    WebshopSource(WebshopSettings()).tasks("train")


@pytest.mark.parametrize("damage", ["truncate", "flip", "delete", "foreign"])
def test_damaged_derived_files_are_made_again(own, tmp_path, damage):
  _write(tmp_path / "data", [_product(number) for number in range(3)])
  before = goal_list.open_data(own)[1].goals
  (folder,) = (tmp_path / "cache").glob("products-*")
  target = folder / "products.jsonl"
  content = target.read_bytes()
  if damage == "truncate":
    target.write_bytes(content[:-10])
  elif damage == "flip":
    target.write_bytes(content.replace(b"Red", b"Rex"))
  elif damage == "delete":
    target.unlink()
  else:
    shutil.rmtree(folder)
    folder.mkdir()
    (folder / "notes.txt").write_text("mine")
  goal_list.open_once.cache_clear()  # as another process finds it
  catalogue, listed = goal_list.open_data(own)
  assert [product.title for product in catalogue] == [f"Red shoe {n}" for n in range(3)]
  assert listed.goals == before


def test_a_failed_build_leaves_nothing_behind(tmp_path):
  def build(folder):
    (folder / "half").write_text("x")
    raise KeyboardInterrupt

  with pytest.raises(KeyboardInterrupt):
    data_files.derived_folder(tmp_path / "it", build)
  assert list(tmp_path.iterdir()) == []


def test_lists_are_read_in_chunks(tmp_path, monkeypatch):
  monkeypatch.setattr("skilljax.envs.webshop.files._CHUNK", 7)
  entries = [{"a": "x" * n, "b": [n, {"c": "]"}]} for n in range(30)]
  path = tmp_path / "list.json"
  path.write_text(json.dumps(entries, indent=1))
  assert list(read_list(path)) == entries
  path.write_text("{}")
  with pytest.raises(DataError, match="no JSON list"):
    list(read_list(path))


@pytest.mark.parametrize("content", [b"abc  x.json\nstray\n", b"\xff\xfe"])
def test_a_damaged_list_of_checksums_is_named(tmp_path, content):
  (tmp_path / "SHA256SUMS").write_bytes(content)
  with pytest.raises(DataError, match="SHA256SUMS: no list of checksums"):
    data_files.read_sums(tmp_path / "SHA256SUMS")
