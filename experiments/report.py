"""One self-contained HTML page about a run and its evaluations.

  python -m experiments.report --run=runs/rl --evaluation="cold start:runs/eval_cold" \
      --evaluation=trained:runs/eval_rl --out=runs/report.html
"""

from absl import app, flags

from skilljax.report import page

RUN = flags.DEFINE_string("run", None, "folder of the training run")
EVALUATIONS = flags.DEFINE_multi_string(
  "evaluation", [], "label:folder; the first one is the baseline"
)
TITLE = flags.DEFINE_string("title", "A skilljax run", "title of the page")
OUT = flags.DEFINE_string("out", "report.html", "path of the page")


def main(_):
  """Reads the flags and writes the page."""
  pairs = [text.partition(":")[::2] for text in EVALUATIONS.value]
  page.write(OUT.value, run=RUN.value, evaluations=dict(pairs), title=TITLE.value)
  print(f"report: {OUT.value}")


if __name__ == "__main__":
  flags.mark_flags_as_required(["run"])
  flags.register_validator(
    "evaluation",
    lambda texts: all(":" in text for text in texts),
    message="must be label:folder, for example trained:runs/eval_rl",
  )
  app.run(main)
