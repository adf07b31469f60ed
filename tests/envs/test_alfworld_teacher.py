"""The demonstration mixture: right, missing, misleading and empty skills; two players."""

import collections
import dataclasses

import pytest

from skilljax.envs import alfworld
from skilljax.envs.alfworld import review
from skilljax.envs.alfworld import teacher as alfworld_teacher
from skilljax.envs.alfworld.agent import WalkthroughAgent
from skilljax.envs.alfworld.goals import parse_goal


@pytest.fixture(scope="module")
def teacher(data_dir, tmp_path_factory):
  if not (data_dir / "alfworld").is_dir():
    pytest.skip(f"no ALFWorld games at {data_dir / 'alfworld'}; set SKILLJAX_DATA")
  settings = alfworld.AlfworldSettings(
    data_dir=str(data_dir / "alfworld"), cache_dir=str(tmp_path_factory.mktemp("cache"))
  )
  return alfworld_teacher.AlfworldTeacher(settings)


@pytest.fixture(scope="module")
def tasks(teacher):
  return alfworld.AlfworldSource(teacher.settings).tasks("valid_train")


def test_the_mixture_is_reproducible_and_varied(teacher, tasks):
  sizes = collections.Counter()
  for task in tasks:
    skills = teacher.skills(task, 0)
    assert skills == teacher.skills(task, 0)
    ids = [skill.skill_id for skill in skills]
    assert len(set(ids)) == len(ids)
    assert {skill.category for skill in skills} <= {task.family, "general"}
    sizes[len(skills)] += 1
  assert set(sizes) >= {0, 1, 2, 3}
  assert any(teacher.skills(t, 0) != teacher.skills(t, 1) for t in tasks)


def test_right_and_wrong_skills_are_what_they_are_called(teacher, tasks):
  right = dataclasses.replace(teacher, right=1.0, others=0, null=0.0)
  wrong = dataclasses.replace(teacher, right=0.0, wrong=1.0, others=0, null=0.0)
  source = alfworld.AlfworldSource(teacher.settings)
  for task in tasks[::20]:
    goal = parse_goal(source.goal(task))
    procedure = review.procedure_skill(task.family, skill_id="s1")
    assert procedure in [
      dataclasses.replace(skill, skill_id="s1") for skill in right.skills(task, 0)
    ]
    taken = next(c for c in source.walkthrough(task) if c.startswith("take"))
    titles = {skill.title: skill.principle for skill in right.skills(task, 0)}
    place = taken.split()[-2]
    assert titles[f"find {goal.noun}"] == f"for {goal.noun} look in {place} first."
    assert procedure.principle not in [s.principle for s in wrong.skills(task, 0)]
    assert f"find {goal.noun}" in [s.title for s in wrong.skills(task, 0)]


def test_a_bank_is_mostly_about_other_objects(teacher, tasks):
  source = alfworld.AlfworldSource(teacher.settings)
  sizes = collections.Counter()
  for task in tasks:
    goal = parse_goal(source.goal(task))
    about = [s.title for s in teacher.skills(task, 0) if s.title.startswith("find ")]
    assert len(set(about)) == len(about)
    sizes[len(set(about) - {f"find {goal.noun}"})] += 1
  assert set(sizes) == set(range(7))
  assert max(sizes.values()) < 0.3 * len(tasks)  # a seventh each


def test_both_players_play(teacher, tasks):
  kinds = collections.Counter(type(teacher.agent(task, 0)) for task in tasks)
  assert 0.1 < kinds[WalkthroughAgent] / len(tasks) < 0.3  # 0.2 of 200
  assert len(kinds) == 2


def test_a_damaged_probability_is_refused(teacher, tasks):
  wrong = dataclasses.replace(teacher, slip=1.0, walkthrough=0.0)
  with pytest.raises(ValueError, match=r"slip=1.0 must be in \[0, 1\)"):
    wrong.agent(tasks[0], 0)


def test_null_skills_say_nothing_of_the_task(teacher, tasks):
  texts = {teacher.null_skill(tasks[0], index).principle for index in range(6)}
  assert len(texts) == 3
  assert teacher.null_skill(tasks[0], 0).category == "general"
