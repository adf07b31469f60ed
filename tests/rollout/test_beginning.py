"""How banks begin: present ones stay, some scopes are taught, history replays."""

import math

import pytest

from skilljax.rollout.beginning import begin_banks
from skilljax.settings import TrainSettings
from skilljax.skills.bank import SkillBank, from_skills
from skilljax.skills.edits import EditLimits
from tests.rollout.worlds import TEACHER, train_tasks

TASKS = train_tasks(40)


def begin(share, *, banks=None, seed=0, tasks=TASKS):
  return begin_banks(
    tasks, banks or {}, teacher=TEACHER, share=share, seed=seed, limits=EditLimits()
  )


def test_without_a_teacher_all_begin_empty():
  banks, history = begin(0.0)
  assert set(banks) == {task.scope for task in TASKS}
  assert all(bank == SkillBank() for bank in banks.values())
  assert history == []


def test_a_present_bank_is_kept():
  scope = TASKS[0].scope
  mine = from_skills(TEACHER.skills(TASKS[1], 7))
  banks, history = begin(1.0, banks={scope: mine, "elsewhere": SkillBank()})
  assert banks[scope] is mine
  assert "elsewhere" not in banks
  assert scope not in {item.chain for item in history}


def test_taught_banks_hold_the_teachers_skills_and_their_history_replays():
  banks, history = begin(1.0)
  assert sum(len(bank.skills) for bank in banks.values()) == len(history) > 0
  replayed = {scope: SkillBank() for scope in banks}
  for item in history:
    bank = replayed[item.chain]
    assert item.parent == bank.version
    assert item.provenance.origin == "teacher"
    assert math.isnan(item.utility)
    replayed[item.chain] = bank.apply(item.edit, provenance=item.provenance)
    assert item.version == replayed[item.chain].version
  assert replayed == banks
  first = {task.scope: task for task in reversed(TASKS)}
  for scope, bank in banks.items():
    told = {skill.principle for skill in TEACHER.skills(first[scope], 0)}
    assert {skill.principle for skill in bank.skills} == told


def test_the_share_is_drawn_by_scope_and_repeats():
  def taught(**options):
    return {item.chain for item in begin(0.5, **options)[1]}

  scopes = {task.scope for task in TASKS}
  assert 0 < len(taught()) < len(scopes)
  assert taught() == taught(tasks=TASKS[::-1]) == taught()
  assert taught() != taught(seed=1)


@pytest.mark.parametrize("share", [-0.1, 1.1])
def test_the_share_is_checked(share):
  with pytest.raises(ValueError, match=rf"taught_banks={share} .*train\.taught_banks"):
    TrainSettings(num_updates=1, taught_banks=share)


def test_taught_banks_need_skills():
  with pytest.raises(ValueError, match=r"taught_banks=0\.5 needs train\.skills=True"):
    TrainSettings(num_updates=1, taught_banks=0.5, skills=False, review=False)


def test_a_given_bank_begins_a_scope_once():
  scope, other, *_ = dict.fromkeys(task.scope for task in TASKS)
  given = from_skills(TEACHER.skills(TASKS[1], 7))
  banks, history = begin_banks(
    TASKS,
    {other: SkillBank()},
    teacher=TEACHER,
    share=0.0,
    seed=0,
    limits=EditLimits(),
    initial={scope: given, other: given},
  )
  assert banks[scope] is given and banks[other] == SkillBank()
  assert history == []


@pytest.mark.parametrize("values", [{"taught_banks": 0.5}, {"skills": False}])
def test_given_banks_must_be_shown_and_are_not_drawn(values):
  with pytest.raises(ValueError, match=r"initial_banks='b' needs .*train\.initial_banks"):
    TrainSettings(num_updates=1, initial_banks="b", **{"review": False, **values})
