"""Shares of a plan: every node once, chains whole, and the merge is the whole."""

import pytest

from skilljax.rollout import share
from skilljax.rollout.plan import independent_groups, streams
from skilljax.rollout.results import Rollout
from skilljax.skills.bank import SkillBank, from_skills
from skilljax.types import Skill, Task


def task(scope, number):
  return Task("household", "train", scope, "heat", f"{scope}.{number}")


TASKS = [task(f"e{i % 3}", i) for i in range(7)]
GROUPS = independent_groups(TASKS, 4, key=(0, 1), review=True)
STREAMS = streams(
  {f"e{i}": [task(f"e{i}", n) for n in range(5 + i)] for i in range(4)},
  key=(2, 0),
  evolving=True,
  width=2,
)


@pytest.mark.parametrize("plan", [GROUPS, STREAMS], ids=["groups", "streams"])
@pytest.mark.parametrize("count", [1, 2, 3, 9])
def test_every_node_is_played_once_and_units_stay_together(plan, count):
  parts = [share.part_of(plan, index, count) for index in range(count)]
  ids = [node.node_id for part in parts for node in part.nodes]
  assert sorted(ids) == sorted(node.node_id for node in plan.nodes)
  order = {node.node_id: place for place, node in enumerate(plan.nodes)}
  for part in parts:
    places = [order[node.node_id] for node in part.nodes]
    assert places == sorted(places)
  unit = (lambda node: node.chain) if plan is STREAMS else (lambda node: node.task.key)
  owners = [{unit(node) for node in part.nodes} for part in parts]
  assert sum(map(len, owners)) == len(set().union(*owners))


@pytest.mark.parametrize("count", [2, 3])
def test_the_load_is_even(count):
  sizes = [len(share.part_of(GROUPS, index, count).nodes) for index in range(count)]
  assert max(sizes) - min(sizes) <= 4  # one group


def test_the_merge_has_everything_in_plan_order():
  before = {f"e{i}": SkillBank() for i in range(4)}
  after = {
    f"e{i}": from_skills((Skill("s1", "general", f"t{i}", "p", "w"),)) for i in range(4)
  }
  parts = []
  for index in range(2):
    mine = share.part_of(STREAMS, index, 2)
    chains = {node.chain for node in mine.nodes}
    banks = {name: after[name] if name in chains else before[name] for name in before}
    ids = [node.node_id for node in reversed(mine.nodes)]
    parts.append(Rollout({i: f"t{i}" for i in ids}, {i: f"o{i}" for i in ids[:3]}, banks))
  whole = share.merge(STREAMS, parts, before)
  assert list(whole.trajectories) == [node.node_id for node in STREAMS.nodes]
  assert len(whole.edits) == 6 and whole.banks == after
  assert share.merge(STREAMS, parts[:1], before) is parts[0]
