"""Use statistics of one update: which skills were shown, and how those episodes ended.

Must not know about: banks on disk, rewards.
"""

import math
from collections.abc import Iterable, Mapping

from skilljax.rollout.commit import Committed
from skilljax.rollout.runner import Rollout
from skilljax.skills.bank import SkillBank
from skilljax.skills.stats import Stats


def tally(
  stats: Stats,
  rollout: Rollout,
  banks: Mapping[str, SkillBank],
  committed: Iterable[Committed],
  new_banks: Mapping[str, SkillBank],
  update: int,
) -> Stats:
  """Adds the episodes of an update and the utilities of what was committed.

  Args:
    stats: so far.
    rollout: of the update; faulty episodes do not count.
    banks: chain -> bank that the episodes read.
    committed: edits that entered a bank.
    new_banks: chain -> bank after them.
    update: number of the update.
  """
  for trajectory in rollout.trajectories.values():
    if trajectory.fault:
      continue
    bank = banks[trajectory.task.scope]
    shown = [bank.get(skill_id) for skill_id in trajectory.shown_skills]
    stats = stats.record_shown(shown, update=update)
    stats = stats.record_episode(shown, success=trajectory.success)
  for item in committed:
    if not math.isfinite(item.utility):  # it entered without a test
      continue
    for skill in new_banks[item.chain].skills:
      if item.edit.kind != "retire" and skill.principle == item.edit.principle:
        stats = stats.record_utility(skill, item.utility)
  return stats
