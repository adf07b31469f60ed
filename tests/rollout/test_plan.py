import dataclasses

import pytest

from skilljax.rollout.plan import (
  EpisodeNode,
  Plan,
  Purpose,
  by_scope,
  independent_groups,
  streams,
)
from tests.rollout.worlds import note_task

NODE = EpisodeNode("a", note_task("t"), "house", (0, 0))


@pytest.mark.parametrize(
  ("nodes", "message"),
  [
    ((NODE, NODE), "node_id 'a' stands twice"),
    ((dataclasses.replace(NODE, commit=True),), "'a' commits an edit without a review"),
    ((dataclasses.replace(NODE, stage=-1),), r"stage=-1 of node 'a' must be >= 0"),
  ],
)
def test_a_wrong_plan_is_refused(nodes, message):
  with pytest.raises(ValueError, match=message):
    Plan(nodes)


def test_writers_are_counted_by_chain_and_stage():
  def node(name, chain, stage, commit):
    return EpisodeNode(
      name, note_task(name), chain, (0,), stage, review=True, commit=commit
    )

  plan = Plan(
    (
      node("a", "x", 0, True),
      node("b", "x", 0, True),
      node("c", "x", 0, False),
      node("d", "x", 1, True),
      node("e", "y", 0, False),
    )
  )
  assert dict(plan.writers()) == {("x", 0): 2, ("x", 1): 1}


def test_groups_share_task_and_id_and_differ_in_their_keys():
  tasks = [
    note_task("t", scope="x"),
    note_task("u", scope="y"),
    note_task("t", scope="x"),
  ]
  plan = independent_groups(tasks, 3, key=(Purpose.TRAIN, 5), review=True)
  rows = [(n.node_id, n.task, n.chain, n.key, n.group_id) for n in plan.nodes]
  assert rows[:4] == [
    ("g0.0", tasks[0], "x", (0, 5, 0, 0), 0),
    ("g0.1", tasks[0], "x", (0, 5, 0, 1), 0),
    ("g0.2", tasks[0], "x", (0, 5, 0, 2), 0),
    ("g1.0", tasks[1], "y", (0, 5, 1, 0), 1),
  ]
  # The same task twice in an update is two groups.
  assert [n.group_id for n in plan.nodes] == [0, 0, 0, 1, 1, 1, 2, 2, 2]
  assert len({n.key for n in plan.nodes}) == 9
  assert all(n.review and not n.commit and n.stage == 0 for n in plan.nodes)


def test_streams_have_stages_only_where_the_bank_evolves():
  tasks = {
    "x": [note_task(f"x{i}", scope="x") for i in range(5)],
    "y": [note_task(f"y{i}", scope="y") for i in range(2)],
  }
  still = streams(tasks, key=(2, 7), evolving=False)
  moving = streams(tasks, key=(2, 7), evolving=True, width=2)
  assert {n.stage for n in still.nodes} == {0}
  assert not any(n.review or n.commit for n in still.nodes)
  assert all(n.review and n.commit for n in moving.nodes)
  # Stages first, so that free slots go to what may run; then chains in their order.
  assert [(n.node_id, n.stage) for n in moving.nodes] == [
    ("x:0", 0),
    ("x:1", 0),
    ("y:0", 0),
    ("y:1", 0),
    ("x:2", 1),
    ("x:3", 1),
    ("x:4", 2),
  ]
  # Arms are paired: the key names pass, chain and position, not the arm or the stage.
  keys = {n.node_id: n.key for n in still.nodes}
  assert keys == {n.node_id: n.key for n in moving.nodes}
  assert keys["x:3"] == (2, 7, 0, 3) and keys["y:1"] == (2, 7, 1, 1)


def test_a_stream_needs_a_width():
  with pytest.raises(ValueError, match=r"width=0 must be >= 1 \(config key eval.width\)"):
    streams({"x": [note_task("t")]}, key=(2,), evolving=True, width=0)


def test_by_scope_keeps_both_orders():
  tasks = [note_task(name, scope=name[0]) for name in ("b1", "a1", "b0", "a2")]
  groups = by_scope(tasks)
  assert {scope: [t.name for t in rows] for scope, rows in groups.items()} == {
    "b": ["b1", "b0"],
    "a": ["a1", "a2"],
  }
  assert list(groups) == ["b", "a"]
