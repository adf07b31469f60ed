"""Peak memory of loading and exporting a checkpoint, as one process of one or two hosts.

  python -m tests.models.memory_job HOSTS DATA,FSDP,TENSOR CHECKPOINT FOLDER

Prints JSON: bytes above what was there before, and of this host's own shards. Linux only.
"""

import json
import re
import sys

import jax

from skilljax import hosts, sharding
from skilljax.models.hf_io import load_checkpoint, read_config, save_checkpoint
from skilljax.models.params import param_specs


def resident_bytes(which: str) -> int:
  """'RSS' of this process now, or its high water mark 'HWM'."""
  with open("/proc/self/status", encoding="ascii") as file:
    return int(re.search(rf"Vm{which}:\s+(\d+) kB", file.read())[1]) * 1024


def peak_of(call):
  """(result, bytes at the highest moment of the call above those before it)."""
  with open("/proc/self/clear_refs", "w", encoding="ascii") as file:
    file.write("5")  # the high water mark begins anew
  before = resident_bytes("RSS")
  result = call()
  return result, resident_bytes("HWM") - before


def main(place: str, sizes: str, checkpoint: str, folder: str) -> None:
  """Loads and exports."""
  hosts.connect(place)
  data, fsdp, tensor = map(int, sizes.split(","))
  mesh = sharding.make_mesh(data=data, fsdp=fsdp, tensor=tensor)
  places = sharding.param_shardings(param_specs(read_config(checkpoint)), mesh)
  jax.block_until_ready(jax.numpy.ones(3))  # the runtime itself
  (model, params), load = peak_of(lambda: load_policy(checkpoint, places))
  _, export = peak_of(
    lambda: save_checkpoint(folder, model, params, max_shard_bytes=520 << 20)
  )
  own = [s.data.nbytes for a in jax.tree.leaves(params) for s in a.addressable_shards]
  print(json.dumps({"load": load, "export": export, "share": sum(own)}))
  hosts.leave()


def load_policy(checkpoint, places):
  """(config, parameters), the parameters ready."""
  model, params = load_checkpoint(checkpoint, shardings=places)
  return model, jax.block_until_ready(params)


if __name__ == "__main__":
  main(*sys.argv[1:])
