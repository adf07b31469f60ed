"""The command that shows a bank and turns it into another format."""

import dataclasses

import pytest

from experiments import bank as command
from skilljax.skills import formats, store
from skilljax.skills.bank import from_skills
from skilljax.types import Provenance, Skill
from tests import test_command_line

WRITTEN = Provenance("policy", "estate-1/3", 12, "", "it \x1b[2J failed before")
BANK = from_skills(
  [
    Skill("", "heat", "Shut the door", "Close it first.", "heating", WRITTEN),
    Skill("", "general", "Look", "Visit each place once.", "always"),
  ]
)
SHOWN = f"""\
bank {BANK.version}: 2 skills

general (1)
  s2  Look: Visit each place once.
      when: always
      from: seed

heat (1)
  s1  Shut the door: Close it first.
      when: heating
      from: policy, update 12, task estate-1/3
      why:  it \ufffd[2J failed before
"""


@pytest.fixture
def path(tmp_path):
  store.save_bank(tmp_path / "bank.json", BANK)
  return tmp_path / "bank.json"


def said(capsys, **flags):
  given = {"since": None, "out": None, "format": None, **flags}
  command.run(**{name: value and str(value) for name, value in given.items()})
  return capsys.readouterr().out


def test_a_bank_is_shown_without_control_characters(path, capsys):
  assert said(capsys, bank=path) == SHOWN


def test_what_changed_is_shown(path, tmp_path, capsys):
  first = dataclasses.replace(BANK, skills=BANK.skills[:1])
  store.save_bank(tmp_path / "first.json", first)
  shown = said(capsys, bank=path, since=tmp_path / "first.json")
  assert shown == "+ s2 [general] Look: Visit each place once.\n"


def test_there_and_back_through_every_format(path, tmp_path, capsys):
  folder, theirs, back = tmp_path / "skills", tmp_path / "t.json", tmp_path / "b.json"
  assert said(capsys, bank=path, out=folder) == f"2 skills as folders: {folder}\n"
  assert (folder / "shut-the-door-s1" / "SKILL.md").is_file()
  said(capsys, bank=folder, out=theirs, format="json")
  assert formats.open_bank(theirs).format == "json"
  said(capsys, bank=folder, out=back)
  found = store.load_bank(back)
  assert [(s, s.provenance) for s in found.skills] == [
    (s, s.provenance) for s in BANK.skills
  ]


def test_no_bank_ends_the_command_with_one_line(tmp_path):
  done = test_command_line.command("bank", f"--bank={tmp_path / 'none.json'}")
  assert done.returncode == 1
  assert done.stderr.startswith("bank error: ") and "none.json: cannot be" in done.stderr
  assert "Traceback" not in done.stderr
