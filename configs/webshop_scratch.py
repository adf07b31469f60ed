"""SkillMaster on WebShop's 1,000 real products, a small decoder trained from scratch.

  export SKILLJAX_DATA=...            # folder that holds webshop/
  python -m experiments.sft   --config=configs/webshop_scratch.py --workdir=runs/shop_cold
  python -m experiments.train --config=configs/webshop_scratch.py \
      --policy=runs/shop_cold/policy --workdir=runs/shop_rl
  python -m experiments.evaluate --config=configs/webshop_scratch.py \
      --policy=runs/shop_rl/policy --banks=runs/shop_rl/banks --workdir=runs/shop_rl/eval

Published goals, splits and reward; the compact observation, because the published pages
would fill the context of a small policy. The cold start imitates scripted shoppers with
different habits on train goals, who follow the rules that they are shown, after exercises
that copy.
Variants: `:debug`, `:grpo` and `:gigpo` (no skills; the latter without a division by the
standard deviation, as its authors have it on WebShop), `:repaired` (the two defects that
decide scores: see `WebshopSettings.option_match` and `split_by`), `:redraw` (prices and
ceilings of its own for each seed, as the published environment has for each run; else
all seeds share those of 0), `:seed=1`, `:updates=30`.
"""

import ml_collections

from configs import debug, defaults
from skilljax.config import parse_arg


