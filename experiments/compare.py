"""Recipes over seeds: success by arm, differences, utility of edits; with intervals.

  python -m experiments.compare \
      --evaluation=cold:runs/s0/eval_cold --evaluation=cold:runs/s1/eval_cold \
      --evaluation=trained:runs/s0/eval_rl --evaluation=trained:runs/s1/eval_rl \
      --training=runs/s0/rl --training=runs/s1/rl
"""

import sys

from absl import app, flags

from skilljax.runs import comparison

EVALUATIONS = flags.DEFINE_multi_string(
  "evaluation", [], "label:folder, one a seed; the first label is the baseline"
)
TRAINING = flags.DEFINE_multi_string(
  "training", [], "training runs whose edits are compared with their null edits"
)


def main(_):
  """Reads the flags and prints the tables."""
  if not EVALUATIONS.value and not TRAINING.value:
    raise app.UsageError("nothing to compare: give --evaluation or --training")
  recipes: dict[str, list[str]] = {}
  for text in EVALUATIONS.value:
    label, _, folder = text.partition(":")
    recipes.setdefault(label, []).append(folder)
  try:
    if recipes:
      print(comparison.compare(recipes))
    if TRAINING.value:
      print(comparison.edits_table(TRAINING.value))
  except ValueError as error:
    sys.exit(f"cannot compare: {error}")


if __name__ == "__main__":
  flags.register_validator(
    "evaluation",
    lambda texts: all(all(text.partition(":")[::2]) for text in texts),
    message="must be label:folder, for example trained:runs/s0/eval_rl",
  )
  app.run(main)
