"""Ablation of the gate: edits are written, probed and learned from, but none is kept.

  python -m experiments.train --config=configs/recipes/frozen_bank.py \
      --policy=runs/cold/policy --workdir=runs/frozen

Everything else is the base. On `household` half of the estates begin with a teacher's
skills, the others with none, as does the one bank of a benchmark, and so they stay. The
policy trains its reviews and its acting without ever acting with skills of its own;
whether it reads them is what the evolving arm of an evaluation shows. A given bank
without reviews: `recipes/skillrl`.
Variants: `:base=alfworld_scratch`, `:base=webshop_scratch`, and those of the base.
"""

import ml_collections

from configs import bases


def get_config(arg: str = "") -> ml_collections.ConfigDict:
  """The resolved, locked config of one variant."""
  c = bases.with_skills(arg)
  with c.unlocked():
    c.gate.mode = "frozen"
    c.gate.audits_per_update = 0
    del c.gate.max_commits  # nothing is committed, so there is nothing to limit
  return c.lock()
