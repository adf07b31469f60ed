"""Utilities against a ground truth: agents that follow what they read."""

import dataclasses
import math
import random

import numpy as np
import pytest

from skilljax.engine.base import GenerateRequest
from skilljax.envs.household import (
  HouseholdEnv,
  draw_estate,
  estate_skills,
  misleading_skill,
)
from skilljax.envs.household.source import estate_of
from skilljax.rollout.candidates import collect_candidates, null_candidate
from skilljax.rollout.plan import Purpose, independent_groups
from skilljax.rollout.probes import (
  Candidate,
  ProbeReport,
  ProbeSettings,
  score_candidates,
  stable_hash,
)
from skilljax.skills.bank import GENERAL, SkillBank, from_skills
from skilljax.skills.edits import EditLimits
from tests.rollout.worlds import SETTINGS, SOURCE, TEACHER, make_runner, train_tasks

FAMILIES = SOURCE.families
SLOT_OF = {"pick_and_place": "lock", "pick_two": "lock", "look_in_light": "look"}
K = 4


def own_slot(task):
  return SLOT_OF.get(task.family, task.family)


def with_rule(task, slot, *, right, bank=None):
  """A bank with one more skill: a rule of the task's estate, or the opposite of it."""
  bank = bank or SkillBank()
  estate = draw_estate(estate_of(task.scope))
  (skill,) = estate_skills(estate, [slot])
  if not right:
    skill = misleading_skill(estate, slot, random.Random(f"{task.key}/{slot}"))
  return from_skills([*bank.skills, dataclasses.replace(skill, skill_id="")])


def candidate(task, slot, *, right, name="c", bank=None):
  bank = bank or SkillBank()
  return Candidate(name, task, bank, with_rule(task, slot, right=right, bank=bank))


def null(task, index=0, bank=None):
  return null_candidate(
    task, bank or SkillBank(), index, teacher=TEACHER, limits=EditLimits()
  )


def score(candidates, *, runner=None, source=SOURCE, key=(3,), **settings):
  return score_candidates(
    candidates,
    runner=runner or make_runner(num_slots=64, capacity=64),
    source=source,
    settings=ProbeSettings(**{"num_probes": K, **settings}),
    key=key,
  )


def utilities(report):
  return np.array([evidence.utility for evidence in report.evidence])


@pytest.fixture(scope="module")
def own_rules():
  """family -> (utilities of right rules, of wrong ones), 16 estates each."""
  rows = {}
  for family in FAMILIES:
    tasks = train_tasks(16, family=family)
    slot = own_slot(tasks[0])
    report = score(
      [candidate(task, slot, right=True) for task in tasks]
      + [candidate(task, slot, right=False) for task in tasks]
    )
    rows[family] = np.split(utilities(report), 2)
  return rows


@pytest.mark.parametrize("family", FAMILIES)
def test_a_right_rule_helps_and_a_wrong_one_hurts_in_every_family(own_rules, family):
  right, wrong = own_rules[family]
  assert right.mean() > 0.1
  assert wrong.mean() < -0.03


def test_right_and_wrong_are_far_apart(own_rules):
  right = np.concatenate([right for right, _ in own_rules.values()])
  wrong = np.concatenate([wrong for _, wrong in own_rules.values()])
  for values in (right, -wrong):
    assert values.mean() - 4 * values.std() / math.sqrt(len(values)) > 0
  # With all else equal a right rule only saves a search: no estate loses by it.
  assert right.min() > -0.1


def test_a_rule_of_a_place_helps_those_who_need_it():
  tasks = train_tasks(24, family="heat")
  right = score([candidate(t, "place:food", right=True) for t in tasks])
  wrong = score([candidate(t, "place:food", right=False) for t in tasks])
  assert utilities(right).mean() > 0.1
  assert utilities(wrong).mean() < 0


def test_a_null_edit_measures_nothing():
  tasks = train_tasks(12)
  report = score([null(task, index) for index, task in enumerate(tasks)])
  # The runs are played: the prompt does change. But both runs of a pair draw the same
  # random numbers, so a reader that finds nothing in the text does the same twice.
  assert report.episodes_run == 2 * K * len(tasks)
  assert all(pair.ran for evidence in report.evidence for pair in evidence.pairs)
  assert utilities(report).tolist() == [0.0] * len(tasks)


def test_keys_name_task_and_repeat_and_never_the_bank():
  runner = make_runner()
  task = train_tasks(1, family="heat")[0]
  score([candidate(task, "heat", right=True)], runner=runner, repeats=3, key=(11,))
  requests = [e for e in runner.engine.log if isinstance(e, GenerateRequest)]
  keys = {request.sequence: request.key[:-1] for request in requests}
  tasks = SOURCE.probes(task, K, 0)
  assert len(keys) == 2 * 3 * K
  expected = [(Purpose.PROBE, 11, stable_hash(t.key), r) for t in tasks for r in range(3)]
  assert sorted(keys.values()) == sorted(2 * expected)


