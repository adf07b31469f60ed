"""Evaluation with exact coverage in three arms; one command per published number.

  python -m experiments.evaluate --config=configs/household.py \
      --policy=runs/rl/policy --workdir=runs/rl/eval

Or, for the rows beside it, a player without a model:

  python -m experiments.evaluate --config=configs/webshop_scratch.py \
      --player=expert --workdir=runs/expert

`--player=reader` on `household` is the scripted reader, in all arms.
"""

from absl import flags, logging
from ml_collections import config_flags

from experiments import command_line
from skilljax.config import ConfigError
from skilljax.runs import evaluation, players, readers
from skilljax.settings import read_settings

CONFIG = config_flags.DEFINE_config_file("config", None, "config file and variant")
POLICY = flags.DEFINE_string("policy", None, "folder of the policy")
PLAYER = flags.DEFINE_enum(
  "player", None, (*players.PLAYERS, readers.NAME), "who plays in place of a policy"
)
WORKDIR = flags.DEFINE_string("workdir", None, "folder of the results")
BANKS = flags.DEFINE_string("banks", None, "banks to start with, one file a scope")


def main(_):
  """Reads the flags and runs."""
  # Orbax and TFDS narrate every file at INFO.
  logging.set_verbosity(logging.WARNING)
  settings = read_settings(CONFIG.value)
  if PLAYER.value and BANKS.value is not None:
    raise ConfigError(
      f"--banks={BANKS.value} has no effect with --player={PLAYER.value}; leave it out"
    )
  if PLAYER.value == readers.NAME:
    summary = readers.run(settings, WORKDIR.value)
  elif PLAYER.value:
    summary = players.run(settings, PLAYER.value, WORKDIR.value)
  else:
    summary = evaluation.run(
      settings, POLICY.value, WORKDIR.value, banks_folder=BANKS.value
    )
  print(summary["table"])


if __name__ == "__main__":
  flags.mark_flags_as_required(["config", "workdir"])
  flags.mark_flags_as_mutual_exclusive(["policy", "player"], required=True)
  command_line.run(main)
