"""Reinforcement learning from a policy folder; goes on where a killed run stopped.

  python -m experiments.train --config=configs/household.py \
      --policy=runs/cold/policy --workdir=runs/rl
"""

from absl import flags, logging
from ml_collections import config_flags

from experiments import command_line
from skilljax.runs import training
from skilljax.settings import read_settings

CONFIG = config_flags.DEFINE_config_file("config", None, "config file and variant")
POLICY = flags.DEFINE_string("policy", None, "folder of the cold-start policy")
WORKDIR = flags.DEFINE_string("workdir", None, "folder of the run")


def main(_):
  """Reads the flags and runs."""
  # Orbax and TFDS narrate every file at INFO.
  logging.set_verbosity(logging.WARNING)
  settings = read_settings(CONFIG.value)
  print(f"policy: {training.run(settings, POLICY.value, WORKDIR.value)}")


if __name__ == "__main__":
  flags.mark_flags_as_required(["config", "policy", "workdir"])
  command_line.run(main)
