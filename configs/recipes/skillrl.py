"""Baseline: SkillRL (arXiv:2602.08234) without evolution: a distilled bank, then GRPO.

  python -m experiments.evaluate --config=configs/household.py --policy=runs/cold/policy \
      --workdir=runs/distilled --config.eval.split=train --config.eval.num_scopes=24 \
      --config.eval.arms="('evolving',)" --config.eval.passes=1 \
      --config.eval.warmup_tasks=0
  python -m experiments.train --config=configs/recipes/skillrl.py:updates=100 \
      --policy=runs/cold/policy --workdir=runs/skillrl

The first command distils one bank an estate before RL: the cold-start policy plays 18
tasks of each and reviews them, and every valid edit enters. The second trains acting
only; the banks are shown in each prompt and never change. Compared with
`recipes/grpo`: skills are shown. On ALFWorld and WebShop one bank serves all tasks; it is
distilled from 200 of them, with `--config.eval.arms` and `passes` as above and

  --config=configs/alfworld_scratch.py:split=valid_train
  --config=configs/webshop_scratch.py --config.eval.split=train \
      --config.eval.tasks_per_scope=200

SkillRL has a closed model distil; a file of its JSON format is read as well:
`--config.train.initial_banks=bank.json`.
Variants: `:base=alfworld_scratch`, `:base=webshop_scratch`, and those of the base.
"""

import ml_collections

from configs import bases

DISTILLED = "runs/distilled/banks/evolving"


def get_config(arg: str = "") -> ml_collections.ConfigDict:
  """The resolved, locked config of one variant."""
  c = bases.with_skills(arg)
  with c.unlocked():
    if bases.estates(c):
      c.env.train_estates = 24  # those that were distilled
      c.train.taught_banks = 0.0
    c.train.review = False
    c.train.initial_banks = DISTILLED
    c.rl.advantage = "grpo"
    c.rl.edit_weight = None
    c.eval.arms = ("no_bank", "frozen")
    del c.probes, c.gate  # nobody proposes edits
  return c.lock()