def test_utility_by_hand():
  report = score(
    [candidate(t, "heat", right=True) for t in train_tasks(6, family="heat")]
  )
  for evidence in report.evidence:
    delta = np.array([p.after_score - p.before_score for p in evidence.pairs])
    wins, losses = (delta > 0).sum(), (delta < 0).sum()
    expected = delta.mean() + 0.3 * (wins - losses) / K
    assert evidence.utility == pytest.approx(expected, abs=1e-6)
    for pair in evidence.pairs:
      cap = HouseholdEnv(SETTINGS).reset(pair.task).max_turns
      for score_, success, turns in (
        (pair.before_score, pair.before_success, pair.before_turns),
        (pair.after_score, pair.after_success, pair.after_turns),
      ):
        assert score_ == pytest.approx(success * (1 + (cap - turns) / cap))


def test_clipped_utility_forgives_harm_and_leaves_the_rest():
  tasks = train_tasks(8, family="heat")
  rows = [candidate(t, "heat", right=i % 2 == 0) for i, t in enumerate(tasks)]
  signed, clipped = score(rows), score(rows, clip=True)
  assert [e.pairs for e in clipped.evidence] == [e.pairs for e in signed.evidence]
  assert utilities(signed).min() < 0 < utilities(signed).max()
  assert utilities(clipped).tolist() == np.maximum(utilities(signed), 0).tolist()


def test_the_released_utility_is_clipped():
  rows = [
    candidate(t, "heat", right=i % 2 == 0)
    for i, t in enumerate(train_tasks(6, family="heat"))
  ]
  plain, clipped = utilities(score(rows)), utilities(score(rows, clip=True))
  assert plain.min() < 0 < plain.max()
  np.testing.assert_allclose(clipped, np.maximum(plain, 0), atol=1e-6)


def test_probes_are_other_train_tasks_of_family_and_scope():
  tasks = train_tasks(12)
  report = score([null(task) for task in tasks])
  for task, evidence in zip(tasks, report.evidence, strict=True):
    probes = [pair.task for pair in evidence.pairs]
    assert len({probe.key for probe in probes}) == K
    assert task.key not in {probe.key for probe in probes}
    assert {(p.split, p.scope, p.family) for p in probes} == {
      ("train", task.scope, task.family)
    }


def test_harm_to_other_families_is_seen_where_they_see_the_skill():
  rows = {GENERAL: [], "heat": []}
  for task in train_tasks(16, family="clean"):
    wrong = with_rule(task, "heat", right=False).skills[0]
    for category, candidates in rows.items():
      after = from_skills([dataclasses.replace(wrong, category=category)])
      candidates.append(Candidate(category, task, SkillBank(), after))

  def pairs(category, every_family):
    report = score(rows[category], num_probes=8, every_family=every_family)
    for evidence in report.evidence:
      assert evidence.candidate.task not in {pair.task for pair in evidence.pairs}
    return [pair for evidence in report.evidence for pair in evidence.pairs]

  def gain(pairs, family):
    return np.mean(
      [p.after_score - p.before_score for p in pairs if p.task.family == family]
    )

  published, mixed = pairs(GENERAL, False), pairs(GENERAL, True)
  assert {pair.task.family for pair in published} == {"clean"}
  assert abs(gain(published, "clean")) < 0.05  # a rule about heating, probed on cleaning
  assert {pair.task.family for pair in mixed} == set(FAMILIES)
  assert gain(mixed, "heat") < -0.15
  # Where one family alone sees a skill, nothing changes.
  assert pairs("heat", True) == pairs("heat", False)


def test_held_out_tasks_are_never_probed():
  task = SOURCE.stream(SOURCE.scopes("test")[0], "test")[0]
  with pytest.raises(ValueError, match="probes come from train estates"):
    score([null(task)])


def test_members_of_a_group_share_their_probes():
  task = train_tasks(1, family="cool")[0]
  other = train_tasks(2, family="heat")[1]
  once = score([candidate(task, "cool", right=True)])
  assert (once.episodes_run, once.episodes_naive) == (2 * K, 2 * K)
  # Four members with the same edit cost what one does.
  twins = [candidate(task, "cool", right=True, name=f"c{i}") for i in range(4)]
  report = score(twins)
  assert (report.episodes_run, report.episodes_naive) == (2 * K, 8 * K)
  assert report.cost_ratio == 0.25
  assert utilities(report).tolist() == 4 * utilities(once).tolist()
  assert [e.candidate.name for e in report.evidence] == ["c0", "c1", "c2", "c3"]
  # Another edit shares the runs before; another estate shares nothing.
  mixed = score(
    [*twins, candidate(task, "cool", right=False), candidate(other, "heat", right=True)]
  )
  assert mixed.episodes_run == 3 * K + 2 * K


