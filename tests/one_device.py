"""Runs of one device, with which runs on meshes and of several hosts are compared.

Each is made once a session (fixture `made_once`), for all files that read it.
"""

import json
import os
import pathlib
import subprocess
import sys

from skilljax.runs import cold_start
from tests.test_runs import settings_of

CONFIG = "tests/multihost_config.py"


def policy(made_once, repo_root: pathlib.Path) -> pathlib.Path:
  """A cold start, with which they begin."""
  settings = settings_of(f"{CONFIG}:cold", repo_root)
  folder = made_once("one-device-cold", lambda made: cold_start.run(settings, made))
  return folder / "policy"


def run(made_once, repo_root: pathlib.Path, updates: int) -> pathlib.Path:
  """The folder of a training run of so many updates."""
  start = policy(made_once, repo_root)
  return made_once(
    f"one-device-{updates}",
    lambda made: train(repo_root, start, made, f"updates={updates}"),
  )


def train(repo_root, policy, folder, variant, *, devices=1) -> list[dict]:
  """A training run as a process of so many virtual devices; its metrics, by update."""
  subprocess.run(
    [
      *(sys.executable, "-m", "experiments.train", f"--config={CONFIG}:{variant}"),
      *(f"--policy={policy}", f"--workdir={folder}"),
    ],
    cwd=repo_root,
    env={
      **os.environ,
      "JAX_PLATFORMS": "cpu",
      "JAX_NUM_CPU_DEVICES": str(devices),
    },
    capture_output=True,
    check=True,
    timeout=500,
  )
  lines = (folder / "metrics.jsonl").read_text().splitlines()
  return [json.loads(line) for line in lines]
