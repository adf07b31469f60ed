"""The debug variants of the configs of published checkpoints, on a tiny random Qwen2."""

import json
import os
import pathlib
import runpy
import subprocess
import sys
import textwrap

import numpy as np
import pytest
from safetensors.numpy import load_file

from tests.agents import checkpoints
from tests.test_runs import settings_of

ALFWORLD_7B = "alfworld_qwen25_7b"
CONFIGS = (
  *("alfworld_qwen25_0b5_single_gpu", "alfworld_qwen25_1b5", ALFWORLD_7B),
  *("alfworld_qwen25_32b", "webshop_qwen25_7b"),
)
# Two devices: the learner splits weights and rows over them, the sampler heads.
MESH = {"mesh.fsdp": 2, "engine_mesh.tensor": 2}
RUN = """
  import json, sys
  from skilljax import config
  from skilljax.runs import cold_start, evaluation, training
  from skilljax.settings import read_settings

  path, overrides, policy, folder = sys.argv[1:]
  settings = read_settings(config.load(path, json.loads(overrides)))
  policy = cold_start.run(settings, f"{folder}/cold", policy)
  policy = training.run(settings, policy, f"{folder}/rl")
  evaluation.run(settings, policy, f"{folder}/eval", banks_folder=f"{folder}/rl/banks")
"""


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> pathlib.Path:
  return checkpoints.tiny_qwen2(tmp_path_factory.mktemp("qwen2"))


def run(repo_root, path, overrides, checkpoint, folder, *, devices=1):
  subprocess.run(
    [
      *(sys.executable, "-c", textwrap.dedent(RUN), f"configs/{path}"),
      *(json.dumps(overrides), checkpoint, folder),
    ],
    cwd=repo_root,
    env={**os.environ, "JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": str(devices)},
    check=True,
    timeout=500,
  )


@pytest.mark.parametrize("name", CONFIGS)
def test_the_debug_variant_keeps_what_a_place_decides(repo_root, name):
  places = runpy.run_path(str(repo_root / "configs" / f"{name}.py"))["PLACES"]
  for on, place in places.items():
    settings = settings_of(f"configs/{name}.py:debug,on={on}", repo_root)
    assert settings.chat == "chatml" and settings.train.num_updates == 1
    assert settings.mesh.num_devices == settings.engine_mesh.num_devices == 1
    assert settings.numerics.compute_dtype == "bfloat16"
    assert settings.numerics.remat == place.remat
    assert settings.learner.moment_dtype == settings.sft.moment_dtype == place.moments
    rank = settings.lora.rank if settings.lora else 0
    assert rank == place.adapters


def data_of(name: str, data_dir: pathlib.Path, folder: pathlib.Path) -> dict[str, str]:
  """Overrides that tell where a benchmark's data are; skips where there are none."""
  env = name.partition("_")[0]
  needed = {"alfworld": ("alfworld",), "webshop": ("rapidfuzz", "regex", "textblob")}
  for package in needed[env]:
    pytest.importorskip(package, reason=f"pip install -e .[{env}]")
  if not (data := data_dir / env).is_dir():
    pytest.skip(f"no data of {env} at {data}; set SKILLJAX_DATA")
  return {"env.data_dir": str(data), "env.cache_dir": str(folder / "cache")}


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
  ("variant", "mesh"),
  [
    pytest.param(f"{name}.py:debug", {}, marks=pytest.mark.slow, id=name)
    for name in CONFIGS
  ]
  + [
    pytest.param(f"{ALFWORLD_7B}.py:debug,on=v5e_16", MESH, id="alfworld-adapters-mesh")
  ],
)
def test_from_a_checkpoint_to_its_evaluation(
  repo_root, data_dir, checkpoint, tmp_path, variant, mesh
):
  overrides = data_of(variant, data_dir, tmp_path) | mesh
  devices = 2 if mesh else 1
  run(repo_root, variant, overrides, checkpoint, tmp_path, devices=devices)
  summary = json.loads((tmp_path / "eval" / "summary.json").read_text())
  assert (summary["num_tasks"], summary["faults"]) == (2, 0)
  assert set(summary["arms"]) == {"no_bank", "frozen", "evolving"}
  losses = [
    json.loads(line)["train/nll"] for line in (tmp_path / "cold" / "metrics.jsonl").open()
  ]
  # A random policy knows nothing: the logarithm of the vocabulary.
  size = json.loads((checkpoint / "config.json").read_text())["vocab_size"]
  assert len(losses) == 3 and losses[0] == pytest.approx(np.log(size), rel=0.05)
  (row,) = [json.loads(line) for line in (tmp_path / "rl" / "metrics.jsonl").open()]
  assert row["rollout/episodes"] == 4
  # Sampler and learner agree, on different meshes and in bfloat16.
  assert row["train/approx_kl"] < 1e-4
  before, cold = (
    load_file(folder / "model.safetensors")
    for folder in (checkpoint, tmp_path / "cold" / "policy")
  )
  name = "model.layers.1.mlp.down_proj.weight"
  moved = np.abs(cold[name].astype(np.float32) - before[name].astype(np.float32))
  assert moved.max() > 1e-5
