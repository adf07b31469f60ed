"""The rollout plan: which episode runs under which bank, and which may write an edit.

A plan is data. The order of events of a recipe (independent groups, task streams,
generations, paired probes) is a list of nodes; `runner.py` executes any of them.

Banks evolve along *chains*. A node reads its chain at a *stage*: it sees every edit that
nodes of earlier stages committed, and none of its own stage. So a stage is what runs in
parallel, and a plan without committing nodes has one stage.

Must not know about: tokens, engines, environments.
"""

import collections
import dataclasses
import enum
from collections.abc import Iterable, Mapping, Sequence

from skilljax.types import Task


class Purpose(enum.IntEnum):
  """First part of every sampling key: streams of randomness never mix."""

  TRAIN = 0
  PROBE = 1
  EVAL = 2
  DEMONSTRATION = 3
  CONFIRM = 4


@dataclasses.dataclass(frozen=True)
class EpisodeNode:
  """One episode of a plan.

  Attributes:
    node_id: unique inside the plan; becomes `Trajectory.episode_id`.
    task: what to play.
    chain: name of the bank it reads.
    stage: reads the chain after all commits of earlier stages.
    key: sampling key; equal keys under equal prompts give equal tokens.
    group_id: rows with equal ids form a group; -1 outside of training.
    review: whether an EDIT turn follows the episode.
    commit: whether a valid edit is written to the chain.
  """

  node_id: str
  task: Task
  chain: str
  key: tuple[int, ...]
  stage: int = 0
  group_id: int = -1
  review: bool = False
  commit: bool = False


@dataclasses.dataclass(frozen=True)
class Plan:
  """A validated list of nodes, in the order in which free slots take them.

  Raises:
    ValueError: two nodes share an id, a node commits without review, or a stage is
      negative.
  """

  nodes: tuple[EpisodeNode, ...]

  def __post_init__(self):
    seen: set[str] = set()
    for node in self.nodes:
      if node.node_id in seen:
        raise ValueError(f"plan: node_id {node.node_id!r} stands twice; ids are unique")
      if node.commit and not node.review:
        raise ValueError(f"plan: node {node.node_id!r} commits an edit without a review")
      if node.stage < 0:
        raise ValueError(
          f"plan: stage={node.stage} of node {node.node_id!r} must be >= 0"
        )
      seen.add(node.node_id)

  def writers(self) -> Mapping[tuple[str, int], int]:
    """(chain, stage) -> number of nodes that commit there."""
    return collections.Counter((n.chain, n.stage) for n in self.nodes if n.commit)


def independent_groups(
  tasks: Sequence[Task], group_size: int, *, key: tuple[int, ...], review: bool
) -> Plan:
  """G episodes of each task, each task under the bank of its own scope."""
  return Plan(
    tuple(
      EpisodeNode(
        node_id=f"g{group}.{member}",
        task=task,
        chain=task.scope,
        key=(*key, group, member),
        group_id=group,
        review=review,
      )
      for group, task in enumerate(tasks)
      for member in range(group_size)
    )
  )


def streams(
  tasks: Mapping[str, Sequence[Task]],
  *,
  key: tuple[int, ...],
  evolving: bool,
  width: int = 1,
) -> Plan:
  """Chains of tasks; with `evolving`, each stage of `width` tasks edits the bank.

  Args:
    tasks: chain -> tasks in stream order.
    key: prefix of the sampling keys; (position) within the chain is appended, so
      arms that play the same chains are paired in their randomness.
    evolving: review each episode and commit its edit.
    width: episodes of one chain that run side by side between two commits.
  Raises:
    ValueError: width < 1.
  """
  if width < 1:
    raise ValueError(f"width={width} must be >= 1 (config key eval.width)")
  nodes = [
    EpisodeNode(
      node_id=f"{chain}:{position}",
      task=task,
      chain=chain,
      key=(*key, lane, position),
      stage=position // width if evolving else 0,
      review=evolving,
      commit=evolving,
    )
    for lane, (chain, stream) in enumerate(tasks.items())
    for position, task in enumerate(stream)
  ]
  return Plan(tuple(sorted(nodes, key=lambda node: node.stage)))


def by_scope(tasks: Iterable[Task]) -> dict[str, list[Task]]:
  """Tasks grouped by bank scope, in order of first appearance."""
  groups: dict[str, list[Task]] = {}
  for task in tasks:
    groups.setdefault(task.scope, []).append(task)
  return groups
