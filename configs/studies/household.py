"""SkillMaster against GRPO without skills on `household`, 3 seeds, equal interactions.

  python -m experiments.study --config=configs/studies/household.py \
      --workdir=runs/household_study

Two CPU cores, about 1.5 hours. Variant `:debug` (minutes, nothing is learned).
"""

import ml_collections

from skilljax.config import parse_arg

HOUSEHOLD = "configs/household.py"


def get_config(arg: str = "") -> ml_collections.ConfigDict:
  """The locked config of one variant."""
  debug = parse_arg(arg, debug=False).debug
  variants = ("debug", "debug,grpo") if debug else ("", "grpo")
  c = ml_collections.ConfigDict()
  c.config = f"{HOUSEHOLD}:{variants[0]}"
  c.recipes = ml_collections.ConfigDict()
  c.recipes.skillmaster = f"{HOUSEHOLD}:{variants[0]}"
  c.recipes.grpo = f"{HOUSEHOLD}:{variants[1]}"
  c.seeds = (0,) if debug else (0, 1, 2)
  c.splits = ("test",)
  c.passes = 1  # of 24 streams: see configs/household.py
  c.matched_to = "skillmaster"
  return c.lock()
