"""SkillMaster on the shorter tasks of ScienceWorld, a small decoder from scratch.

  python -m experiments.sft   --config=configs/scienceworld_scratch.py \
      --workdir=runs/sci_cold
  python -m experiments.train --config=configs/scienceworld_scratch.py \
      --policy=runs/sci_cold/policy --workdir=runs/sci_rl
  python -m experiments.evaluate --config=configs/scienceworld_scratch.py:split=test \
      --policy=runs/sci_rl/policy --banks=runs/sci_rl/banks --workdir=runs/sci_rl/eval

Needs `pip install -e .[scienceworld]` and Java. Not trained to a result yet, so neither
hours nor a score are known. The model and the learning are those of `alfworld_scratch`;
demonstrations replay gold paths and hold no skills. Published are all 30 task types in
100 turns (`env.task_types=()`, `env.max_turns=100`), which needs a longer context.
Variants: `:debug`, `:grpo` (no skills), `:split=test`, `:seed=1`, `:updates=30`.
"""

import ml_collections

from configs import alfworld_scratch, debug, defaults

MAX_LEN = 2048  # tokens of an episode with its review


def get_config(arg: str = "") -> ml_collections.ConfigDict:
  """The resolved, locked config of one variant."""
  c = alfworld_scratch.get_config(f"split=dev,{arg}").unlock()
  small = c.env.max_turns == 6
  c.env = ml_collections.ConfigDict()
  c.env.name = "scienceworld"
  c.env.task_types = (
    *("find-animal", "find-living-thing", "find-non-living-thing", "find-plant"),
    "chemistry-mix-paint-secondary-color",
  )
  c.env.simplifications = "easy"
  c.env.max_turns = 6 if small else 25
  c.env.heap_mb = 512  # of one worker, for all of its worlds
  c.env.admissible = False  # the compact prompt would not show it
  c.pool.envs_per_worker = 2 if small else 8  # about 30 MB each
  c.pool.recycle_after_episodes = 0  # the engine does not leak
  alfworld_scratch.without_drills(c, debug.MAX_LEN if small else MAX_LEN)
  if small:  # a world takes half a second to load
    c.cold_start.episodes, c.cold_start.tokenizer_episodes = 4, 2
  return defaults.fill(c).lock()
