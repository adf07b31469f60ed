"""The policy of a run, or of one of its checkpoints, as files that other programs load.

  python -m experiments.export --workdir=runs/rl --out=policy_bf16 --dtype=bfloat16
  python -m experiments.export --workdir=runs/rl --out=at_40 --step=40 \
      --policy=runs/cold/policy
  python -m experiments.export --workdir=runs/rl --out=adapters --adapters \
      --policy=runs/cold/policy

A policy in the Hugging Face layout, adapters merged; with --adapters a folder that `peft`
loads on top of --policy. On an accelerator's host, JAX_PLATFORMS=cpu spares its memory.
"""

from absl import flags, logging

from experiments import command_line
from skilljax.runs import export

WORKDIR = flags.DEFINE_string("workdir", None, "folder of the run; it may be running")
OUT = flags.DEFINE_string("out", None, "folder to write")
POLICY = flags.DEFINE_string(
  "policy", None, "folder of the policy that the run began with"
)
STEP = flags.DEFINE_integer(
  "step", None, "of the checkpoint; none: the finished policy, or the newest checkpoint"
)
DTYPE = flags.DEFINE_enum(
  "dtype", None, export.DTYPES, "type of the weights; none: the one they have"
)
ADAPTERS = flags.DEFINE_bool("adapters", False, "the adapters alone, as peft keeps them")


def main(_):
  """Reads the flags and runs."""
  logging.set_verbosity(logging.WARNING)  # Orbax narrates every file at INFO
  out = export.run(
    WORKDIR.value,
    OUT.value,
    policy=POLICY.value,
    step=STEP.value,
    dtype=DTYPE.value,
    adapters=ADAPTERS.value,
  )
  print(f"{'adapters' if ADAPTERS.value else 'policy'}: {out}")


if __name__ == "__main__":
  flags.mark_flags_as_required(["workdir", "out"])
  command_line.run(main)
