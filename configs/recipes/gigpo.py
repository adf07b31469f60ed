"""Baseline: GiGPO (arXiv:2505.10978), without skills, reviews and probes.

  python -m experiments.train --config=configs/recipes/gigpo.py:updates=100 \
      --policy=runs/cold/policy --workdir=runs/gigpo

Compared with `recipes/grpo`: each task turn gets a second advantage, A = A_E + ω · A_S.
A_S compares the discounted reward after the turn with that of the other turns of the
task group that answered the same observation. ω = 1, γ = 0.95 and division by the
standard deviation as in the authors' ALFWorld script: with ω = 0 this is `recipes/grpo`.
On WebShop nothing is divided, in A_E neither, as in their script for that. The same as
the `:gigpo` of the bases that have one.
Variants: `:base=alfworld_scratch`, `:base=webshop_scratch`, and those of the base.
"""

import ml_collections

from configs.recipes import grpo


def get_config(arg: str = "") -> ml_collections.ConfigDict:
  """The resolved, locked config of one variant."""
  c = grpo.get_config(arg)
  with c.unlocked():
    c.rl.gigpo = ml_collections.ConfigDict()
    c.rl.gigpo.omega = 1.0
    c.rl.gigpo.gamma = 0.95
    c.rl.gigpo.use_std = c.env.name != "webshop"
    if c.env.name == "webshop":
      c.rl.advantage = "dr_grpo"
  return c.lock()
