"""What the debug variants of configs from scratch share. No config by itself.

Every part runs, on a few tasks, and nothing is learned. Sizes are the same for all
benchmarks: a program that was compiled for one of them serves the others.
"""

import ml_collections

MAX_LEN = 1536  # tokens of an episode with its review
VOCAB_SIZE = 1024


def shrink(c: ml_collections.ConfigDict) -> None:
  """Makes an unlocked config small; a caller sets its environment and its drills."""
  c.pool.envs_per_worker = 4
  set_length(c, MAX_LEN)
  c.engine.attend_buckets = (MAX_LEN,)
  c.model.vocab_size = c.cold_start.vocab_size = VOCAB_SIZE
  c.model.d_model, c.model.num_layers, c.model.d_ff = 64, 2, 128
  c.model.num_heads, c.model.num_kv_heads = 2, 1
  c.cold_start.episodes, c.cold_start.steps = 8, 4
  c.cold_start.tokenizer_episodes = 4
  c.sft.decay_steps, c.sft.warmup_steps = 4, 1
  c.engine.num_slots, c.engine.num_lanes = 4, 1
  c.engine.extend_buckets, c.engine.row_buckets = (128,), (4,)
  c.engine.decode_rows = ()
  c.train.num_updates, c.train.group_size, c.train.minibatches = 1, 2, 1
  c.feed.tasks_per_update = 2
  if "probes" in c:
    c.probes.num_probes, c.probes.nulls_per_update = 2, 1
  c.eval.tasks_per_scope, c.eval.width, c.eval.passes = 2, 2, 1


def set_length(c: ml_collections.ConfigDict, max_len: int) -> None:
  """Sets the tokens of an episode with its review, wherever a config names them."""
  c.model.max_len = c.engine.max_len = max_len
  c.sft.row_len = c.learner.row_len = max_len