def get_config(arg: str = "") -> ml_collections.ConfigDict:
  """The resolved, locked config of one variant."""
  variant = parse_arg(
    arg,
    debug=False,
    grpo=False,
    gigpo=False,
    repaired=False,
    redraw=False,
    seed=0,
    updates=30,
  )
  skills = not (variant.grpo or variant.gigpo)
  c = ml_collections.ConfigDict()
  c.seed = variant.seed

  c.env = ml_collections.ConfigDict()
  c.env.name = "webshop"
  c.env.data_dir = ""  # '' means $SKILLJAX_DATA/webshop
  c.env.cache_dir = ""  # '' means ~/.cache/skilljax/webshop
  c.env.catalogue = "small"  # 'full' is 1.18 M products and has human goals only
  c.env.require_official = True
  c.env.human_goals = False
  c.env.price_seed = variant.seed if variant.redraw else 0
  c.env.tagger = "textblob"
  c.env.show_attributes = False
  c.env.observation = "compact"
  c.env.max_observation_chars = 1200
  c.env.max_turns = 15
  c.env.option_match = "values" if variant.repaired else "pairs"
  c.env.split_by = "product" if variant.repaired else "goal"
  c.pool = ml_collections.ConfigDict()
  c.pool.num_workers = 0  # inline: a step costs 0.2 ms
  c.pool.envs_per_worker = 48

  c.agent = ml_collections.ConfigDict()
  c.agent.chat = "compact"
  c.agent.style = "compact"
  c.agent.budget = ml_collections.ConfigDict()
  c.agent.budget.act_tokens = 96  # a query repeats most of the goal
  c.agent.budget.edit_tokens = 96

  c.skills = ml_collections.ConfigDict()
  c.skills.retrieval = ml_collections.ConfigDict()
  c.skills.retrieval.name = "category"
  c.skills.retrieval.top_k = 4
  c.skills.retrieval.general_k = 4
  c.skills.limits = ml_collections.ConfigDict()
  c.skills.limits.max_principle_chars = 200
  c.skills.limits.max_when_to_apply_chars = 100

  c.model = ml_collections.ConfigDict()  # about 2 M parameters, Qwen3 layout
  c.model.vocab_size = 2048
  c.model.d_model = 160
  c.model.num_layers = 4
  c.model.num_heads = 4
  c.model.num_kv_heads = 2
  c.model.head_dim = 40
  c.model.d_ff = 512
  c.model.qk_norm = True
  c.model.max_len = 2048
  c.model.remat = "full"

  c.cold_start = ml_collections.ConfigDict()
  c.cold_start.episodes = 2000
  c.cold_start.steps = 1500
  c.cold_start.drills = 3000
  c.cold_start.drill_steps = 200
  c.cold_start.exercise_steps = 250
  c.cold_start.mastery = 0.1
  c.cold_start.drill_share = 0.2
  c.cold_start.previous_token_heads = 2
  c.cold_start.induction_head = True
  c.cold_start.tokenizer_episodes = 200
  c.cold_start.vocab_size = 2048
  c.cold_start.seed = variant.seed
  c.sft = ml_collections.ConfigDict()
  c.sft.optimizer = "muon"
  c.sft.learning_rate = 6e-3
  c.sft.warmup_steps = 30
  c.sft.decay_steps = 1500
  c.sft.rows_per_batch = 2
  c.sft.row_len = 2048

  c.engine = ml_collections.ConfigDict()
  c.engine.num_slots = 48
  c.engine.num_lanes = 2  # one a core
  c.engine.decode_rows = (2, 4, 8)
  c.engine.max_len = 2048  # tokens of an episode with its review
  c.engine.attend_buckets = (512, 1024)
  c.engine.extend_buckets = (64, 320)  # a page of results has 270 tokens
  c.engine.row_buckets = (4,)

  c.train = ml_collections.ConfigDict()
  c.train.num_updates = variant.updates
  c.train.group_size = 8  # G
  c.train.minibatches = 2
  c.train.review = skills
  c.train.skills = skills
  c.train.checkpoint_every = 5
  c.feed = ml_collections.ConfigDict()
  c.feed.tasks_per_update = 8  # N
  c.feed.seed = variant.seed
  if skills:
    c.probes = ml_collections.ConfigDict()
    c.probes.num_probes = 4  # K
    c.probes.alpha = 0.3
    c.probes.nulls_per_update = 2
    c.probes.every_family = False
    c.gate = ml_collections.ConfigDict()
    c.gate.mode = "commit"
    c.gate.level = 0.1  # rate at which a content-free edit may pass
    c.gate.max_commits = 1
    c.gate.audits_per_update = 1
    c.gate.confirm = False

  c.rl = ml_collections.ConfigDict()
  no_skills = "dr_grpo" if variant.gigpo else "grpo"
  c.rl.advantage = "dual" if skills else no_skills
  c.rl.edit_weight = 0.2 if skills else None
  c.rl.act = ml_collections.ConfigDict()
  c.rl.act.env_return = 1.0  # the score counts beside success
  if variant.gigpo:
    c.rl.gigpo = ml_collections.ConfigDict()
    c.rl.gigpo.omega = 1.0
    c.rl.gigpo.gamma = 0.95
    c.rl.gigpo.use_std = False
  c.loss = ml_collections.ConfigDict()
  c.loss.clip_eps_high = 0.28
  c.loss.kl_coef = 0.01
  c.loss.entropy_coef = 0.001
  c.loss.temperature = 0.7
  c.learner = ml_collections.ConfigDict()
  c.learner.learning_rate = 1e-4  # from scratch; pretrained ones take 1e-6
  c.learner.warmup_steps = 4
  c.learner.rows_per_batch = 2
  c.learner.row_len = 2048

  c.eval = ml_collections.ConfigDict()
  c.eval.arms = ("no_bank", "frozen", "evolving") if skills else ("no_bank",)
  c.eval.split = "test"
  c.eval.passes = 3
  c.eval.temperature = 0.4
  c.eval.tasks_per_scope = 0
  c.eval.width = 16  # goals between two commits of the evolving arm
  if variant.debug:
    _shrink(c)
  return defaults.fill(c).lock()


def _shrink(c: ml_collections.ConfigDict):
  """The debug variant: every part runs on a few goals, nothing is learned."""
  debug.shrink(c)
  c.env.max_turns, c.env.max_observation_chars = 5, 400
  c.agent.budget.act_tokens = 48
  c.cold_start.tokenizer_episodes = 8
  c.cold_start.drills = 8
  c.cold_start.drill_steps, c.cold_start.exercise_steps = 1, 1
