"""`household:debug` on a mesh, for tests of several hosts: `:data,fsdp,tensor,own`."""

from configs import household
from skilljax.config import parse_arg


def get_config(arg: str = ""):
  """`own`: tensor parts of each host's sampler, whose other devices are data parts."""
  variant = parse_arg(arg, data=1, fsdp=1, tensor=1, slots=1, own=1, updates=3)
  c = household.get_config("debug")
  with c.unlocked():
    c.model.num_heads, c.model.num_kv_heads = 4, 2
    c.mesh = {"data": variant.data, "fsdp": variant.fsdp, "tensor": variant.tensor}
    c.engine_mesh = {"data": variant.slots, "fsdp": 1, "tensor": variant.own}
    c.engine.num_slots, c.engine.num_lanes = 8, 1
    c.learner.rows_per_batch = 8
    c.train.num_updates, c.train.checkpoint_every = variant.updates, 1
  return c
