"""Cold start: demonstrations and supervised fine-tuning, of a new model or a checkpoint.

python -m experiments.sft --config=configs/household.py --workdir=runs/cold
"""

from absl import flags, logging
from ml_collections import config_flags

from experiments import command_line
from skilljax.runs import cold_start
from skilljax.settings import read_settings

CONFIG = config_flags.DEFINE_config_file("config", None, "config file and variant")
POLICY = flags.DEFINE_string(
  "policy", None, "folder of a checkpoint to fine-tune; none: section model, at random"
)
WORKDIR = flags.DEFINE_string("workdir", None, "folder of the run")


def main(_):
  """Reads the flags and runs."""
  # Orbax and TFDS narrate every file at INFO.
  logging.set_verbosity(logging.WARNING)
  policy = cold_start.run(read_settings(CONFIG.value), WORKDIR.value, POLICY.value)
  print(f"policy: {policy}")


if __name__ == "__main__":
  flags.mark_flags_as_required(["config", "workdir"])
  command_line.run(main)
