"""Ablation of DualAdv: act and edit rewards of a group share one mean and std.

  python -m experiments.train --config=configs/recipes/joint_normalisation.py \
      --policy=runs/cold/policy --workdir=runs/joint

Everything else is the base. Expect each role's advantages to depend on the scale and the
level of the other's rewards.
Variants: `:base=alfworld_scratch`, `:base=webshop_scratch`, and those of the base.
"""

import ml_collections

from configs import bases


def get_config(arg: str = "") -> ml_collections.ConfigDict:
  """The resolved, locked config of one variant."""
  c = bases.with_skills(arg)
  c.rl.advantage = "joint"
  return c
