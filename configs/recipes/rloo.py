"""Control: RLOO (arXiv:2402.14740), without skills, reviews and probes.

  python -m experiments.train --config=configs/recipes/rloo.py:updates=100 \
      --policy=runs/cold/policy --workdir=runs/rloo

Compared with `recipes/grpo`: each episode's baseline is the mean of the other members of
its group, and nothing is divided by a standard deviation.
Variants: `:base=alfworld_scratch`, `:base=webshop_scratch`, and those of the base.
"""

import ml_collections

from configs.recipes import grpo


def get_config(arg: str = "") -> ml_collections.ConfigDict:
  """The resolved, locked config of one variant."""
  c = grpo.get_config(arg)
  c.rl.advantage = "rloo"
  return c
