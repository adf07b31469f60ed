import json
import os

import pytest
from hypothesis import given

from skilljax.skills import files, store
from skilljax.skills.bank import SkillBank
from skilljax.skills.files import BankFileError
from tests.skills import strategies


@given(bank=strategies.banks())
def test_records_round_trip_any_bank(bank):
  record = json.loads(files.pretty_json(store.bank_to_record(bank)))
  assert strategies.whole(store.bank_from_record(record)) == strategies.whole(bank)


def test_files_round_trip_and_are_replaced(tmp_path, bank):
  path = tmp_path / "bank.json"
  store.save_bank(path, SkillBank())
  store.save_bank(path, bank)
  assert strategies.whole(store.load_bank(path)) == strategies.whole(bank)
  assert json.loads(path.read_text())["version"] == bank.version


def tampered(bank, change):
  record = store.bank_to_record(bank)
  change(record)
  return json.dumps(record)


@pytest.mark.parametrize(
  ("change", "problem"),
  [
    (lambda r: r["skills"][0].update(principle="obey me"), "checksum"),
    (lambda r: r["skills"][0]["provenance"].update(origin="seed2"), "checksum"),
    (lambda r: r.update(parent="0" * 16), "checksum"),
    (lambda r: r.update(next_index=99), "checksum"),
    (lambda r: r["skills"].pop(), "checksum"),
    (lambda r: r.pop("checksum"), "checksum"),
    (lambda r: r.update(extra=1), "checksum"),
    (lambda r: r.update(format_version=2), "format_version=2; this code reads 1"),
    (lambda r: r.update(format="zip"), "format must be 'skilljax-bank'"),
  ],
)
def test_tampered_files_are_refused_and_kept(tmp_path, bank, change, problem):
  path = tmp_path / "bank.json"
  text = tampered(bank, change)
  path.write_text(text)
  with pytest.raises(BankFileError, match=problem) as caught:
    store.load_bank(path)
  assert caught.value.path == str(path)
  assert "Restore" in caught.value.advice
  with pytest.raises(BankFileError, match="Move it away"):
    store.save_bank(path, bank)
  assert path.read_text() == text


def signed(record):
  """What an attacker who knows the format would write."""
  unsigned = {key: value for key, value in record.items() if key != "checksum"}
  return {**unsigned, "checksum": store._checksum(unsigned)}


@pytest.mark.parametrize(
  ("change", "problem"),
  [
    (lambda r: r["skills"][0].update(title="x"), "its skills hash to"),
    (lambda r: r["skills"][0].update(title=7), "Skill.title=7 must be of type str"),
    (lambda r: r["skills"][0].pop("title"), r"missing fields \['title'\]"),
    (lambda r: r["skills"][0].update(run="rm"), r"unknown \['run'\]"),
    (lambda r: r["skills"][0].update(skill_id="../x"), "is not a skill id"),
    (lambda r: r["skills"][0].update(skill_id="s2"), "ids must be unique"),
    (lambda r: r["skills"][0].update(provenance=[]), "expected an object"),
    (lambda r: r.update(next_index=1), "next_index=1"),
    (lambda r: r.update(next_index="6"), "invalid field"),
    (lambda r: r.update(parent=3), "invalid field"),
    (lambda r: r.pop("skills"), "invalid field"),
    (lambda r: r.update(skills={"a": 1}), "invalid field"),
  ],
)
def test_invalid_content_under_a_right_checksum(bank, change, problem):
  record = store.bank_to_record(bank)
  change(record)
  with pytest.raises(ValueError, match=problem):
    store.bank_from_record(signed(record))


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.99])
def test_cut_off_files_are_refused_and_kept(tmp_path, bank, share):
  path = tmp_path / "bank.json"
  store.save_bank(path, bank)
  raw = path.read_bytes()
  path.write_bytes(raw[: int(len(raw) * share)])
  with pytest.raises(BankFileError, match="cut off"):
    store.load_bank(path)
  with pytest.raises(BankFileError, match="Move it away"):
    store.save_bank(path, bank)
  assert path.read_bytes() == raw[: int(len(raw) * share)]


def test_a_flipped_byte_anywhere_never_passes_unseen(tmp_path, bank):
  path = tmp_path / "bank.json"
  store.save_bank(path, bank)
  raw = path.read_bytes()
  for place in range(0, len(raw), 7):
    broken = bytearray(raw)
    broken[place] ^= 1
    path.write_bytes(broken)
    try:
      loaded = store.load_bank(path)
    except BankFileError:
      continue
    # A flip in the layout between fields changes nothing that is read.
    assert strategies.whole(loaded) == strategies.whole(bank)


def test_a_kill_during_the_write_leaves_the_old_bank(tmp_path, monkeypatch, bank):
  path = tmp_path / "bank.json"
  store.save_bank(path, SkillBank())

  def killed(*_):
    raise SystemExit(137)

  monkeypatch.setattr(os, "replace", killed)
  with pytest.raises(SystemExit):
    store.save_bank(path, bank)
  monkeypatch.undo()
  assert store.load_bank(path) == SkillBank()
  store.save_bank(path, bank)
  assert store.load_bank(path) == bank
