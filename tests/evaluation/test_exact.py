"""Exact evaluation with the scripted reader: coverage, arms, pairing, passes."""

import collections
import dataclasses

import pytest

from skilljax.envs.household import HouseholdEnv
from skilljax.evaluation.exact import ARMS, EvalSettings, evaluate, reorder
from skilljax.evaluation.paired import by_arm, difference, mean
from skilljax.rollout.plan import Purpose
from skilljax.runs.evaluation import summarise
from skilljax.skills.bank import SkillBank, from_skills
from tests.rollout.worlds import SETTINGS, SOURCE, TEACHER, make_runner

SCOPES = SOURCE.scopes("test")[:6]
TASKS = {scope: SOURCE.stream(scope, "test")[:10] for scope in SCOPES}
WARMUP = {scope: SOURCE.stream(scope, "test")[-8:] for scope in SCOPES}
FEW = {scope: TASKS[scope][:4] for scope in SCOPES[:3]}


def run(tasks=FEW, *, banks=None, warmup=None, runner=None, **settings):
  reported = []
  result = evaluate(
    tasks,
    runner=runner or make_runner(num_slots=32, capacity=32),
    settings=EvalSettings(**{"split": "test", "passes": 1, **settings}),
    banks=banks or {},
    warmup=warmup,
    on_episode=reported.append,
  )
  assert len(reported) == result.num_episodes
  return result


@pytest.fixture(scope="module")
def evaluation():
  return run(TASKS, warmup=WARMUP)


def test_a_bank_that_evolves_beats_none_by_far(evaluation):
  gain = difference(evaluation.records, "evolving", "no_bank")
  assert gain.mean > 0.15 and gain.low > 0
  assert (gain.count, gain.clusters) == (60, 6)
  # A bank written on other tasks of the estate helps from the first task on.
  assert difference(evaluation.records, "frozen", "no_bank").mean > 0.15
  rates = {arm: mean(rows).mean for arm, rows in by_arm(evaluation.records).items()}
  assert rates["no_bank"] < 0.6


def test_every_task_is_played_once_in_every_arm(evaluation):
  keys = [task.key for stream in TASKS.values() for task in stream]
  for arm in ARMS:
    rows = by_arm(evaluation.records)[arm]
    assert sorted(row.task for row in rows) == sorted(keys)
    for scope in SCOPES:
      stream = [row for row in rows if row.scope == scope]
      assert [row.position for row in stream] == sorted(row.position for row in stream)
      ordered = sorted(stream, key=lambda row: row.position)
      assert [row.task for row in ordered] == [task.key for task in TASKS[scope]]
  assert len(evaluation.records) == 3 * 60
  # Warm-up episodes are interactions too.
  assert evaluation.num_episodes == 3 * 60 + 6 * 8


def test_banks_of_the_arms(evaluation):
  sizes = {
    arm: [len(banks[scope].skills) for scope in SCOPES]
    for arm, banks in evaluation.banks.items()
  }
  assert sizes["no_bank"] == [0] * 6
  assert min(sizes["evolving"]) > 0 and min(sizes["frozen"]) > 0
  rows = by_arm(evaluation.records)
  assert {row.bank_size for row in rows["no_bank"]} == {0}
  # The evolving arm starts empty and its prompts fill up; the frozen one starts full.
  assert {row.bank_size for row in rows["evolving"] if row.position == 0} == {0}
  assert all(row.bank_size for row in rows["evolving"] if row.position > 4)
  assert any(row.bank_size for row in rows["frozen"] if row.position == 0)
  assert {arm: set(r.trajectories) for arm, r in evaluation.rollouts.items()} == {
    arm: {f"{scope}:{i}" for scope in SCOPES for i in range(10)} for arm in ARMS
  }
  assert not evaluation.rollouts["frozen"].edits and evaluation.rollouts["evolving"].edits


@pytest.mark.parametrize(
  ("num_slots", "capacity", "shuffle"), [(1, 32, None), (32, 1, None), (5, 3, 0)]
)
def test_records_do_not_depend_on_the_batch(num_slots, capacity, shuffle):
  whole = run(warmup={s: WARMUP[s] for s in FEW}, passes=2)
  runner = make_runner(num_slots=num_slots, capacity=capacity, shuffle=shuffle)
  again = run(warmup={s: WARMUP[s] for s in FEW}, passes=2, runner=runner)
  assert again.records == whole.records
  assert again.banks == whole.banks


def test_arms_are_paired():
  result = run(passes=2)  # no banks: the frozen arm has an empty one
  rows = {
    arm: [dataclasses.replace(r, arm="") for r in rows]
    for arm, rows in by_arm(result.records).items()
  }
  assert rows["frozen"] == rows["no_bank"]
  gap = difference(result.records, "frozen", "no_bank")
  assert (gap.mean, gap.low, gap.high) == (0.0, 0.0, 0.0)
  # The first task of a stream is read from an empty bank in all arms.
  first = [r for r in rows["evolving"] if r.position == 0]
  assert first == [r for r in rows["no_bank"] if r.position == 0]


