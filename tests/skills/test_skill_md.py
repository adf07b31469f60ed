import os
import pathlib
import tempfile

import pytest
import yaml
from hypothesis import given, settings

from skilljax.skills import front_matter, skill_document, skill_md
from skilljax.skills.bank import SkillBank
from skilljax.skills.files import BankFileError
from skilljax.types import Provenance, Skill
from tests.skills import strategies

FOREIGN = """---
name: pdf-forms
description: Fills PDF forms. Use when the user has a PDF form.
license: Apache-2.0
compatibility: Requires python3
metadata:
  author: someone
  version: 1.0
allowed-tools: Read Bash(git:*)
x-vendor: {nested: [1, two]}
---

# PDF forms

1. Read `references/FORMS.md`.
2. Run scripts/fill.py
"""


def write(path, text):
  path.parent.mkdir(parents=True, exist_ok=True)
  path.write_text(text, encoding="utf-8")


@given(bank=strategies.banks())
@settings(max_examples=60)
def test_any_bank_round_trips_exactly_and_keeps_the_public_limits(bank):
  with tempfile.TemporaryDirectory() as place:
    root = pathlib.Path(place, "skills")
    names = skill_md.export_folders(bank, root)
    assert len(names) == len(bank.skills)
    back = skill_md.import_folders(root)
    assert strategies.whole(back.bank) == strategies.whole(bank)
    assert back.bank.version == bank.version
    for name in names:
      # An independent reader: any YAML parser must agree.
      text = (root / name / "SKILL.md").read_text(encoding="utf-8")
      front = yaml.safe_load(text.split("\n---\n")[0])
      assert front_matter.violations(front, name) == ()


def test_the_file_reads_like_a_skill(tmp_path, bank):
  names = skill_md.export_folders(bank, tmp_path / "out")
  assert names == (
    "look-around-s1",
    "shut-the-door-s2",
    "count-items-s4",
    "switch-it-on-s5",
  )
  assert (tmp_path / "out" / "shut-the-door-s2" / "SKILL.md").read_text() == (
    "---\n"
    "name: shut-the-door-s2\n"
    "description: heating\n"
    "metadata:\n"
    "  skilljax-id: s2\n"
    "  skilljax-category: heat\n"
    "  skilljax-title: Shut the door\n"
    "  skilljax-origin: seed\n"
    "  skilljax-task: ''\n"
    "  skilljax-policy-version: '-1'\n"
    "  skilljax-parent: ''\n"
    "  skilljax-reason: ''\n"
    "---\n"
    "\n"
    "Close the microwave first.\n"
  )


@pytest.mark.parametrize(
  "title", ["../../x", "/etc/passwd", "..", "a/b\\c", "con\x00", "~", "x" * 10**4, "日本"]
)
def test_no_title_escapes_the_folder(tmp_path, title):
  bank = SkillBank((Skill("s1", "../g", title, "p", "w"),), 2)
  before = {entry.name for entry in tmp_path.iterdir()}
  names = skill_md.export_folders(bank, tmp_path / "out")
  assert all(front_matter.is_name(name) for name in names)
  written = [p for p in tmp_path.rglob("*") if p.is_file()]
  assert len(written) == 2
  assert all(path.is_relative_to(tmp_path / "out") for path in written)
  assert {entry.name for entry in tmp_path.iterdir()} - before == {"out"}
  assert skill_md.import_folders(tmp_path / "out").bank == bank


@pytest.mark.parametrize(
  ("skill", "problem"),
  [
    (Skill("s1", "g", "x" * 10**6, "p", "w"), "s1 does not fit .* at most 65536"),
    (Skill("s1", "g", "t", "p" * 2**20, "w"), "takes 10.* bytes, at most 1048576"),
  ],
)
def test_what_could_not_be_read_back_is_not_written(tmp_path, skill, problem):
  with pytest.raises(BankFileError, match=problem):
    skill_md.export_folders(SkillBank((skill,), 2), tmp_path / "out")
  assert os.listdir(tmp_path) == []


