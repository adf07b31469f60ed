"""`household:debug` on a mesh, for tests of several hosts and devices.

`:data,fsdp,tensor` is the learner's mesh, `:slots,copies,own` the sampler's.
"""

from configs import household
from skilljax.config import parse_arg


def get_config(arg: str = ""):
  """`own`: tensor parts of each host's sampler, whose other devices are data parts.

  `other` sets every key that a resumed run may change to another value than without it;
  `cold` leaves the room that demonstrations need. A policy that has learned nothing uses
  up all that it gets, and each token is a chance that rounding decides between two.
  """
  variant = parse_arg(
    arg,
    data=1,
    fsdp=1,
    tensor=1,
    slots=1,
    copies=1,
    own=1,
    updates=3,
    other=False,
    cold=False,
  )
  c = household.get_config("debug")
  with c.unlocked():
    c.model.num_heads, c.model.num_kv_heads = 4, 2
    c.mesh = {"data": variant.data, "fsdp": variant.fsdp, "tensor": variant.tensor}
    c.engine_mesh = {
      **{"data": variant.slots, "fsdp": variant.copies, "tensor": variant.own}
    }
    c.engine.num_slots, c.engine.num_lanes = 8, 1
    c.learner.rows_per_batch = 8
    # Updates that move weights by much more than the tolerance of the tests.
    c.learner.learning_rate, c.learner.warmup_steps = 2e-4, 0
    c.train.num_updates, c.train.checkpoint_every = variant.updates, 1
    if not variant.cold:
      c.agent.budget.act_tokens, c.agent.budget.edit_tokens = 12, 24
    if variant.other:
      _otherwise(c)
  return c


def _otherwise(c):
  c.numerics = {"remat": "full"}
  c.learner.rows_per_batch, c.learner.logprob_chunk = 4, 100
  c.engine.num_slots, c.engine.decode_chunk, c.engine.exit_fraction = 4, 7, 0.9
  c.engine.attend_buckets, c.engine.extend_buckets = (512,), (64,)
  c.engine.row_buckets, c.engine.decode_rows = (2,), (2, 4)
  c.agent.budget.step_share, c.agent.budget.poll_timeout_s = 1.0, 0.1
  c.pool.num_workers, c.pool.envs_per_worker = 1, 4
  c.train.checkpoint_every, c.train.keep_checkpoints = 2, 3
  c.eval.passes = 2
  c.cold_start.steps, c.sft.learning_rate, c.model.remat = 7, 0.02, "none"
