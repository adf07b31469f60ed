"""What the configs of published checkpoints share: SkillMaster's settings, and places.

A *place* is a set of chips with the mesh, the slots and the rows that fit there;
`python -m experiments.fit` checks each one with the compiler (docs/pods.md). Not a config
by itself.
"""

import dataclasses
from collections.abc import Mapping

import ml_collections

from configs import defaults
from skilljax.config import ConfigError, parse_arg

Sizes = tuple[int, int, int]  # data, fsdp, tensor


@dataclasses.dataclass(frozen=True, kw_only=True)
class Place:
  """Chips, and what a config must be to fit there.

  Attributes:
    mesh: of the learner, over all chips.
    engine_mesh: of one sampler, over all chips of a host, which has one of its own: four
      where there are several TPU hosts. A TPU VM v5litepod-8 is one host of eight.
    rows: of a micro-batch, over all chips.
    slots: episodes that one sampler plays at once.
    remat: what the backward pass computes again.
    moments: type of the optimiser's moments.
    adapters: trains adapters of this rank on bfloat16 weights; 0 trains the weights.
  """

  mesh: Sizes
  engine_mesh: Sizes
  rows: int
  slots: int
  remat: str = "full"
  moments: str = "float32"
  adapters: int = 0


def alfworld(arg: str, *, places: Mapping[str, Place]) -> ml_collections.ConfigDict:
  """SkillMaster on ALFWorld with a pretrained policy; the first place is the default."""
  variant, place = _read(arg, places, updates=300, split="valid_seen")
  c = _common(variant, place, max_len=16_384)
  c.env.name = "alfworld"
  c.env.data_dir = ""  # '' means $SKILLJAX_DATA/alfworld
  c.env.cache_dir = ""  # '' means ~/.cache/skilljax/alfworld
  c.env.max_turns = 50
  c.pool.num_workers = 16  # processes: the engine must not run in threads
  c.pool.envs_per_worker = max(1, place.slots // 16)
  c.pool.recycle_after_episodes = 400  # the engine leaks about 1 MB a game
  c.agent.budget.act_tokens = 512
  c.agent.budget.edit_tokens = 512
  c.skills.retrieval.general_k = 13
  c.loss.kl_coef = 0.01
  c.eval.split = variant.split
  if variant.debug:
    _shrink(c)
  return defaults.fill(c).lock()


def webshop(arg: str, *, places: Mapping[str, Place]) -> ml_collections.ConfigDict:
  """SkillMaster on WebShop's small catalogue with a pretrained policy."""
  variant, place = _read(arg, places, updates=300, split="test")
  c = _common(variant, place, max_len=12_288)
  c.env.name = "webshop"
  c.env.data_dir = ""  # '' means $SKILLJAX_DATA/webshop
  c.env.cache_dir = ""  # '' means ~/.cache/skilljax/webshop
  c.env.catalogue = "small"
  c.env.observation = "published"
  c.env.max_turns = 15
  c.pool.num_workers = 0  # inline: a step costs 0.2 ms
  c.pool.envs_per_worker = place.slots
  c.agent.budget.act_tokens = 512
  c.agent.budget.edit_tokens = 768
  c.skills.retrieval.general_k = 6
  c.loss.kl_coef = 0.05
  c.eval.split = variant.split
  if variant.debug:
    _shrink(c)
  return defaults.fill(c).lock()


def _read(
  arg: str, places: Mapping[str, Place], *, updates: int, split: str
) -> tuple[ml_collections.ConfigDict, Place]:
  """The variant that an argument names, and its place."""
  default = next(iter(places))
  variant = parse_arg(arg, on=default, debug=False, seed=0, updates=updates, split=split)
  if variant.on not in places:
    raise ConfigError(
      f"config variant on={variant.on!r} must be one of {', '.join(places)}"
    )
  return variant, places[variant.on]


def _common(
  variant: ml_collections.ConfigDict, place: Place, *, max_len: int
) -> ml_collections.ConfigDict:
  """Everything that does not depend on the benchmark."""
  c = ml_collections.ConfigDict()
  c.seed = variant.seed
  c.env = ml_collections.ConfigDict()
  c.pool = ml_collections.ConfigDict()
  c.agent = ml_collections.ConfigDict({"chat": "chatml", "style": "full", "budget": {}})
  c.skills = ml_collections.ConfigDict()
  c.skills.retrieval = ml_collections.ConfigDict({"name": "category", "top_k": 8})
  c.skills.limits = ml_collections.ConfigDict()
  c.skills.limits.max_principle_chars = 600
  c.skills.limits.max_when_to_apply_chars = 300

  c.engine = ml_collections.ConfigDict()
  c.engine.num_slots = place.slots
  c.engine.max_len = max_len  # tokens of an episode with its review
  c.engine.attend_buckets = (2048, 4096, 8192)
  c.engine.extend_buckets = (64, 256)  # scores: rows x heads x columns x context
  c.engine.row_buckets = (8,)

  c.train = ml_collections.ConfigDict()
  c.train.num_updates = variant.updates
  c.train.group_size = 8  # G
  c.train.minibatches = 8  # there: 128 turns of about 1,000, or 64 of 500
  c.train.checkpoint_every = 5
  c.feed = ml_collections.ConfigDict({"tasks_per_update": 8, "seed": variant.seed})  # N
  c.probes = ml_collections.ConfigDict()
  c.probes.num_probes = 4  # K
  c.probes.alpha = 0.3
  c.probes.nulls_per_update = 4
  c.gate = ml_collections.ConfigDict({"mode": "commit", "level": 0.1, "max_commits": 1})

  c.rl = ml_collections.ConfigDict({"advantage": "dual", "edit_weight": 0.2})  # λ
  c.rl.act = ml_collections.ConfigDict({"invalid_action": 0.05})  # 0.5 of 10
  c.loss = ml_collections.ConfigDict()
  c.loss.clip_eps_high = 0.2
  c.loss.entropy_coef = 0.001
  c.loss.temperature = 1.0
  c.eval = ml_collections.ConfigDict()
  c.eval.arms = ("no_bank", "frozen", "evolving")
  c.eval.passes = 3
  c.eval.temperature = 0.4
  c.eval.width = 16  # episodes between two commits of the evolving arm
  c.cold_start = ml_collections.ConfigDict({"seed": variant.seed})
  c.cold_start.episodes = 2000
  c.cold_start.steps = 60 * 16 // place.rows  # about two epochs
  c.cold_start.checkpoint_every = 50
  _put(c, place)
  return c


def _put(c: ml_collections.ConfigDict, place: Place) -> None:
  """The two learners, their numerics and the meshes of a place."""
  c.learner = ml_collections.ConfigDict()
  c.learner.learning_rate = 1e-4 if place.adapters else 1e-6
  c.learner.weight_decay = 0.01
  c.learner.row_len = c.engine.max_len
  c.learner.rows_per_batch = place.rows
  c.learner.logprob_chunk = 1024  # columns of logits; the head is gathered for each
  c.learner.moment_dtype = place.moments
  c.sft = ml_collections.ConfigDict(c.learner.to_dict())
  c.sft.learning_rate = 1e-4 if place.adapters else 1e-5
  c.sft.warmup_steps, c.sft.decay_steps = c.cold_start.steps // 10, c.cold_start.steps
  for name, sizes in (("mesh", place.mesh), ("engine_mesh", place.engine_mesh)):
    axes = zip(("data", "fsdp", "tensor"), sizes, strict=True)
    c[name] = ml_collections.ConfigDict(dict(axes))
  c.numerics = ml_collections.ConfigDict()
  # In bfloat16 a step of 1e-6 would be lost; below adapters nothing steps.
  c.numerics.param_dtype = "bfloat16" if place.adapters else "float32"
  c.numerics.compute_dtype = "bfloat16"
  c.numerics.remat = place.remat
  if place.adapters:
    c.lora = ml_collections.ConfigDict({"rank": place.adapters})


def _shrink(c: ml_collections.ConfigDict) -> None:
  """The debug variant, for a tiny checkpoint on a CPU: every part runs once.

  Types, adapters and what is computed again stay those of the place. It takes one device;
  `--config.mesh.fsdp=2 --config.engine_mesh.tensor=2` give it two.
  """
  c.env.max_turns = 2
  c.pool.num_workers = min(c.pool.num_workers, 1)
  c.pool.envs_per_worker = 4
  c.agent.budget.act_tokens = c.agent.budget.edit_tokens = 64
  c.engine.num_slots, c.engine.max_len = 4, 2048
  c.engine.attend_buckets, c.engine.extend_buckets = (2048,), (512,)
  c.engine.row_buckets = (4,)
  c.cold_start.episodes, c.cold_start.steps = 4, 3
  c.cold_start.checkpoint_every = 2
  for learner in (c.sft, c.learner):
    learner.row_len, learner.rows_per_batch = 2048, 2
  c.sft.warmup_steps, c.sft.decay_steps = 1, 3
  for mesh in (c.mesh, c.engine_mesh):
    mesh.data = mesh.fsdp = mesh.tensor = 1
  c.train.num_updates, c.train.group_size, c.train.minibatches = 1, 2, 1
  c.feed.tasks_per_update = 2
  c.probes.num_probes, c.probes.nulls_per_update = 2, 1
  c.eval.passes, c.eval.tasks_per_scope, c.eval.width = 1, 2, 2
