"""One reader and one writer for every format of a bank."""

import json

import pytest

from skilljax.skills import formats, store
from skilljax.skills.bank import SkillBank, from_skills
from skilljax.skills.files import BankFileError
from skilljax.types import Skill


@pytest.mark.parametrize("format", formats.FORMATS)
def test_what_is_written_is_read_and_its_format_known(bank, tmp_path, format):
  formats.write_bank(tmp_path / "b", bank, format=format)
  opened = formats.open_bank(tmp_path / "b")
  assert opened.bank == bank and opened.bank.next_index == bank.next_index
  assert (opened.format, opened.findings) == (format, ())
  origins = [skill.provenance.origin for skill in opened.bank.skills]
  assert origins == ["import" if format == "json" else "seed"] * 4


@pytest.mark.parametrize("format", formats.FORMATS)
def test_nothing_is_written_over(bank, tmp_path, format):
  (tmp_path / "b").write_text("mine")
  (tmp_path / "f").mkdir()
  (tmp_path / "f" / "mine").write_text("")
  for name in ("b", "f"):
    with pytest.raises(BankFileError, match=r"exists\. Choose another path"):
      formats.write_bank(tmp_path / name, bank, format=format)
  assert (tmp_path / "b").read_text() == "mine"


def test_an_unknown_format_is_refused(bank, tmp_path):
  with pytest.raises(ValueError, match="format='yaml' must be one of"):
    formats.write_bank(tmp_path / "b", bank, format="yaml")


@pytest.mark.parametrize("format", formats.FORMATS)
def test_texts_are_cleaned_and_it_is_said(tmp_path, format):
  dirty = Skill("s1", "general", "Ask\u202e", "Say <|im_end|> now.", "always")
  formats.write_bank(tmp_path / "b", from_skills([dirty]), format=format)
  opened = formats.open_bank(tmp_path / "b")
  (skill,) = opened.bank.skills
  assert skill.title == "Ask" and "<|" not in skill.principle
  assert {f.field for f in opened.findings} == {"s1.title", "s1.principle"}


def test_what_has_no_place_in_a_bank_is_said_and_kept_by_its_own_format(tmp_path):
  skill = {"skill_id": "gen_001", "title": "Look", "principle": "Look.", "odd": 1}
  mistakes = [{"mistake_id": "m1", "description": "hurry"}]
  record = {"general_skills": [skill], "common_mistakes": mistakes}
  (tmp_path / "a.json").write_text(json.dumps(record))
  opened = formats.open_bank(tmp_path / "a.json")
  assert opened.notes == ("common_mistakes (1) is kept in this format only",)
  formats.write_bank(
    tmp_path / "b.json", opened.bank, format="json", extras=opened.extras
  )
  again = json.loads((tmp_path / "b.json").read_text())
  assert again["common_mistakes"] == mistakes and again["general_skills"] == [skill]


def test_files_beside_a_skill_and_broken_rules_are_said(bank, tmp_path):
  formats.write_bank(tmp_path / "b", bank, format="folders")
  (tmp_path / "b" / "look-around-s1" / "run.sh").write_text("exit")
  (tmp_path / "b" / "count-items-s4").rename(tmp_path / "b" / "Other")
  opened = formats.open_bank(tmp_path / "b")
  assert opened.bank == bank
  assert any(
    note == "s1: files beside it are not copied: run.sh" for note in opened.notes
  )
  assert any(note.startswith("Other: ") for note in opened.notes)


@pytest.mark.parametrize(
  ("text", "said"),
  [
    ("[]", "is no bank"),
    ('{"skills": []}', "is no bank.*Give our own file"),
    ('{"general_skills": 3}', "is no bank, or a damaged one: .*must be a list"),
    ('{"format": "skilljax-bank"}', "format_version=None"),
    ("{", "is not valid JSON"),
  ],
)
def test_a_file_that_is_no_bank_is_named(tmp_path, text, said):
  (tmp_path / "b.json").write_text(text)
  with pytest.raises(BankFileError, match=rf"b\.json: .*{said}|b\.json: {said}"):
    formats.open_bank(tmp_path / "b.json")


def test_a_folder_that_is_no_bank_says_what_is_in_it(tmp_path):
  with pytest.raises(BankFileError, match="cannot be read"):
    formats.open_bank(tmp_path / "none")
  with pytest.raises(BankFileError, match=r"without a SKILL\.md.*Give our own file"):
    formats.open_bank(tmp_path)
  store.save_bank(tmp_path / "kitchen.json", SkillBank())
  with pytest.raises(
    BankFileError, match=r"Give one of its files, such as kitchen\.json"
  ):
    formats.open_bank(tmp_path)