def test_a_hostile_folder_name_in_extras_is_not_used(tmp_path, bank):
  extras = {
    "s1": skill_md.FolderExtras(name="../../up"),
    "s2": skill_md.FolderExtras(name="count-items-s4"),  # the name of another skill
    "s4": skill_md.FolderExtras(name="tally"),
    "s5": skill_md.FolderExtras(name="tally"),
  }
  names = skill_md.export_folders(bank, tmp_path / "out", extras=extras)
  assert names == ("look-around-s1", "shut-the-door-s2", "tally", "switch-it-on-s5")
  assert skill_md.import_folders(tmp_path / "out").bank == bank


def test_foreign_folders_are_kept_whole(tmp_path):
  root = tmp_path / "skills"
  write(root / "pdf-forms" / "SKILL.md", FOREIGN)
  write(root / "pdf-forms" / "scripts" / "fill.py", "raise SystemExit('never run me')")
  write(root / "pdf-forms" / "references" / "FORMS.md", "x")
  write(root / "alone" / "SKILL.md", "---\nname: alone\ndescription: d\n---\nbody")
  write(root / ".git" / "SKILL.md", "no skill")
  write(root / "notes" / "README.md", "no skill")
  found = skill_md.import_folders(root)
  assert [s.title for s in found.bank.skills] == ["alone", "pdf-forms"]
  skill = found.bank.get("s2")
  assert skill.category == "general"
  assert skill.when_to_apply == "Fills PDF forms. Use when the user has a PDF form."
  assert skill.principle.startswith("# PDF forms\n\n1. Read `references/FORMS.md`.\n2.")
  assert skill.provenance.origin == "import"
  assert found.extras["s2"] == skill_md.FolderExtras(
    name="pdf-forms",
    front={
      "license": "Apache-2.0",
      "compatibility": "Requires python3",
      "allowed-tools": "Read Bash(git:*)",
      "x-vendor": {"nested": ["1", "two"]},
    },
    metadata={"author": "someone", "version": "1.0"},
    files=("references/FORMS.md", "scripts/fill.py"),
  )
  again = tmp_path / "again"
  skill_md.export_folders(found.bank, again, extras=found.extras)
  back = skill_md.import_folders(again)
  assert strategies.whole(back.bank) == strategies.whole(found.bank)
  assert back.extras["s2"].front == found.extras["s2"].front
  assert back.extras["s2"].metadata == found.extras["s2"].metadata
  assert back.extras["s2"].files == ()


def test_added_foreign_folders_get_new_ids_never_retired_ones(tmp_path, bank):
  root = tmp_path / "out"
  skill_md.export_folders(SkillBank(bank.skills, 9), root)
  write(root / "a-new" / "SKILL.md", "---\nname: a-new\ndescription: d\n---\nbody")
  found = skill_md.import_folders(root)
  assert found.bank.get("s9").title == "a-new"
  assert found.extras["s9"].name == "a-new"
  assert found.extras["s1"].name == "look-around-s1"
  assert found.bank.next_index == 10


def test_an_editors_change_wins_over_the_exact_copy(tmp_path):
  bank = SkillBank((Skill("s1", "heat", "T", "one\x07two", ""),), 2)
  (name,) = skill_md.export_folders(bank, tmp_path / "out")
  path = tmp_path / "out" / name / "SKILL.md"
  text = path.read_text()
  assert "skilljax-exact" in text
  assert "one\ufffdtwo" in text
  assert skill_md.import_folders(tmp_path / "out").bank == bank
  path.write_text(text.replace("one\ufffdtwo", "one, two"))
  assert skill_md.import_folders(tmp_path / "out").bank.skills[0].principle == "one, two"


