"""SkillMaster on AppWorld with a pretrained policy, for those who have its data.

  python -m venv VENV && VENV/bin/pip install appworld==0.1.3.post1
  VENV/bin/appworld install && (cd ROOT && VENV/bin/appworld download data)
  export APPWORLD_ROOT=ROOT  CHECKPOINT=...  # folder with data/; Qwen2.5-7B-Instruct
  python -m experiments.train --config=configs/appworld.py --hosts=auto \
      --config.env.python=VENV/bin/python --policy=$CHECKPOINT --workdir=/mnt/runs/app7b
  python -m experiments.evaluate --config=configs/appworld.py:split=test_normal \
      --config.env.python=VENV/bin/python --hosts=auto --policy=/mnt/runs/app7b/policy \
      --banks=/mnt/runs/app7b/banks --workdir=/mnt/runs/app7b/test_normal

Never run: the data cannot be had here, so neither hours nor a score are known, and there
is no debug variant. No cold start, because the benchmark's solutions may not be copied
into a dataset. The learning and the chips are those of `alfworld_qwen25_7b`; an episode
is one context of 16,384 tokens, and one that fills it ends. Every environment has an
engine process of its own, some 200 MB.
Variants: `:on=v5p_8`, `:split=test_challenge`, `:seed=1`, `:updates=300`.
"""

import ml_collections

from configs import defaults, pretrained
from configs.alfworld_qwen25_7b import PLACES


def get_config(arg: str = "") -> ml_collections.ConfigDict:
  """The resolved, locked config of one variant."""
  c = pretrained.alfworld(f"split=dev,{arg}", places=PLACES).unlock()
  c.env = ml_collections.ConfigDict()
  c.env.name = "appworld"
  c.env.python = ""  # interpreter that has appworld; must be given
  c.env.data_dir = ""  # folder that holds data/; '' means $APPWORLD_ROOT
  c.env.max_turns = 40
  c.env.timeout_s = 150.0  # of one answer of the engine
  c.pool.recycle_after_episodes = 0  # the engine is a process below the worker
  c.pool.reset_timeout_s = 400.0  # the first one starts the engine
  c.pool.step_timeout_s = 320.0  # the code, then the verdict
  c.agent.budget.act_tokens = 1024  # a program
  del c.cold_start, c.sft
  return defaults.fill(c).lock()
