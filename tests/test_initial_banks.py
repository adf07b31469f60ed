"""Banks that a run starts with: two formats, file or folder, and what is refused."""

import json

import pytest

from skilljax.config import ConfigError
from skilljax.runs.initial_banks import fingerprint, read_initial_banks
from skilljax.skills import formats, store
from skilljax.skills.bank import GENERAL, SkillBank, from_skills
from skilljax.skills.edits import EditLimits
from skilljax.types import Skill
from tests.rollout.worlds import SOURCE

SCOPES = tuple(SOURCE.scopes("train"))
FAMILY = SOURCE.families[0]


def skill(category=FAMILY, title="oven", principle="use the oven."):
  return Skill("", category, title, principle, "always")


BANK = from_skills([skill(), skill(GENERAL, "look", "look first.")], next_index=5)


def read(path, **limits):
  return read_initial_banks(
    path, source=SOURCE, split="train", limits=EditLimits(**limits)
  )


def test_one_file_begins_every_scope(tmp_path):
  store.save_bank(tmp_path / "b.json", BANK)
  banks = read(tmp_path / "b.json")
  assert tuple(banks) == SCOPES and set(banks.values()) == {BANK}
  # Ids are those of the file: later edits of the run refer to them.
  assert [s.skill_id for s in banks[SCOPES[0]].skills] == ["s5", "s6"]


def test_a_folder_begins_the_scopes_it_names(tmp_path):
  store.save_bank(tmp_path / f"{SCOPES[2]}.json", SkillBank())
  with pytest.raises(ConfigError, match="holds no skill"):
    read(tmp_path)
  store.save_bank(tmp_path / f"{SCOPES[1]}.json", BANK)
  banks = read(tmp_path)
  assert banks == {SCOPES[1]: BANK, SCOPES[2]: SkillBank()}
  assert fingerprint(banks) != fingerprint({SCOPES[0]: BANK}) != fingerprint({}) == ""
  assert fingerprint(banks) != fingerprint({SCOPES[1]: SkillBank()})


def test_a_file_of_skillrl_is_read_and_cleaned(tmp_path):
  item = {"skill_id": "gen_001", "title": "Look\nfirst", "principle": "Look.", "x": 1}
  record = {
    "general_skills": [{**item, "when_to_apply": "Always"}],
    "task_specific_skills": {},
    "common_mistakes": [],
  }
  (tmp_path / "b.json").write_text(json.dumps(record))
  (made,) = read(tmp_path / "b.json")[SCOPES[0]].skills
  assert (made.title, made.category) == ("Look first", GENERAL)


@pytest.mark.parametrize(
  ("bank", "message"),
  [
    (SkillBank(), "holds no skill"),
    (from_skills([skill("swim")]), "wrong_category: category='swim'"),
    (from_skills([skill(principle="x" * 50)]), r"s1 is too_long.*max_principle_chars"),
    (from_skills([skill(), skill(title="b")]), "s2 is duplicate"),
  ],
)
def test_what_no_edit_could_have_written_is_refused(bank, message, tmp_path):
  store.save_bank(tmp_path / "b.json", bank)
  with pytest.raises(ConfigError, match=rf"{message}.*train\.initial_banks"):
    read(tmp_path / "b.json", max_principle_chars=40)


def test_what_is_not_there_is_refused(tmp_path):
  with pytest.raises(ConfigError, match=r"none' does not exist .*train\.initial_banks"):
    read(tmp_path / "none")
  with pytest.raises(ConfigError, match=r"holds no \.json file"):
    read(tmp_path)
  (tmp_path / "elsewhere.json").write_text("{}")
  with pytest.raises(ConfigError, match=r"\['elsewhere'\] are no scopes .*estate"):
    read(tmp_path)
  (tmp_path / "elsewhere.json").write_text('{"a": ')
  with pytest.raises(ConfigError, match=r"train\.initial_banks"):
    read(tmp_path / "elsewhere.json")


def test_a_folder_of_skills_is_one_bank_for_every_scope(tmp_path):
  formats.write_bank(tmp_path / "skills", BANK, format="folders")
  banks = read(tmp_path / "skills")
  assert tuple(banks) == SCOPES and set(banks.values()) == {BANK}
