"""SkillMaster on the embedded world `household`, a small decoder trained from scratch.

  python -m experiments.demo                                  # everything, with a report
  python -m experiments.sft   --config=configs/household.py --workdir=runs/cold
  python -m experiments.train --config=configs/household.py --policy=runs/cold/policy \
      --workdir=runs/rl

Two CPU cores, about 20 minutes (the demo stops after 28 updates), below 3 GB. Expected on
held-out estates: see README.md.

The evaluation makes one pass where the benchmarks make three: 24 estates are 24
streams, intervals resample estates, whose number more passes would not raise, and the
demo must end within 20 minutes. `--config.eval.passes=3` makes three.
Variants: `:debug` (under a minute), `:grpo` (no skills), `:seed=1`, `:updates=60`.
"""

import ml_collections

from configs import defaults
from skilljax.config import parse_arg


def get_config(arg: str = "") -> ml_collections.ConfigDict:
  """The resolved, locked config of one variant."""
  variant = parse_arg(arg, debug=False, grpo=False, seed=0, updates=36)
  c = ml_collections.ConfigDict()
  c.seed = variant.seed

  c.env = ml_collections.ConfigDict()
  c.env.name = "household"
  c.env.slack = 5  # turns beyond the oracle's plan
  c.env.test_estates = 32
  c.env.dev_estates = 16
  c.pool = ml_collections.ConfigDict()
  c.pool.num_workers = 0  # inline: a step costs microseconds
  c.pool.envs_per_worker = 64

  c.agent = ml_collections.ConfigDict()
  c.agent.chat = "compact"
  c.agent.style = "compact"
  c.agent.budget = ml_collections.ConfigDict()
  c.agent.budget.act_tokens = 48
  c.agent.budget.edit_tokens = 72

  c.skills = ml_collections.ConfigDict()
  c.skills.retrieval = ml_collections.ConfigDict()
  c.skills.retrieval.name = "category"
  c.skills.retrieval.top_k = 3
  c.skills.retrieval.general_k = 8
  c.skills.limits = ml_collections.ConfigDict()
  c.skills.limits.max_principle_chars = 160
  c.skills.limits.max_when_to_apply_chars = 80

  c.model = ml_collections.ConfigDict()  # about 1 M parameters, Qwen3 layout
  c.model.vocab_size = 576
  c.model.d_model = 128
  c.model.num_layers = 4
  c.model.num_heads = 4
  c.model.num_kv_heads = 2
  c.model.head_dim = 32
  c.model.d_ff = 384
  c.model.qk_norm = True
  c.model.max_len = 640
  c.model.remat = "full"  # faster as well as smaller on a CPU

  c.cold_start = ml_collections.ConfigDict()
  c.cold_start.episodes = 8000
  c.cold_start.steps = 1200
  c.cold_start.drills = 4000
  c.cold_start.drill_steps = 180
  c.cold_start.exercise_steps = 300
  c.cold_start.mastery = 0.15
  c.cold_start.drill_share = 0.2
  c.cold_start.opening_steps = 60
  c.cold_start.previous_token_heads = 2
  c.cold_start.induction_head = True
  c.cold_start.vocab_size = 576
  c.cold_start.seed = variant.seed
  c.sft = ml_collections.ConfigDict()
  c.sft.optimizer = "muon"
  c.sft.learning_rate = 0.01
  c.sft.warmup_steps = 30
  c.sft.decay_steps = 1200
  c.sft.rows_per_batch = 4
  c.sft.row_len = 640

  c.engine = ml_collections.ConfigDict()
  c.engine.num_slots = 64
  c.engine.num_lanes = 2  # one a core
  c.engine.decode_rows = (2, 4, 8)
  c.engine.max_len = 640  # tokens of an episode with its review
  c.engine.attend_buckets = (256, 448)

  c.train = ml_collections.ConfigDict()
  c.train.num_updates = variant.updates
  c.train.group_size = 8  # G
  c.train.minibatches = 2
  c.train.review = not variant.grpo
  c.train.skills = not variant.grpo
  c.train.taught_banks = 0.0 if variant.grpo else 0.5  # of estates; the rest begin empty
  c.train.checkpoint_every = 10
  c.feed = ml_collections.ConfigDict()
  c.feed.tasks_per_update = 8  # N
  c.feed.tasks_per_scope = 16  # tasks of an estate before the lane moves on
  c.feed.seed = variant.seed
  if not variant.grpo:
    c.probes = ml_collections.ConfigDict()
    c.probes.num_probes = 4  # K
    c.probes.alpha = 0.3
    c.probes.nulls_per_update = 4
    c.probes.every_family = False
    c.gate = ml_collections.ConfigDict()
    c.gate.mode = "commit"
    c.gate.level = 0.3  # rate at which a content-free edit may pass
    c.gate.max_commits = 2  # per estate and update
    c.gate.audits_per_update = 1
    c.gate.confirm = False

  c.rl = ml_collections.ConfigDict()
  c.rl.advantage = "grpo" if variant.grpo else "dual"
  c.rl.edit_weight = None if variant.grpo else 0.2
  c.loss = ml_collections.ConfigDict()
  c.loss.clip_eps_low = 0.2
  c.loss.clip_eps_high = 0.28
  c.loss.kl_coef = 0.01
  c.loss.entropy_coef = 0.001
  c.loss.temperature = 0.7
  c.learner = ml_collections.ConfigDict()
  c.learner.learning_rate = 1e-4  # from scratch; pretrained ones take 1e-6
  c.learner.warmup_steps = 4
  c.learner.rows_per_batch = 4
  c.learner.row_len = 640

  c.eval = ml_collections.ConfigDict()
  c.eval.arms = ("no_bank",) if variant.grpo else ("no_bank", "frozen", "evolving")
  c.eval.split = "test"
  c.eval.passes = 1  # of 24 streams
  c.eval.temperature = 0.4
  c.eval.num_scopes = 24
  c.eval.tasks_per_scope = 18
  c.eval.warmup_tasks = 12
  if variant.debug:
    _shrink(c)
  return defaults.fill(c).lock()


def _shrink(c: ml_collections.ConfigDict):
  """The debug variant: every part runs, nothing is learned."""
  c.model.d_model, c.model.num_layers, c.model.d_ff = 64, 2, 128
  c.model.num_heads, c.model.num_kv_heads = 2, 1
  c.cold_start.episodes, c.cold_start.steps = 96, 6
  c.cold_start.drills, c.cold_start.drill_steps = 16, 1
  c.cold_start.exercise_steps, c.cold_start.opening_steps = 1, 2
  c.cold_start.tokenizer_episodes = 60
  c.sft.decay_steps = 6
  c.engine.num_slots, c.engine.num_lanes, c.engine.attend_buckets = 8, 1, (640,)
  c.engine.extend_buckets, c.engine.row_buckets = (128,), (8,)
  c.engine.decode_rows = ()
  c.train.num_updates, c.train.group_size, c.train.minibatches = 2, 2, 1
  c.train.checkpoint_every = 1
  c.feed.tasks_per_update = 2
  if "probes" in c:
    c.probes.num_probes, c.probes.nulls_per_update = 2, 1
  c.eval.num_scopes, c.eval.tasks_per_scope, c.eval.warmup_tasks = 2, 2, 2
