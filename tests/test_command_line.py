"""Commands name what is wrong with a config in one line, before they start."""

import os
import pathlib
import subprocess
import sys

import pytest

from experiments import command_line
from skilljax.checkpoint import CheckpointError
from skilljax.config import ConfigError
from skilljax.skills.files import BankFileError

ROOT = pathlib.Path(__file__).parents[1]
HOUSEHOLD = "--config=configs/household.py:debug"


def command(module, *flags):
  return subprocess.run(
    [sys.executable, "-m", f"experiments.{module}", *flags],
    cwd=ROOT,
    env={**os.environ, "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)},
    capture_output=True,
    text=True,
    check=False,
  )


@pytest.mark.parametrize(
  ("flags", "said"),
  [
    (
      [HOUSEHOLD, "--config.learner.rate=1"],
      "flag --config.learner.rate: configs/household.py:debug has no such key",
    ),
    ([HOUSEHOLD, "--config.learner.learning_rat=1"], "mean learner.learning_rate"),
    (["--config", "configs/household.py:upd=3"], "'upd' of 'upd=3' is unknown"),
    (["--config=configs/nowhere.py"], "'configs/nowhere.py' does not exist"),
    ([HOUSEHOLD, "--config.pool.num_workers=many"], "--config.pool.num_workers=many"),
    ([HOUSEHOLD, "--config.engine.num_lanes=3"], "engine.num_lanes=3 must divide"),
  ],
)
def test_a_bad_config_ends_the_command_with_its_key(flags, said, tmp_path):
  done = command("sft", *flags, f"--workdir={tmp_path / 'run'}")
  assert done.returncode != 0
  assert said in done.stderr
  assert not (tmp_path / "run").exists()


def test_an_unknown_key_costs_no_traceback(tmp_path):
  done = command("demo", "--config.rl.weight=1", f"--workdir={tmp_path / 'run'}")
  assert done.returncode == 1
  assert len(done.stderr.strip().splitlines()) == 1, done.stderr
  assert "rl.weight: configs/household.py:updates=28 has no such key" in done.stderr


@pytest.mark.parametrize(
  ("error", "said"),
  [
    (ConfigError("bad key"), "^config error: bad key$"),
    (CheckpointError("step 3 is damaged"), "^checkpoint error: step 3 is damaged$"),
    (BankFileError("b.json", "is empty", "Restore it"), "^bank error: b.json: is empty"),
  ],
)
def test_an_error_of_the_users_costs_no_traceback(error, said):
  def fail():
    raise error

  with pytest.raises(SystemExit, match=said):
    command_line._call(fail)
