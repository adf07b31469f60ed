"""Control: plain GRPO, without skills, reviews and probes.

  python -m experiments.train --config=configs/recipes/grpo.py:updates=100 \
      --policy=runs/cold/policy --workdir=runs/grpo

The same cold start, loss and optimiser as `household`. An update plays N·G = 64 episodes
and no probes, so give it as many updates as match the SkillMaster run's last
`rollout/interactions`: updates = interactions / 64. Variants: those of `household`.
"""

import ml_collections

from configs import household


def get_config(arg: str = "") -> ml_collections.ConfigDict:
  """The resolved, locked config of one variant."""
  return household.get_config(f"{arg},grpo")