def test_an_unchanged_prompt_is_not_played():
  task = train_tasks(1, family="cool")[0]
  # The skill is of another category, so the prompts of this family do not show it.
  unseen = candidate(task, "heat", right=False)
  report = score([unseen])
  assert (report.episodes_run, report.episodes_naive, report.cost_ratio) == (0, 2 * K, 0)
  assert report.evidence[0].utility == 0.0
  assert not any(pair.ran for pair in report.evidence[0].pairs)
  # Beside a candidate that plays the same prompts it still counts as not run.
  report = score([candidate(task, "cool", right=True), unseen])
  assert report.episodes_run == 2 * K
  assert report.evidence[1].utility == 0.0
  assert not any(pair.ran for pair in report.evidence[1].pairs)
  assert all(pair.ran for pair in report.evidence[0].pairs)


def test_reports_do_not_depend_on_slots_order_or_time():
  tasks = train_tasks(5)
  rows = [candidate(t, own_slot(t), right=i % 2 == 0) for i, t in enumerate(tasks)]
  report = score(rows)
  again = score(rows, runner=make_runner(num_slots=2, capacity=3, shuffle=1))
  assert again == report
  backwards = score(rows[::-1])
  assert backwards.evidence == report.evidence[::-1]
  other = score(rows, key=(4,))
  assert [e.pairs for e in other.evidence] != [e.pairs for e in report.evidence]


def test_more_repeats_are_more_pairs():
  task = train_tasks(1, family="clean")[0]
  report = score([candidate(task, "clean", right=True)], repeats=3)
  assert len(report.evidence[0].pairs) == 3 * K
  assert (report.episodes_run, report.episodes_naive) == (6 * K, 6 * K)


class Fragile(HouseholdEnv):
  """Breaks in the second turn of some tasks."""

  broken = frozenset()

  def reset(self, task):
    self._turns, self._breaks = 0, task.key in self.broken
    return super().reset(task)

  def step(self, action):
    self._turns += 1
    if self._breaks and self._turns == 2:
      raise RuntimeError("gone")
    return super().step(action)


def fragile_runner(tasks):
  kind = type("Fragile", (Fragile,), {"broken": frozenset(t.key for t in tasks)})
  return make_runner(make_env=lambda: kind(SETTINGS), num_slots=64, capacity=64)


def test_a_broken_pair_says_nothing():
  task = train_tasks(1, family="heat")[0]
  rows = [candidate(task, "heat", right=True)]
  whole, tasks = score(rows), SOURCE.probes(task, K, 0)
  report = score(rows, runner=fragile_runner(tasks[1:2]))
  (evidence,) = report.evidence
  assert report.faults == 2 and report.episodes_run == 2 * K
  assert math.isnan(evidence.pairs[1].before_score) and not evidence.pairs[1].ran
  rest = [pair for i, pair in enumerate(whole.evidence[0].pairs) if i != 1]
  assert [p for i, p in enumerate(evidence.pairs) if i != 1] == rest
  delta = np.array([p.after_score - p.before_score for p in rest])
  # K counts only the pairs that are left.
  assert evidence.utility == pytest.approx((delta + 0.3 * np.sign(delta)).mean())


def test_nothing_is_known_where_every_pair_broke():
  task = train_tasks(1, family="heat")[0]
  runner = fragile_runner(SOURCE.probes(task, K, 0))
  report = score([candidate(task, "heat", right=True)], runner=runner)
  assert math.isnan(report.evidence[0].utility)
  assert (report.faults, report.episodes_run) == (2 * K, 2 * K)


def test_an_update_of_the_reading_agent_costs_less_than_half():
  tasks = train_tasks(6)
  banks = {t.scope: from_skills(TEACHER.skills(t, 5)) for t in tasks}
  runner = make_runner(num_slots=64, capacity=64)
  plan = independent_groups(tasks, 8, key=(Purpose.TRAIN, 0), review=True)
  rollout = runner.run(plan, banks)
  candidates = collect_candidates(
    rollout,
    banks,
    tasks,
    teacher=TEACHER,
    limits=EditLimits(),
    num_nulls=4,
    num_audits=1,
    update=0,
  )
  assert len(candidates.policy) >= 10
  report = score(candidates.all, runner=runner)
  assert report.episodes_naive == 2 * K * len(candidates.all)
  played = len({r.sequence for r in runner.engine.log if r.sequence.startswith("p")})
  assert report.episodes_run == played
  assert 0 < report.cost_ratio <= 0.5


def test_nothing_to_score():
  report = score([])
  assert report == ProbeReport((), 0, 0, 0)
  assert report.cost_ratio == 0.0


def test_the_hash_is_the_same_everywhere():
  # zlib.crc32(b"household") of any process, without the sign bit.
  assert stable_hash("household") == 0x54C32FC0
  assert 0 <= stable_hash("x") < 2**31


@pytest.mark.parametrize(
  ("name", "value", "low"),
  [("num_probes", 0, 1), ("repeats", 0, 1), ("nulls_per_update", -1, 0)],
)
def test_settings_are_checked(name, value, low):
  with pytest.raises(
    ValueError, match=rf"{name}={value} must be >= {low} .*probes\.{name}"
  ):
    ProbeSettings(**{name: value})
