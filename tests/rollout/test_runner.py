import dataclasses
import time

import numpy as np
import pytest

from skilljax.rollout.plan import EpisodeNode, Plan, Purpose, independent_groups, streams
from skilljax.rollout.runner import RunnerSettings
from skilljax.skills.bank import SkillBank, from_skills
from skilljax.types import Role
from tests.rollout.worlds import (
  TEACHER,
  NoteEnv,
  Notes,
  TricklePool,
  make_note_runner,
  make_runner,
  note_task,
  train_tasks,
)

CHAINS = {
  "house": [note_task(f"h{i}") for i in range(7)],
  "barn": [note_task(f"b{i}", scope="barn") for i in range(4)],
}
EMPTY = {chain: SkillBank() for chain in CHAINS}


def same(left, right):
  """Whether two trajectories are equal in everything but identity."""
  for field in dataclasses.fields(left):
    a, b = getattr(left, field.name), getattr(right, field.name)
    if not (np.array_equal(a, b) if isinstance(a, np.ndarray) else a == b):
      return False
  return True


def assert_same(left, right):
  assert list(left.trajectories) == list(right.trajectories)
  for name, trajectory in left.trajectories.items():
    assert same(trajectory, right.trajectories[name]), name
  assert left.edits == right.edits
  assert left.banks == right.banks


