import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skilljax.skills import bank_json
from skilljax.skills.bank import from_skills
from skilljax.skills.bank_json import bank_from_record, bank_to_record
from skilljax.skills.files import BankFileError
from skilljax.types import Edit, Provenance
from tests.skills import strategies


def released():
  """The shape of a SkillRL bank file, with our own words."""
  return {
    "general_skills": [
      {"skill_id": "gen_002", "title": "A", "principle": "a.", "when_to_apply": "x"},
      {"skill_id": "gen_001", "title": "B", "principle": "b.", "when_to_apply": "y"},
      {"skill_id": "dyn_001", "title": "C", "principle": "c.", "next_skills": [1.5]},
    ],
    "task_specific_skills": {
      "heat": [
        {"skill_id": "hea_001", "title": "D", "principle": "d.", "when_to_apply": "z"}
      ],
      "examine": [],
    },
    "common_mistakes": [
      {
        "mistake_id": "err_001",
        "description": "e",
        "why_it_happens": "f",
        "how_to_avoid": "g",
      }
    ],
    "metadata": {"source": "traces", "total_memories_analyzed": 3},
  }


def test_a_released_file_comes_back_unchanged(tmp_path):
  path = tmp_path / "bank.json"
  path.write_text(json.dumps(released()))
  found = bank_json.import_json(path)
  skills = [(s.skill_id, s.category, s.title) for s in found.bank.skills]
  assert skills == [
    ("s1", "general", "A"),
    ("s2", "general", "B"),
    ("s3", "general", "C"),
    ("s4", "heat", "D"),
  ]
  assert found.bank.skills[2].when_to_apply == ""
  assert found.extras.top["common_mistakes"][0]["how_to_avoid"] == "g"
  bank_json.export_json(found.bank, tmp_path / "out.json", extras=found.extras)
  assert json.loads((tmp_path / "out.json").read_text()) == released()


def test_edits_show_in_the_file_and_nothing_else_does():
  found = bank_from_record(released())
  provenance = Provenance()
  bank = found.bank.apply(
    Edit("update", "", "A2", "a2.", "x2", "s1"), provenance=provenance
  )
  bank = bank.apply(Edit("retire", skill_id="s2"), provenance=provenance)
  bank = bank.apply(Edit("propose", "cool", "N", "n.", "m"), provenance=provenance)
  record = bank_to_record(bank, found.extras)
  wanted = released()
  first = {"skill_id": "gen_002", "title": "A2", "principle": "a2."}
  first["when_to_apply"] = "x2"
  wanted["general_skills"] = [first, released()["general_skills"][2]]
  wanted["task_specific_skills"]["cool"] = [
    {"skill_id": "s5", "title": "N", "principle": "n.", "when_to_apply": "m"}
  ]
  wanted["metadata"]["skilljax"] = {"next_index": 6, "parent": bank.parent}
  assert record == wanted


@given(bank=strategies.banks())
def test_our_banks_round_trip_in_content(bank):
  record = json.loads(json.dumps(bank_to_record(bank, bank_json.JsonExtras())))
  found = bank_from_record(record)
  assert found.bank == bank
  assert found.bank.version == bank.version
  assert (found.bank.next_index, found.bank.parent) == (bank.next_index, bank.parent)
  assert bank_to_record(found.bank, found.extras) == record


foreign_skills = st.lists(
  st.fixed_dictionaries(
    {"title": strategies.texts, "principle": strategies.texts},
    optional={
      "skill_id": st.sampled_from(("gen_001", "s2", "s1", "x")),
      "when_to_apply": strategies.texts,
      "more": st.integers(),
    },
  ),
  max_size=4,
)


@given(
  general=foreign_skills,
  specific=st.dictionaries(st.sampled_from(("heat", "cool", "")), foreign_skills),
  mistakes=st.lists(st.dictionaries(strategies.texts, st.integers())),
)
def test_any_file_of_this_shape_round_trips(general, specific, mistakes):
  record = {
    "general_skills": general,
    "task_specific_skills": specific,
    "common_mistakes": mistakes,
  }
  found = bank_from_record(record)
  assert bank_to_record(found.bank, found.extras) == record


@pytest.mark.parametrize(
  ("ids", "kept"),
  [
    (("s2", "s7"), ("s2", "s7")),
    (("s7", "s2"), ("s1", "s2")),  # the bank's order could not give this list back
    (("s2", "s2"), ("s1", "s2")),
    (("s2", "gen_001"), ("s1", "s2")),
  ],
)
def test_which_ids_are_kept(ids, kept):
  record = {
    "general_skills": [
      {"skill_id": skill_id, "title": title, "principle": "p", "when_to_apply": "w"}
      for skill_id, title in zip(ids, "AB", strict=True)
    ],
    "task_specific_skills": {},
  }
  found = bank_from_record(record)
  assert [(s.skill_id, s.title) for s in found.bank.skills] == [
    (kept[0], "A"),
    (kept[1], "B"),
  ]
  written = bank_to_record(found.bank, found.extras)
  assert written["general_skills"] == record["general_skills"]


@pytest.mark.parametrize(
  ("record", "problem"),
  [
    ([], "is not a JSON bank"),
    ({"skills": []}, "needs general_skills and task_specific_skills"),
    ({"general_skills": {}}, "must be a list"),
    ({"general_skills": [3]}, "skill 0 of category 'general' must be an object"),
    ({"general_skills": [{"title": 3}]}, "title must be a string"),
    ({"task_specific_skills": []}, "object of lists"),
    ({"task_specific_skills": {"general": []}}, "belongs in general_skills"),
    (
      {"general_skills": [], "metadata": {"skilljax": {"next_index": 0}}},
      "next_index >= 1",
    ),
  ],
)
def test_files_of_another_shape(tmp_path, record, problem):
  path = tmp_path / "bank.json"
  path.write_text(json.dumps(record))
  with pytest.raises(BankFileError, match=problem) as caught:
    bank_json.import_json(path)
  assert caught.value.path == str(path)


def test_an_empty_bank_has_all_sections():
  assert bank_to_record(from_skills([]), bank_json.JsonExtras()) == {
    "general_skills": [],
    "task_specific_skills": {},
    "common_mistakes": [],
  }
