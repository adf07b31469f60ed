"""A plan shared out over several hosts, and their rollouts put together again.

Results do not depend on batch-mates, so any division gives the same trajectories. Nodes
of a chain that is written stay on one host, because they read each other's edits; so do
episodes of one task, whose game is loaded once.

Must not know about: how hosts talk, how a plan is played.
"""

from collections.abc import Mapping, Sequence

from skilljax.rollout.plan import Plan
from skilljax.rollout.results import Rollout
from skilljax.skills.bank import SkillBank


def part_of(plan: Plan, index: int, count: int) -> Plan:
  """The nodes that one host plays, in plan order.

  Args:
    plan: of all hosts.
    index: of the host.
    count: hosts.
  """
  if count == 1:
    return plan
  written = {chain for chain, _ in plan.writers()}
  units: dict[tuple[str, str], list] = {}
  for node in plan.nodes:
    unit = ("chain", node.chain) if node.chain in written else ("task", node.task.key)
    units.setdefault(unit, []).append(node)
  load = [0] * count
  own: set[str] = set()
  for nodes in units.values():
    host = min(range(count), key=lambda number: (load[number], number))
    load[host] += len(nodes)
    if host == index:
      own |= {node.node_id for node in nodes}
  return Plan(tuple(node for node in plan.nodes if node.node_id in own))


def merge(
  plan: Plan, parts: Sequence[Rollout], banks: Mapping[str, SkillBank]
) -> Rollout:
  """The rollout of a plan from those of its parts.

  Args:
    plan: of all hosts.
    parts: of each host, by index.
    banks: chain -> bank before the plan.
  """
  if len(parts) == 1:
    return parts[0]
  trajectories = {k: v for part in parts for k, v in part.trajectories.items()}
  edits = {k: v for part in parts for k, v in part.edits.items()}
  after = dict(banks)
  for index, part in enumerate(parts):
    mine = part_of(plan, index, len(parts))
    after |= {chain: part.banks[chain] for chain, _ in mine.writers()}
  order = [node.node_id for node in plan.nodes]
  return Rollout(
    trajectories={i: trajectories[i] for i in order},
    edits={i: edits[i] for i in order if i in edits},
    banks=after,
  )
