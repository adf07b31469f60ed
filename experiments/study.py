"""A whole table of the leaderboard: cold starts, recipes, evaluations, comparison.

  python -m experiments.study --config=configs/studies/household.py \
      --workdir=runs/household_study

An interrupted study goes on where it stopped. `--dry_run` prints the next command.
"""

import signal
import subprocess
import sys

from absl import flags
from ml_collections import config_flags

from experiments import command_line
from skilljax import config
from skilljax.runs import study

CONFIG = config_flags.DEFINE_config_file("config", None, "config file of the study")
WORKDIR = flags.DEFINE_string("workdir", None, "folder of the study")
DRY_RUN = flags.DEFINE_bool("dry_run", False, "print the next command and stop")


def main(_):
  """Reads the flags and runs."""
  plan = config.build(study.Study, CONFIG.value, prefix="study")
  if DRY_RUN.value:
    print(study.next_step(plan, WORKDIR.value) or "nothing left to do")
    return
  # So that the command that runs ends too, as it does with ^C.
  signal.signal(signal.SIGTERM, lambda *_: sys.exit("terminated"))
  try:
    print(study.run(plan, WORKDIR.value))
  except subprocess.CalledProcessError as error:
    sys.exit(f"stopped: a command failed with status {error.returncode}; see above")


if __name__ == "__main__":
  flags.mark_flags_as_required(["config", "workdir"])
  command_line.run(main)
