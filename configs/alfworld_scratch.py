"""SkillMaster on the real ALFWorld games, a small decoder trained from scratch.

  export SKILLJAX_DATA=...            # folder that holds alfworld/ (packed or downloaded)
  python -m experiments.sft   --config=configs/alfworld_scratch.py --workdir=runs/alf_cold
  python -m experiments.train --config=configs/alfworld_scratch.py \
      --policy=runs/alf_cold/policy --workdir=runs/alf_rl
  python -m experiments.evaluate --config=configs/alfworld_scratch.py:split=valid_unseen \
      --policy=runs/alf_rl/policy --banks=runs/alf_rl/banks --workdir=runs/alf_rl/eval

Two CPU cores, about 100 minutes: 45 for the cold start (12 of them to translate its
games, once), 40 for 30 updates, 8 for a split, three times in three arms. What came
out: experiments/LEADERBOARD.md. The policy sees no list of admissible commands.
Variants: `:debug`, `:grpo` (no skills), `:gigpo` (no skills, see `recipes/gigpo`),
`:split=valid_seen`, `:seed=1`, `:updates=30`, `:strict` (edits are probed
twice before they enter, those of general skills on all families).
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
    strict=False,
    seed=0,
    updates=30,
    split="valid_seen",
  )
  skills = not (variant.grpo or variant.gigpo)
  c = ml_collections.ConfigDict()
  c.seed = variant.seed

  c.env = ml_collections.ConfigDict()
  c.env.name = "alfworld"
  c.env.data_dir = ""  # '' means $SKILLJAX_DATA/alfworld
  c.env.cache_dir = ""  # '' means ~/.cache/skilljax/alfworld
  c.env.max_turns = 30  # the benchmark's 50 would double the context
  c.pool = ml_collections.ConfigDict()
  c.pool.num_workers = 2  # one process a core: the engine must not run in threads
  c.pool.envs_per_worker = 24
  c.pool.recycle_after_episodes = 400  # the engine leaks about 1 MB a game

  c.agent = ml_collections.ConfigDict()
  c.agent.chat = "compact"
  c.agent.style = "compact"
  c.agent.budget = ml_collections.ConfigDict()
  c.agent.budget.act_tokens = 24
  c.agent.budget.edit_tokens = 80

  c.skills = ml_collections.ConfigDict()
  c.skills.retrieval = ml_collections.ConfigDict()
  c.skills.retrieval.name = "category"
  c.skills.retrieval.top_k = 4
  c.skills.retrieval.general_k = 6
  c.skills.limits = ml_collections.ConfigDict()
  c.skills.limits.max_principle_chars = 200
  c.skills.limits.max_when_to_apply_chars = 100

  c.model = ml_collections.ConfigDict()  # about 1.9 M parameters, Qwen3 layout
  c.model.vocab_size = 1024
  c.model.d_model = 160
  c.model.num_layers = 4
  c.model.num_heads = 4
  c.model.num_kv_heads = 2
  c.model.head_dim = 40
  c.model.d_ff = 512
  c.model.qk_norm = True
  c.model.max_len = 1280
  c.model.remat = "full"

  c.cold_start = ml_collections.ConfigDict()
  c.cold_start.episodes = 3500  # nearly every train game once
  c.cold_start.steps = 2400
  c.cold_start.drills = 3000
  c.cold_start.drill_steps = 240
  c.cold_start.exercise_steps = 240
  c.cold_start.mastery = 0.15
  c.cold_start.drill_share = 0.1
  c.cold_start.opening_steps = 80
  c.cold_start.previous_token_heads = 2
  c.cold_start.induction_head = True
  c.cold_start.tokenizer_episodes = 60
  c.cold_start.vocab_size = 1024
  c.cold_start.seed = variant.seed
  c.sft = ml_collections.ConfigDict()
  c.sft.optimizer = "muon"
  c.sft.learning_rate = 6e-3
  c.sft.warmup_steps = 30
  c.sft.decay_steps = 2400
  c.sft.rows_per_batch = 2
  c.sft.row_len = 1280

  c.engine = ml_collections.ConfigDict()
  c.engine.num_slots = 48
  c.engine.num_lanes = 2  # one a core
  c.engine.decode_rows = (2, 4, 8)
  c.engine.max_len = 1280  # tokens of an episode with its review
  c.engine.attend_buckets = (512, 896)

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
    c.probes.every_family = variant.strict
    c.gate = ml_collections.ConfigDict()
    c.gate.mode = "commit"
    c.gate.level = 0.1  # rate at which a content-free edit may pass
    c.gate.max_commits = 1
    c.gate.audits_per_update = 1
    c.gate.confirm = variant.strict

  c.rl = ml_collections.ConfigDict()
  c.rl.advantage = "dual" if skills else "grpo"
  c.rl.edit_weight = 0.2 if skills else None
  if variant.gigpo:
    c.rl.gigpo = ml_collections.ConfigDict()
    c.rl.gigpo.omega = 1.0
    c.rl.gigpo.gamma = 0.95
    c.rl.gigpo.use_std = True
  c.loss = ml_collections.ConfigDict()
  c.loss.clip_eps_high = 0.28
  c.loss.kl_coef = 0.01
  c.loss.entropy_coef = 0.001
  c.loss.temperature = 0.7
  c.learner = ml_collections.ConfigDict()
  c.learner.learning_rate = 1e-4  # from scratch; pretrained ones take 1e-6
  c.learner.warmup_steps = 4
  c.learner.rows_per_batch = 2
  c.learner.row_len = 1280

  c.eval = ml_collections.ConfigDict()
  c.eval.arms = ("no_bank", "frozen", "evolving") if skills else ("no_bank",)
  c.eval.split = variant.split
  c.eval.passes = 3
  c.eval.temperature = 0.4
  c.eval.width = 16  # games between two commits of the evolving arm
  if variant.debug:
    _shrink(c)
  return defaults.fill(c).lock()


def without_drills(c: ml_collections.ConfigDict, max_len: int):
  """Changes an unlocked config to a teacher without exercises, and a context length.

  Args:
    c: a variant of this file's config; the caller sets `env` and `pool`.
    max_len: tokens of an episode with its review.
  """
  c.cold_start.drills, c.cold_start.drill_steps = 0, 0
  c.cold_start.exercise_steps, c.cold_start.mastery = 0, 0.0
  c.cold_start.drill_share = 0.0
  debug.set_length(c, max_len)
  # One bucket stays one: the debug variant compiles as little as it can.
  one = len(c.engine.attend_buckets) == 1
  c.engine.attend_buckets = (max_len,) if one else (max_len // 3, 2 * max_len // 3)


def _shrink(c: ml_collections.ConfigDict):
  """The debug variant: every part runs on a few games, nothing is learned."""
  debug.shrink(c)
  c.env.max_turns = 6
  c.pool.num_workers = 1
  c.cold_start.drills, c.cold_start.drill_steps = 8, 1
  c.cold_start.exercise_steps, c.cold_start.opening_steps = 1, 1
