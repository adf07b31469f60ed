import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skilljax.skills import lineage
from skilljax.skills.edits import apply_edit
from skilljax.skills.files import BankFileError
from skilljax.skills.lineage import LineageEntry
from skilljax.types import Edit, Provenance
from tests.skills import strategies

EDITS = (
  Edit("propose", "cool", "Fridge", "Open  it\nfirst.", "cooling", reason="é"),
  Edit("update", "", "Door", "Shut it.", "heating", "s2", "clearer"),
  Edit("keep", reason="fine"),
  Edit("retire", skill_id="s1"),
)


def step(bank, edit, update, utility=None):
  provenance = Provenance("policy", "household/train/x#0", update)
  outcome = apply_edit(
    bank, edit, categories=("general", "heat", "cool"), provenance=provenance
  )
  entry = LineageEntry(
    outcome.bank.version, bank.version, outcome.edit, provenance, utility
  )
  return outcome.bank, entry


@pytest.fixture
def run(tmp_path, bank):
  """A history of four edits: (path, first bank, last bank, entries)."""
  path, current, entries = tmp_path / "history.jsonl", bank, []
  for update, edit in enumerate(EDITS):
    current, entry = step(current, edit, update, 0.1 * update if update else None)
    lineage.append_history(path, entry)
    entries.append(entry)
  return path, bank, current, tuple(entries)


def test_history_rebuilds_the_last_bank_exactly(run):
  path, first, last, entries = run
  assert lineage.load_history(path) == entries
  rebuilt = lineage.rebuild(first, lineage.load_history(path))
  assert strategies.whole(rebuilt) == strategies.whole(last)
  assert rebuilt.parent == entries[-1].parent


def test_appending_leaves_earlier_bytes_alone(run, bank):
  path, _, last, _ = run
  before = path.read_bytes()
  _, entry = step(last, Edit("propose", "heat", "x" * 60, "y" * 1000, "z" * 1000), 9)
  for _ in range(3):  # lines longer than one block are read back too
    lineage.append_history(path, entry)
  assert path.read_bytes().startswith(before)
  assert len(lineage.load_history(path)) == 7


@pytest.mark.parametrize("number", range(4))
@pytest.mark.parametrize("field", ["utility", "version", "parent"])
def test_a_changed_line_is_found(run, number, field):
  path = run[0]
  lines = path.read_text().splitlines()
  record = json.loads(lines[number])
  record[field] = 9.5 if field == "utility" else "0" * 16
  lines[number] = json.dumps(record)
  path.write_text("\n".join(lines) + "\n")
  with pytest.raises(BankFileError, match=f"line {number + 1} or one before"):
    lineage.load_history(path)


def test_a_missing_or_swapped_line_is_found(run):
  path = run[0]
  lines = path.read_text().splitlines()
  for broken in (lines[1:], [lines[1], lines[0], *lines[2:]], [*lines, lines[0]]):
    path.write_text("\n".join(broken) + "\n")
    with pytest.raises(BankFileError):
      lineage.load_history(path)


@pytest.mark.parametrize("line", ["{}", "[]", "7", '{"chain": "x"}', "not json"])
def test_a_damaged_line_is_named(run, line):
  path = run[0]
  with open(path, "a") as file:
    file.write(line + "\n")
  with pytest.raises(BankFileError, match="5"):
    lineage.load_history(path)


def test_a_death_while_appending_loses_only_that_line(run):
  path, _, last, entries = run
  whole = path.read_text()
  torn = '{"chain":"abc","edi'
  path.write_text(whole + torn)
  _, entry = step(last, EDITS[2], 5)
  with pytest.raises(BankFileError, match="repair_history"):
    lineage.load_history(path)
  with pytest.raises(BankFileError, match="repair_history"):
    lineage.append_history(path, entry)
  assert path.read_text() == whole + torn
  assert lineage.repair_history(path) == torn
  assert path.with_suffix(".jsonl.torn").read_text() == torn + "\n"
  assert lineage.load_history(path) == entries
  assert lineage.repair_history(path) == ""
  lineage.append_history(path, entry)
  assert len(lineage.load_history(path)) == 5


def test_rebuild_refuses_a_chain_that_does_not_fit(run):
  _, first, _, entries = run
  with pytest.raises(ValueError, match="entry 1 starts from bank"):
    lineage.rebuild(first, entries[1:])
  forged = LineageEntry("0" * 16, first.version, EDITS[0], Provenance())
  with pytest.raises(ValueError, match="entry 1 should give bank '0000"):
    lineage.rebuild(first, [forged])
  lost = LineageEntry("", first.version, Edit("retire", skill_id="s99"), Provenance())
  with pytest.raises(ValueError, match="cannot be applied: not_found"):
    lineage.rebuild(first, [lost])


def test_utility_must_be_finite(tmp_path, bank):
  entry = LineageEntry("", "", EDITS[2], Provenance(), math.inf)
  with pytest.raises(ValueError, match="utility=inf"):
    lineage.append_history(tmp_path / "h", entry)
  assert not (tmp_path / "h").exists()


@given(bank=strategies.banks(), edits=st.lists(strategies.edits, max_size=6))
def test_any_accepted_history_rebuilds(bank, edits):
  current, entries = bank, []
  for update, edit in enumerate(edits):
    current, entry = step(current, edit, update)
    if entry.version != entry.parent:
      entries.append(entry)
  assert strategies.whole(lineage.rebuild(bank, entries)) == strategies.whole(current)
