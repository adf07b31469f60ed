"""SkillMaster, GRPO and GiGPO on the real ALFWorld games, from the same cold starts.

  export SKILLJAX_DATA=...            # folder that holds alfworld/
  python -m experiments.study --config=configs/studies/alfworld.py \
      --workdir=runs/alfworld_study

The reference players, then two seeds: all 140 seen and 134 unseen games three times an
arm, equal interactions. Two CPU cores, about 3 hours a seed. Variant `:debug` (minutes,
nothing is learned).
"""

import ml_collections

from skilljax.config import parse_arg

ALFWORLD = "configs/alfworld_scratch.py"


def get_config(arg: str = "") -> ml_collections.ConfigDict:
  """The locked config of one variant."""
  debug = parse_arg(arg, debug=False).debug
  head = f"{ALFWORLD}:debug," if debug else f"{ALFWORLD}:"
  c = ml_collections.ConfigDict()
  c.config = head.rstrip(",")
  c.recipes = ml_collections.ConfigDict()
  c.recipes.skillmaster = head.rstrip(",")
  c.recipes.grpo = f"{head}grpo"
  c.recipes.gigpo = f"{head}gigpo"
  c.seeds = (0,) if debug else (0, 1)
  c.splits = ("valid_seen", "valid_unseen")
  c.passes = 1 if debug else 3
  c.matched_to = "skillmaster"
  c.players = ("random", "demonstrator", "expert")
  c.banks = True  # the frozen and evolving arms begin with the bank of training
  return c.lock()
