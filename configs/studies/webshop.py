"""SkillMaster, GRPO and GiGPO on WebShop's 500 test goals, from the same cold starts.

  export SKILLJAX_DATA=...            # folder that holds webshop/
  python -m experiments.study --config=configs/studies/webshop.py \
      --workdir=runs/webshop_study

The reference players, then two seeds: every test goal three times an arm, equal
interactions. Two CPU cores, about 6 hours. Variants: `:repaired` (goals and reward
without the published defects), `:debug` (minutes, nothing is learned).
"""

import ml_collections

from skilljax.config import parse_arg

WEBSHOP = "configs/webshop_scratch.py"


def get_config(arg: str = "") -> ml_collections.ConfigDict:
  """The locked config of one variant."""
  variant = parse_arg(arg, debug=False, repaired=False)
  names = [name for name in ("debug", "repaired") if variant[name]]

  def with_variants(*more: str) -> str:
    return ":".join((WEBSHOP, ",".join((*names, *more)))).rstrip(":")

  c = ml_collections.ConfigDict()
  c.config = with_variants()
  c.recipes = ml_collections.ConfigDict()
  c.recipes.skillmaster = with_variants()
  c.recipes.grpo = with_variants("grpo")
  c.recipes.gigpo = with_variants("gigpo")
  c.seeds = (0,) if variant.debug else (0, 1)
  c.splits = ("test",)
  c.passes = 1 if variant.debug else 3
  c.matched_to = "skillmaster"
  c.players = ("random", "demonstrator", "expert")
  c.banks = True  # the frozen and evolving arms begin with the bank of training
  return c.lock()
