"""Control: Dr. GRPO (arXiv:2503.20783), without skills, reviews and probes.

  python -m experiments.train --config=configs/recipes/dr_grpo.py:updates=100 \
      --policy=runs/cold/policy --workdir=runs/dr_grpo

Compared with `recipes/grpo`: no division by the group's standard deviation (bias towards
easy and hard tasks) and token losses summed over a constant, `learner.row_len` (bias
towards short successes). The paper's runs have no KL term; here it stays, as in all
arms. Variants: `:base=alfworld_scratch`, `:base=webshop_scratch`, and those of the base.
"""

import ml_collections

from configs.recipes import grpo


def get_config(arg: str = "") -> ml_collections.ConfigDict:
  """The resolved, locked config of one variant."""
  c = grpo.get_config(arg)
  with c.unlocked():
    c.rl.advantage = "dr_grpo"
    c.loss.aggregation = "seq_mean_token_sum_norm"
  return c.lock()
