"""Ablation of DualAdv: act and edit rewards of a group share one mean and std.

  python -m experiments.train --config=configs/recipes/joint_normalisation.py \
      --policy=runs/cold/policy --workdir=runs/joint

Everything else is `household`. Expect each role's advantages to depend on the scale and
the level of the other's rewards. Variants: those of `household`.
"""

import ml_collections

from configs import household


def get_config(arg: str = "") -> ml_collections.ConfigDict:
  """The resolved, locked config of one variant."""
  c = household.get_config(arg)
  c.rl.advantage = "joint"
  return c