def test_keys_name_pass_and_place():
  runner = make_runner()
  run(passes=2, arms=("no_bank",), runner=runner)
  requests = [e for e in runner.engine.log if "key" in dir(e)]
  keys = {request.key[:-1] for request in requests}
  assert keys == {
    (Purpose.EVAL, p, s, i) for p in range(2) for s in range(3) for i in range(4)
  }


def test_given_banks_are_where_frozen_and_evolving_start():
  bank = from_skills(TEACHER.skills(FEW[SCOPES[0]][0], 3))
  assert bank.skills
  result = run(banks={SCOPES[0]: bank})
  assert result.banks["frozen"] == {
    SCOPES[0]: bank,
    SCOPES[1]: SkillBank(),
    SCOPES[2]: SkillBank(),
  }
  shown = {
    arm: rollout.trajectories[f"{SCOPES[0]}:0"].bank_version
    for arm, rollout in result.rollouts.items()
  }
  assert shown == {
    "no_bank": SkillBank().version,
    "frozen": bank.version,
    "evolving": bank.version,
  }


def test_only_the_frozen_arm_needs_the_warmup():
  warmup = {scope: WARMUP[scope] for scope in FEW}
  result = run(warmup=warmup, arms=("no_bank", "evolving"))
  assert result.num_episodes == 2 * 12
  assert list(result.banks) == ["no_bank", "evolving"]


def test_each_pass_plays_all_tasks_in_another_order():
  result = run(passes=3, arms=("evolving",))
  assert len(result.records) == 3 * 12 == result.num_episodes
  orders = collections.defaultdict(list)
  for row in result.records:
    if row.scope == SCOPES[0]:
      orders[row.pass_index].append(row.task)
  keys = [task.key for task in FEW[SCOPES[0]]]
  assert orders[0] == keys
  assert [sorted(order) for order in orders.values()] == [sorted(keys)] * 3
  assert len({tuple(order) for order in orders.values()}) > 1
  # Every pass starts from the given banks again.
  for pass_index in range(3):
    rows = [r for r in result.records if r.pass_index == pass_index]
    assert {r.bank_size for r in rows if r.position == 0} == {0}


def test_reorder():
  tasks = SOURCE.stream(SCOPES[0], "test")[:30]
  assert reorder(tasks, 0) == list(tasks)
  assert reorder(tasks, 1) == reorder(tasks, 1) != reorder(tasks, 2)
  assert sorted(reorder(tasks, 1), key=lambda t: t.key) == sorted(
    tasks, key=lambda t: t.key
  )


def test_width_delays_what_a_task_can_read():
  wide = run(TASKS, arms=("evolving",), width=5)
  for row in wide.records:
    assert row.bank_size == 0 or row.position >= 5


def test_evaluated_tasks_may_not_warm_up():
  with pytest.raises(ValueError, match=r"warmup: .*estate.* are also evaluated"):
    run(warmup={SCOPES[0]: TASKS[SCOPES[0]][3:5]})
  twice = {SCOPES[0]: FEW[SCOPES[0]] * 2}
  with pytest.raises(ValueError, match="a task stands twice"):
    run(twice)


def test_a_fault_is_a_record_too():
  broken = TASKS[SCOPES[0]][1].key

  class Fragile(HouseholdEnv):
    def reset(self, task):
      if task.key == broken:
        raise RuntimeError("gone")
      return super().reset(task)

  runner = make_runner(make_env=lambda: Fragile(SETTINGS))
  result = run(runner=runner)
  assert len(result.records) == 3 * 12
  assert [(r.arm, r.task) for r in result.records if r.fault] == [
    (arm, broken) for arm in ARMS
  ]
  assert not any(r.success for r in result.records if r.fault)
  summary = summarise(result, name="household_test", tasks=FEW, policy="here")
  assert summary["faults"] == 3
  assert summary["not_covered"] == {broken: "RuntimeError: gone"}
  assert "eval/household_test/bank_no/success_11of12" in summary["metrics"]


@pytest.mark.parametrize(
  ("settings", "message"),
  [
    ({"arms": ("all",)}, r"arms=.* must be some of .*eval\.arms"),
    ({"arms": ()}, r"arms=\(\) must be some of"),
    ({"arms": ("frozen", "frozen")}, "each once"),
    ({"passes": 0}, r"passes=0 must be >= 1 .*eval\.passes"),
    ({"width": 0}, r"width=0 must be >= 1 .*eval\.width"),
    ({"temperature": -1.0}, r"temperature=-1.0 must be >= 0 .*eval\.temperature"),
    ({"num_scopes": -1}, r"num_scopes=-1 must be >= 0"),
    ({"tasks_per_scope": -1}, r"tasks_per_scope=-1 must be >= 0"),
    ({"warmup_tasks": -1}, r"warmup_tasks=-1 must be >= 0"),
  ],
)
def test_settings_are_checked(settings, message):
  with pytest.raises(ValueError, match=message):
    EvalSettings(split="test", **settings)
