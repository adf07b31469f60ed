"""Control: plain GRPO, without skills, reviews and probes.

  python -m experiments.train --config=configs/recipes/grpo.py:updates=100 \
      --policy=runs/cold/policy --workdir=runs/grpo

The same cold start, loss and optimiser as the base. An update plays N·G = 64 episodes and
no probes, so give it as many updates as match the SkillMaster run's last
`rollout/interactions`: updates = interactions / 64. The same as the base's own `:grpo`.
Variants: `:base=alfworld_scratch`, `:base=webshop_scratch`, and those of the base.
"""

import ml_collections

from configs import bases


def get_config(arg: str = "") -> ml_collections.ConfigDict:
  """The resolved, locked config of one variant."""
  return bases.without_skills(arg)
