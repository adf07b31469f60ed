"""Loading and export hold little more than what stays on this host's devices."""

import json
import math
import os
import re
import socket
import subprocess
import sys

import jax
import pytest

from skilljax.models.config import ModelConfig
from skilljax.models.hf_io import save_checkpoint
from skilljax.models.params import init_params

MIB = 1 << 20
SLACK = 48 * MIB  # programs, buffers of files and sockets
WIDE = {"num_heads": 16, "num_kv_heads": 4, "head_dim": 64, "qk_norm": True}
MODELS = {
  "320 MB": ModelConfig(vocab_size=16384, d_model=1024, num_layers=5, d_ff=3072, **WIDE),
  "2 GB": ModelConfig(vocab_size=65536, d_model=1024, num_layers=30, d_ff=4096, **WIDE),
}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory, request):
  """(folder of four files, bytes of the largest tensor, bytes of all)."""
  config = MODELS[request.param]
  params = init_params(jax.random.key(0), config)
  total = sum(leaf.nbytes for leaf in jax.tree.leaves(params))
  folder = tmp_path_factory.mktemp("big")
  save_checkpoint(folder, config, params, max_shard_bytes=math.ceil(total / 3.4))
  assert len(list(folder.glob("*.safetensors"))) == 4
  return folder, params["embed"].nbytes, total


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
  "checkpoint",
  ["320 MB", pytest.param("2 GB", marks=pytest.mark.slow)],
  indirect=True,
)
@pytest.mark.parametrize(
  ("num", "devices", "mesh"), [(1, 1, "1,1,1"), (1, 8, "1,4,2"), (2, 4, "1,4,2")]
)
def test_peak_is_within_twice_the_largest_tensor_and_the_share(
  repo_root, checkpoint, tmp_path, num, devices, mesh
):
  folder, largest, total = checkpoint
  with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    address = f"127.0.0.1:{free.getsockname()[1]}"
  places = [f"{address},{num},{i}" for i in range(num)] if num > 1 else [""]
  running = [
    subprocess.Popen(
      [sys.executable, "-m", "tests.models.memory_job", place, mesh, folder, tmp_path],
      cwd=repo_root,
      env={**os.environ, "JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": str(devices)},
      stdout=subprocess.PIPE,
      text=True,
    )
    for place in places
  ]
  texts = [host.communicate(timeout=600)[0] for host in running]  # gloo writes there too
  rows = [json.loads(re.search(r"^{.*}$", text, re.MULTILINE)[0]) for text in texts]
  for row in rows:
    print({name: f"{value / MIB:.0f} MiB" for name, value in row.items()})
    assert row["load"] <= row["share"] + 2 * largest + SLACK
    assert row["export"] <= 2 * largest + SLACK
  if num > 1:  # split, not copied
    assert sum(row["share"] for row in rows) < 1.2 * total
