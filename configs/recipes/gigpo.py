"""Baseline: GiGPO (arXiv:2505.10978), without skills, reviews and probes.

  python -m experiments.train --config=configs/recipes/gigpo.py:updates=100 \
      --policy=runs/cold/policy --workdir=runs/gigpo

Compared with `recipes/grpo`: each task turn gets a second advantage, A = A_E + ω · A_S.
A_S compares the discounted reward after the turn with that of the other turns of the
task group that answered the same observation. ω = 1, γ = 0.95 and division by the
standard deviation as in the authors' ALFWorld script; `--config.rl.gigpo.use_std=False`
with `--config.rl.advantage=dr_grpo` is their WebShop script. A_E is that of GRPO, over
episodes: with ω = 0 this is `recipes/grpo`. On ALFWorld:
`configs/alfworld_scratch.py:gigpo`.
Variants: those of `household`.
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
    c.rl.gigpo.use_std = True
  return c.lock()
