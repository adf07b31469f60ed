"""SkillMaster on six games of TextWorldExpress, a small decoder from scratch.

  python -m experiments.sft   --config=configs/textworld_express.py --workdir=runs/x_cold
  python -m experiments.train --config=configs/textworld_express.py \
      --policy=runs/x_cold/policy --workdir=runs/x_rl
  python -m experiments.evaluate --config=configs/textworld_express.py:split=test \
      --policy=runs/x_rl/policy --banks=runs/x_rl/banks --workdir=runs/x_rl/eval

Needs `pip install -e .[textworld-express]` and Java. Not trained to a result yet, so
neither hours nor a score are known. The model and the learning are those of
`alfworld_scratch`; demonstrations replay gold paths and hold no skills. Left out are
`cookingworld` and `twc`: gold paths of up to 128 turns and 24,000 characters.
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
  c.env.name = "textworld_express"
  c.env.games = (
    *("coin", "mapreader", "arithmetic", "sorting", "simonsays", "peckingorder"),
  )
  c.env.params = ("coin:numLocations=4,includeDoors=0",)
  c.env.train_tasks = 1000  # seeds, a game
  c.env.dev_tasks = 50
  c.env.test_tasks = 50
  c.env.max_turns = 6 if small else 20
  c.env.heap_mb = 256  # of one worker, for all of its worlds
  c.env.admissible = False  # the compact prompt would not show it
  c.pool.envs_per_worker = 2 if small else 16
  c.pool.recycle_after_episodes = 0  # the engine does not leak
  alfworld_scratch.without_drills(c, debug.MAX_LEN if small else MAX_LEN)
  return defaults.fill(c).lock()
