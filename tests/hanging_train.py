"""`experiments.train` whose main thread sleeps for ever once it gets SIGUSR1.

Its other threads live on, so the host goes on giving signs of life: a hang, as of a file
system that does not answer.
"""

import signal
import time

from absl import flags

from experiments import command_line, train


def main() -> None:
  """Trains."""
  signal.signal(signal.SIGUSR1, lambda number, frame: time.sleep(1e6))
  flags.mark_flags_as_required(["config", "policy", "workdir"])
  command_line.run(train.main)


if __name__ == "__main__":
  main()
