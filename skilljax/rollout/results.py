"""What playing a plan gives.

Must not know about: how plans are played.
"""

import dataclasses
from collections.abc import Mapping

from skilljax.skills.bank import SkillBank
from skilljax.skills.edits import EditOutcome
from skilljax.types import Trajectory


@dataclasses.dataclass(frozen=True)
class Rollout:
  """What a plan produced.

  Attributes:
    trajectories: node id -> trajectory, in plan order.
    edits: node id -> outcome of its review, for nodes with a parsed edit.
    banks: chain -> bank after every commit of the plan.
  """

  trajectories: Mapping[str, Trajectory]
  edits: Mapping[str, EditOutcome]
  banks: Mapping[str, SkillBank]
