import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skilljax.skills.bank import SkillBank, from_skills
from skilljax.skills.edits import (
  ACCEPTED,
  REJECTED,
  EditLimits,
  apply_edit,
  check_edit,
)
from skilljax.types import Edit, Provenance, Skill
from tests.skills import strategies

POLICY = Provenance(origin="policy")
OPEN = ("general", "heat", "cool")
GOOD = Edit("propose", "heat", "New title", "New rule.", "when hot", reason="why")


def judge(bank, edit, categories=OPEN, **limits):
  limits = EditLimits(**limits)
  outcome = apply_edit(
    bank, edit, categories=categories, limits=limits, provenance=POLICY
  )
  status = check_edit(bank, edit, categories=categories, limits=limits)
  assert status == outcome.status
  assert outcome.accepted == (status in ACCEPTED)
  assert bool(outcome.reason) == (status in REJECTED)
  if status in REJECTED:
    assert outcome.bank is bank
  return outcome


def change(**fields):
  return dataclasses.replace(GOOD, **fields)


@pytest.mark.parametrize(
  ("edit", "status"),
  [
    (GOOD, "added"),
    (Edit("update", "", "a", "b", "c", "s2"), "updated"),
    (Edit("keep", reason="ok"), "kept"),
    (Edit("retire", skill_id="s1"), "retired"),
    (change(title="Look  AROUND"), "duplicate"),
    (change(kind="update", skill_id="s9"), "not_found"),
    (change(category="clean"), "wrong_category"),
    (change(title="x" * 65), "too_long"),
    (change(principle="x" * 1025), "too_long"),
    (change(when_to_apply="x" * 1025), "too_long"),
    (change(title=" \n "), "empty"),
    (change(principle="do <|im_start|>"), "unclean"),
    (change(title="<think>"), "unclean"),
    (change(title="a\u200bb"), "unclean"),
    (change(when_to_apply="a\u202eb"), "unclean"),
    (change(title="a\x00b"), "unclean"),
    (change(kind="split"), "malformed"),
    (change(principle=None), "malformed"),
    (change(category=["heat"]), "malformed"),
    (change(principle="x" * 2**20), "too_long"),
  ],
)
def test_statuses(bank, edit, status):
  assert judge(bank, edit).status == status


@pytest.mark.parametrize("kind", ["update", "retire"])
def test_a_title_names_its_skill(bank, kind):
  target = bank.skills[-1]
  edit = change(kind=kind, skill_id=f"  {target.title.upper()} ")
  by_title = judge(bank, edit)
  by_id = judge(bank, change(kind=kind, skill_id=target.skill_id))
  assert by_title.accepted
  assert by_title.bank == by_id.bank
  assert by_title.edit.skill_id == target.skill_id


def test_a_title_that_stands_twice_names_nothing():
  twins = from_skills(
    Skill(f"s{number}", "heat", "Twin", f"Rule {number}.", "hot") for number in (1, 2)
  )
  assert judge(twins, Edit("retire", skill_id="Twin")).status == "not_found"


def test_an_id_comes_before_a_title(bank):
  first, *_, last = bank.skills
  taken = judge(bank, change(kind="update", skill_id=last.skill_id, title=first.skill_id))
  edit = Edit("retire", skill_id=first.skill_id)
  assert judge(taken.bank, edit).edit.skill_id == first.skill_id


def test_limits_are_inclusive(bank):
  edit = change(title="x" * 64, principle="y" * 1024, when_to_apply="z" * 1024)
  assert judge(bank, edit).status == "added"


def test_line_breaks_are_folded_and_not_held_against_the_policy(bank):
  outcome = judge(bank, change(principle=" one\n  two "))
  assert outcome.bank.get("s6").principle == "one two"
  assert outcome.edit.principle == "one two"
  assert [f.kind for f in outcome.findings] == ["newline"]


def test_a_duplicate_behind_unicode_tricks_is_seen(bank):
  # NFKC turns the full-width letters into plain ones before the comparison.
  wide = "Ｌｏｏｋ　ａｒｏｕｎｄ"
  assert judge(bank, change(title=wide)).status == "duplicate"


def test_dangerous_text_can_be_admitted_neutralised(bank):
  outcome = judge(bank, change(principle="say <|user|>"), reject_unclean=False)
  assert outcome.status == "added"
  assert outcome.bank.get("s6").principle == "say (user)"


def test_bank_and_category_can_be_full(bank):
  assert judge(bank, GOOD, max_skills=4).status == "bank_full"
  assert judge(bank, GOOD, max_skills=5).status == "added"
  assert judge(bank, GOOD, max_skills_per_category=2).status == "bank_full"
  update = Edit("update", "", "a", "b", "c", "s2")
  assert judge(bank, update, max_skills=1).status == "updated"


def test_skills_of_other_categories_are_out_of_reach(bank):
  # s2 is of 'heat': a cooling task sees and may change 'general' and 'cool' only.
  for edit in (Edit("update", "", "a", "b", "c", "s2"), Edit("retire", skill_id="s2")):
    assert judge(bank, edit, categories=("general", "cool")).status == "wrong_category"


def test_a_long_or_dirty_reason_is_cut_not_rejected(bank):
  outcome = judge(bank, change(reason="<think>" + "y" * 2**20), max_reason_chars=50)
  assert outcome.status == "added"
  assert outcome.bank.get("s6").provenance.reason == "(think)" + "y" * 43


def test_limits_are_checked():
  with pytest.raises(ValueError, match=r"max_skills=0 .*skills\.limits\.max_skills"):
    EditLimits(max_skills=0)


ANYTHING = st.one_of(strategies.texts, st.none(), st.integers(), st.lists(st.text()))


@given(
  strategies.banks(),
  st.builds(
    Edit,
    kind=st.one_of(st.sampled_from(("propose", "update", "keep", "retire")), ANYTHING),
    category=st.one_of(strategies.categories, ANYTHING),
    title=ANYTHING,
    principle=ANYTHING,
    when_to_apply=ANYTHING,
    skill_id=st.one_of(st.just("s1"), ANYTHING),
    reason=ANYTHING,
  ),
)
def test_total_on_any_edit(bank, edit):
  before = strategies.whole(bank)
  outcome = judge(bank, edit)
  assert outcome.status in ACCEPTED + REJECTED
  assert strategies.whole(bank) == before


def test_admitted_skills_are_clean_and_within_the_public_limits():
  bank = SkillBank((Skill("s1", "heat", "t", "p", "w"),), 2)
  outcome = judge(bank, change(title="ﷺ" * 3))  # NFKC: 18 characters each
  assert len(outcome.bank.get("s2").title) == 54
  assert judge(bank, change(title="ﷺ" * 4)).status == "too_long"
