"""The TPU compiler itself, on a small config; no TPU is needed.

Four hosts in a square: the numbers of the first one's chips, 0, 1, 4, 5, have a gap.
"""

import importlib.util
import json
import os
import subprocess
import sys
import textwrap

import pytest

COMPILE = """
  import dataclasses, json
  from skilljax import config
  from skilljax.fit import chips, report
  from skilljax.settings import read_settings
  from skilljax.sharding import MeshSettings

  heads = {"model.num_heads": 4, "model.num_kv_heads": 2}
  settings = read_settings(config.load("configs/household.py:debug", heads))
  settings = dataclasses.replace(
    settings,
    mesh=MeshSettings(data=4, fsdp=2, tensor=2),
    engine_mesh=MeshSettings(data=2, tensor=2),
    engine=dataclasses.replace(settings.engine, num_lanes=1),
    learner=dataclasses.replace(settings.learner, rows_per_batch=8),
  )
  topology = chips.read_topology("v5e:4x4")
  found = report.compile_all(settings, settings.model, topology)
  print(json.dumps([
    report.phases(found),
    {name: dataclasses.asdict(one) for name, one in found.items()},
    settings.model.num_params,
  ]))
"""


@pytest.mark.timeout(300)
def test_a_small_config_is_compiled_for_four_hosts(repo_root):
  if importlib.util.find_spec("libtpu") is None:
    pytest.skip("pip install -e .[tpu]")
  done = subprocess.run(
    [sys.executable, "-c", textwrap.dedent(COMPILE)],
    cwd=repo_root,
    env={**os.environ, "JAX_PLATFORMS": "cpu", "TPU_SKIP_MDS_QUERY": "1"},
    capture_output=True,
    text=True,
  )
  assert done.returncode == 0, done.stderr[-3000:]
  peaks, programs, num_params = json.loads(done.stdout.splitlines()[-1])
  assert programs.keys() == peaks.keys()
  assert list(programs) == [
    *("score", "gradient", "accumulate", "step", "publish", "extend", "decode")
  ]
  for name, one in programs.items():
    assert not one["over_bytes"] and one["compile_s"] > 0, name
  # Policy, both moments and the gradient, in float32 over four chips, and a little more.
  held = 4 * 4 * num_params / 4
  assert held <= programs["step"]["argument_bytes"] < 3 * held  # tiles are padded
  # The step and the decoding happen in place.
  assert programs["step"]["alias_bytes"] >= 3 / 4 * held
  decode = programs["decode"]
  assert decode["alias_bytes"] > 0
  # Weights are gathered: seven matrices a layer, forwards and backwards, and the head.
  assert programs["gradient"]["collectives"]["all-gather"] >= 14
  assert not programs["accumulate"]["collectives"]
  assert max(peaks.values()) < 2**30
