"""`make demo`: watch a small agent learn to write and use its own skills.

python -m experiments.demo --workdir=runs/demo
"""

from absl import flags, logging
from ml_collections import config_flags

from experiments import command_line
from skilljax.runs import demo
from skilljax.settings import read_settings

DEFAULT_CONFIG = "configs/household.py:updates=28"
CONFIG = config_flags.DEFINE_config_file("config", None, "config file and variant")
WORKDIR = flags.DEFINE_string("workdir", "runs/demo", "folder of the demo")


def main(_):
  """Reads the flags and runs."""
  # Orbax and TFDS narrate every file at INFO; the story is told by the progress lines.
  logging.set_verbosity(logging.WARNING)
  demo.run(read_settings(CONFIG.value), WORKDIR.value)


if __name__ == "__main__":
  command_line.run(main, default_config=DEFAULT_CONFIG)
