"""Whether a config fits its chips, and how long it will take: without a chip.

  python -m experiments.fit --config=configs/alfworld_qwen25_7b.py --topology=v5p:2x2x2
  python -m experiments.fit --all --workdir=runs/fit --page=docs/pods.md

TPU programs are compiled by the TPU's own compiler (`pip install -e '.[tpu]'`); GPUs are
computed by a formula. `--workdir` keeps what was compiled; with `--nocompile` a case that
is not all there has the formula's numbers. docs/pods.md explains.
"""

import sys
from pathlib import Path

import jax
from absl import app, flags

from skilljax.config import ConfigError
from skilljax.fit import cases, page, report

CONFIG = flags.DEFINE_string("config", "", "config file and variant")
TOPOLOGY = flags.DEFINE_string("topology", "", "chips, for example v5p:2x2x2 or h100:8")
MODEL = flags.DEFINE_string(
  "model", "", "published checkpoint, or its folder; '' = the one the config is for"
)
ALL = flags.DEFINE_bool("all", False, "every published case")
COMPILE = flags.DEFINE_bool("compile", True, "--nocompile: only what --workdir has")
WORKDIR = flags.DEFINE_string("workdir", "", "folder that keeps compiled programs")
PAGE = flags.DEFINE_string("page", "", "page whose table is replaced by that of --all")


def main(_):
  """Reads the flags, checks and prints."""
  jax.config.update("jax_platforms", "cpu")  # no accelerator is opened
  try:
    _run()
  except (ConfigError, ModuleNotFoundError, ValueError) as error:
    sys.exit(f"fit: {error}")


def _run():
  if ALL.value == bool(CONFIG.value):
    raise ValueError("give either --all, or --config with --topology")
  wanted = cases.CASES
  if not ALL.value:
    model = MODEL.value or cases.model_of(CONFIG.value)
    wanted = (cases.Case(CONFIG.value, TOPOLOGY.value, model),)
  folder = Path(WORKDIR.value) if WORKDIR.value else None
  reports = []
  for case in wanted:
    print(f"{case.config} on {case.topology}", flush=True)
    found = report.check(
      case,
      compiles=COMPILE.value,
      folder=folder,
      on_program=lambda line: print(line, flush=True),
    )
    reports.append(found)
    print(page.details(found), flush=True)
  print(page.table(reports))
  if ALL.value and PAGE.value:
    page.replace(Path(PAGE.value), reports)


if __name__ == "__main__":
  app.run(main)