@pytest.mark.parametrize("width", [1, 2, 3])
@pytest.mark.parametrize(("shuffle", "num_slots"), [(None, 16), (0, 16), (1, 2), (2, 1)])
def test_a_node_reads_the_edits_of_earlier_stages_and_no_others(
  width, shuffle, num_slots
):
  runner = make_note_runner(shuffle=shuffle, num_slots=num_slots)
  plan = streams(CHAINS, key=(Purpose.EVAL, 0), evolving=True, width=width)
  rollout = runner.run(plan, EMPTY)
  assert list(rollout.trajectories) == [node.node_id for node in plan.nodes]
  for chain, tasks in CHAINS.items():
    for position, task in enumerate(tasks):
      trajectory = rollout.trajectories[f"{chain}:{position}"]
      assert trajectory.task == task
      earlier = {f"{chain}:{i}" for i in range(position // width * width)}
      assert {
        line.split("note ")[1].split(": remember")[0]
        for line in trajectory.skill_block.splitlines()[1:-1]
      } == earlier
      assert len(trajectory.shown_skills) == len(earlier)
      outcome = rollout.edits[f"{chain}:{position}"]
      assert outcome.status == "added"
    # In plan order, whatever arrived first.
    assert [skill.title for skill in rollout.banks[chain].skills] == [
      f"note {chain}:{i}" for i in range(len(tasks))
    ]
    assert [skill.provenance.task for skill in rollout.banks[chain].skills] == [
      task.key for task in tasks
    ]
  assert EMPTY["house"].skills == ()


def test_latencies_do_permute_arrivals():
  # Otherwise the test above would show nothing.
  runner = make_note_runner(shuffle=1)
  plan = streams({"house": CHAINS["house"]}, key=(2, 0), evolving=True, width=7)
  runner.run(plan, EMPTY)
  order = list(dict.fromkeys(runner.pool.arrivals[7:]))
  assert order != sorted(order)


@pytest.mark.parametrize("seed", range(5))
def test_of_equal_edits_the_first_in_plan_order_is_committed(seed):
  runner = make_note_runner(lambda name, key: Notes("same"), shuffle=seed)
  plan = streams({"house": CHAINS["house"]}, key=(2, 0), evolving=True, width=7)
  rollout = runner.run(plan, EMPTY)
  assert [o.status for o in rollout.edits.values()] == ["added"] + 6 * ["duplicate"]
  (skill,) = rollout.banks["house"].skills
  assert skill.provenance.task == CHAINS["house"][0].key


@pytest.mark.parametrize("num_slots", [1, 2, 16])
def test_a_reader_of_a_stage_does_not_see_its_writers(num_slots):
  def node(name, stage, commit):
    return EpisodeNode(
      name, note_task(name), "house", (0,), stage, review=True, commit=commit
    )

  plan = Plan((node("w0", 0, True), node("r0", 0, False), node("r1", 1, False)))
  rollout = make_note_runner(num_slots=num_slots).run(plan, {"house": SkillBank()})
  blocks = {name: t.skill_block for name, t in rollout.trajectories.items()}
  assert blocks["w0"] == blocks["r0"] == ""
  assert "note w0" in blocks["r1"] and "note r0" not in blocks["r1"]
  # A review that is not committed is judged against the bank that it read.
  assert [s.title for s in rollout.edits["r0"].bank.skills] == ["note r0"]
  assert [s.title for s in rollout.edits["r1"].bank.skills] == ["note w0", "note r1"]
  assert [s.title for s in rollout.banks["house"].skills] == ["note w0"]


def test_a_stage_without_writers_does_not_stop_the_chain():
  def node(name, stage, commit):
    return EpisodeNode(
      name, note_task(name), "house", (0,), stage, review=commit, commit=commit
    )

  plan = Plan((node("a", 0, True), node("b", 3, False), node("c", 5, True)))
  rollout = make_note_runner().run(plan, {"house": SkillBank()})
  assert "note a" in rollout.trajectories["b"].skill_block
  assert [s.title for s in rollout.banks["house"].skills] == ["note a", "note c"]


def household_plan(num=6, group_size=3):
  tasks = train_tasks(num)
  plan = independent_groups(tasks, group_size, key=(Purpose.TRAIN, 3), review=True)
  return plan, {t.scope: from_skills(TEACHER.skills(t, 0)) for t in tasks}


@pytest.fixture(scope="module")
def household():
  plan, banks = household_plan()
  return make_runner(num_slots=64, capacity=64).run(plan, banks)


@pytest.mark.parametrize(
  ("num_slots", "capacity", "shuffle"),
  [(1, 64, None), (64, 1, None), (3, 5, 0), (5, 3, 1), (64, 64, 2)],
)
def test_slots_environments_and_latencies_change_nothing(
  household, num_slots, capacity, shuffle
):
  plan, banks = household_plan()
  runner = make_runner(num_slots=num_slots, capacity=capacity, shuffle=shuffle)
  assert_same(runner.run(plan, banks), household)
  # An episode under review holds a slot, but no environment any more.
  assert runner.engine.most_open <= num_slots
  eager = make_runner(num_slots=num_slots, capacity=capacity, shuffle=shuffle)
  settings = dataclasses.replace(eager.settings, step_share=0.0)
  eager = dataclasses.replace(eager, settings=settings)
  assert_same(eager.run(plan, banks), household)
  assert eager.engine.most_open <= min(num_slots, capacity)
  assert (runner.engine.num_free, runner.pool.num_free) == (num_slots, capacity)


def trickle(runner, *, stuck=None, **settings):
  """The same runner, before a pool whose answers come one by one."""
  return dataclasses.replace(
    runner,
    pool=TricklePool(runner.pool, stuck),
    settings=dataclasses.replace(runner.settings, **settings),
  )


def test_the_engine_waits_for_enough_requests(household):
  plan, banks = household_plan()
  steps = {}
  for share in (0.0, 0.5, 1.0):
    runner = trickle(make_runner(num_slots=64, capacity=64), step_share=share)
    assert_same(runner.run(plan, banks), household)
    steps[share] = runner.engine.num_steps
  assert steps[1.0] < steps[0.5] < steps[0.0] / 4


def test_an_environment_that_hangs_does_not_stop_the_others(household):
  plan, banks = household_plan()
  runner = make_runner(num_slots=2, capacity=2)
  runner = trickle(runner, stuck=plan.nodes[0].node_id, step_share=1.0)
  assert_same(runner.run(plan, banks), household)


def test_all_slots_are_used():
  plan, banks = household_plan()
  runner = make_runner(num_slots=7, capacity=9)
  runner.run(plan, banks)
  assert runner.engine.most_open == 7


def test_groups_are_what_was_asked_for(household):
  plan, banks = household_plan()
  assert [t.group_id for t in household.trajectories.values()] == [
    g for g in range(6) for _ in range(3)
  ]
  assert household.banks == banks  # nothing commits
  for node in plan.nodes:
    trajectory = household.trajectories[node.node_id]
    assert trajectory.task == node.task
    assert trajectory.bank_version == banks[node.chain].version
    assert trajectory.turns[-1].role == Role.EDIT
    outcome = household.edits[node.node_id]
    assert outcome.bank.parent in ("", banks[node.chain].version)
  # Members of a group explore differently, or a group would teach nothing.
  kinds = [
    len({tuple(household.trajectories[f"g{group}.{i}"].tokens) for i in range(3)})
    for group in range(6)
  ]
  assert sum(kinds) >= 9


@pytest.mark.parametrize("shuffle", [None, 0])
@pytest.mark.parametrize("num_slots", [1, 16])
def test_a_fault_is_marked_and_the_run_goes_on(shuffle, num_slots):
  def agent(name, key):
    del key
    return Notes(name, "raise" if name in ("house:2", "barn:3") else "write")

  chains = {
    **CHAINS,
    "barn": [note_task("broken", scope="barn"), *CHAINS["barn"][1:]],
  }
  runner = make_note_runner(agent, num_slots=num_slots, capacity=4, shuffle=shuffle)
  plan = streams(chains, key=(2, 0), evolving=True, width=2)
  rollout = runner.run(plan, EMPTY)
  faults = {name: t.fault for name, t in rollout.trajectories.items() if t.fault}
  assert faults == {
    "house:2": "RuntimeError: h2 fell apart",
    "barn:0": "RuntimeError: no world for broken",
    "barn:3": "RuntimeError: b3 fell apart",
  }
  assert list(rollout.trajectories) == [node.node_id for node in plan.nodes]
  for name in faults:
    trajectory = rollout.trajectories[name]
    assert trajectory.edit is None and name not in rollout.edits
    assert not trajectory.success and trajectory.episode_return == 0.0
    assert trajectory.num_act_turns == (0 if name == "barn:0" else 1)
  titles = [skill.title for skill in rollout.banks["house"].skills]
  assert titles == [f"note house:{i}" for i in (0, 1, 3, 4, 5, 6)]
  assert [s.title for s in rollout.banks["barn"].skills] == ["note barn:1", "note barn:2"]
  assert (runner.engine.num_free, runner.pool.num_free) == (num_slots, 4)
  if shuffle is None:
    assert runner.pool.counts["episodes"] == len(plan.nodes)
    assert runner.pool.counts["faults"] == 3


class SlowNotes(NoteEnv):
  """A world that takes its time."""

  def step(self, action):
    time.sleep(0.05)
    return super().step(action)


def test_a_task_whose_goal_cannot_be_read_is_left_to_its_reset():
  def goal_of(task):
    if task.name == "h1":
      raise ValueError(f"{task.name}: damaged")
    return "write a note."

  plan = streams(CHAINS, key=(2, 0), evolving=True, width=2)
  whole = make_note_runner(capacity=4).run(plan, EMPTY)
  runner = dataclasses.replace(make_note_runner(capacity=4), goal_of=goal_of)
  assert_same(runner.run(plan, EMPTY), whole)


def test_the_time_that_the_model_waits_for_environments_is_known():
  plan = independent_groups([note_task("t")], 6, key=(0, 9), review=True)
  waits = {}
  for make_env, engine_s in ((SlowNotes, 0.0), (NoteEnv, 0.15)):
    runner = make_note_runner(make_env=make_env)
    step = runner.engine.step
    runner.engine.step = lambda step=step, seconds=engine_s: time.sleep(seconds) or step()
    begin = time.perf_counter()
    runner.run(plan, EMPTY)
    waits[make_env] = (runner.pool.waited_s, time.perf_counter() - begin)
  waited_s, _ = waits[SlowNotes]
  assert waited_s >= 6 * 0.05
  waited_s, seconds = waits[NoteEnv]
  assert seconds >= 2 * 0.15 and waited_s < 0.1 * seconds


def test_versions_and_budgets_reach_the_engine():
  runner = make_note_runner(act_tokens=33, edit_tokens=444)
  runner.engine.publish(None, 7)
  plan = independent_groups([note_task("t")], 1, key=(0, 9), review=True)
  (trajectory,) = runner.run(plan, EMPTY, temperature=0.5).trajectories.values()
  assert trajectory.policy_version == 7
  assert {turn.policy_version for turn in trajectory.turns} == {7}
  assert {turn.bank_version for turn in trajectory.turns} == {SkillBank().version}
  requests = runner.engine.log[::2]
  assert [r.max_new_tokens for r in requests] == [33, 444]
  assert [r.key for r in requests] == [(0, 9, 0, 0, 0), (0, 9, 0, 0, 1)]
  assert {r.temperature for r in requests} == {0.5}


def test_a_chain_needs_a_bank():
  plan = independent_groups([note_task("t", scope="attic")], 1, key=(0,), review=False)
  with pytest.raises(ValueError, match=r"no bank for the chains \['attic'\]"):
    make_note_runner().run(plan, EMPTY)


def test_an_empty_plan():
  rollout = make_note_runner().run(Plan(()), EMPTY)
  assert (rollout.trajectories, rollout.edits, rollout.banks) == ({}, {}, EMPTY)


@pytest.mark.parametrize("name", ["act_tokens", "edit_tokens"])
def test_budgets_are_checked(name):
  with pytest.raises(ValueError, match=rf"{name}=0 must be >= 1 \(config key agent"):
    RunnerSettings(**{name: 0})