def test_plain_texts_need_no_exact_copy():
  skill = Skill("s1", "heat", "T", "one\n\ttwo", "when", Provenance("policy", "t", 3))
  assert "skilljax-exact" not in skill_document.to_fields(skill)[2]


def test_violations_stop_a_strict_import_and_are_listed_otherwise(tmp_path):
  write(tmp_path / "Bad" / "SKILL.md", "---\nname: other\n---\nbody")
  with pytest.raises(BankFileError, match=r"folder name 'Bad'.*description.*strict"):
    skill_md.import_folders(tmp_path)
  found = skill_md.import_folders(tmp_path, strict=False)
  assert len(found.violations) == 2
  assert found.bank.skills[0].title == "Bad"


@pytest.mark.parametrize(
  ("text", "problem"),
  [
    ("---\nname: !!python/name:os.system x\n---\n", "YAML tag"),
    ("plain", "must start with"),
    ("---\nname: a\nmetadata: {skilljax-id: ../x}\n---\n", "is not a skill id"),
    ("---\nname: a\nmetadata: {skilljax-id: s1, skilljax-exact: '{'}\n---\n", "damaged"),
    (
      "---\nname: a\nmetadata: {skilljax-id: s1, skilljax-policy-version: x}\n---\n",
      "invalid literal",
    ),
    ("---\nname: a\n---\n" + "x" * 2**20, "larger than"),
  ],
)
def test_damaged_documents(tmp_path, text, problem):
  write(tmp_path / "a" / "SKILL.md", text)
  with pytest.raises(BankFileError, match=problem) as caught:
    skill_md.import_folders(tmp_path, strict=False)
  assert caught.value.path.endswith("SKILL.md")


def test_links_are_refused(tmp_path):
  outside = tmp_path / "secret"
  write(outside / "SKILL.md", "---\nname: secret\ndescription: d\n---\nkey")
  root = tmp_path / "root"
  root.mkdir()
  (root / "secret").symlink_to(outside)
  with pytest.raises(BankFileError, match="symbolic link"):
    skill_md.import_folders(root)
  (root / "secret").unlink()
  (root / "file").mkdir()
  (root / "file" / "SKILL.md").symlink_to(outside / "SKILL.md")
  with pytest.raises(BankFileError, match="symbolic link"):
    skill_md.import_folders(root)


def test_repeated_ids_and_damaged_manifests(tmp_path, bank):
  root = tmp_path / "out"
  skill_md.export_folders(bank, root)
  manifest = root / "skilljax-bank.json"
  for text, problem in (
    ('{"format": "x"}', "format must be"),
    ('{"format": "skilljax-skill-folders", "format_version": 2}', "format_version=2"),
    (
      '{"format": "skilljax-skill-folders", "format_version": 1, "next_index": "6"}',
      "damaged",
    ),
    ("{", "not valid JSON"),
  ):
    manifest.write_text(text)
    with pytest.raises(BankFileError, match=problem):
      skill_md.import_folders(root)
  manifest.unlink()
  text = (root / "look-around-s1" / "SKILL.md").read_text()
  write(root / "copy" / "SKILL.md", text.replace("name: look-around-s1", "name: copy"))
  with pytest.raises(BankFileError, match=r"repeated: \['s1'\]"):
    skill_md.import_folders(root)


def test_export_is_all_or_nothing(tmp_path, monkeypatch, bank):
  root = tmp_path / "out"
  write(root / "mine.txt", "keep me")
  with pytest.raises(BankFileError, match="not an empty folder"):
    skill_md.export_folders(bank, root)
  assert (root / "mine.txt").read_text() == "keep me"

  def fail(*_):
    raise OSError("no space")

  monkeypatch.setattr(os, "replace", fail)
  with pytest.raises(BankFileError, match="no space"):
    skill_md.export_folders(bank, tmp_path / "new")
  assert os.listdir(tmp_path) == ["out"]
  with pytest.raises(BankFileError, match="cannot be read"):
    skill_md.import_folders(tmp_path / "nowhere")
