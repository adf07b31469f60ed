"""SkillMaster on ALFWorld with Qwen2.5-0.5B, on one GPU or one TPU chip.

  export SKILLJAX_DATA=...  CHECKPOINT=...  # folder with alfworld/; Qwen2.5-0.5B-Instruct
  export XLA_PYTHON_CLIENT_MEM_FRACTION=0.95
  python -m experiments.sft --config=configs/alfworld_qwen25_0b5_single_gpu.py \
      --policy=$CHECKPOINT --workdir=runs/alf0b5_cold
  python -m experiments.train --config=configs/alfworld_qwen25_0b5_single_gpu.py \
      --policy=runs/alf0b5_cold/policy --workdir=runs/alf0b5
  python -m experiments.evaluate --config=configs/alfworld_qwen25_0b5_single_gpu.py \
      --policy=runs/alf0b5/policy --banks=runs/alf0b5/banks --workdir=runs/alf0b5/seen

Never run yet. Memory: docs/pods.md; a GPU of 24 GB takes `--config.engine.num_slots=24`
and `--config.learner.moment_dtype=bfloat16`. For 300 updates of 64 episodes and some 200
probes; hours by the roofline, which real runs miss by two to four times. With PRICE of a
chip-hour the cost is chip-hours x PRICE.

  on=gpu_1   one H100, the default           22 s an update   1.8 h     2 chip-hours
  on=v6e_1   one chip of v6e                 37 s             3.1 h     3

No published result at this size: the smallest is 1.5 B, where GRPO has 72.8. The settings
are SkillMaster's.
Variants: `:debug`, `:on=gpu_1`, `:split=valid_unseen`, `:seed=1`, `:updates=300`.
"""

import ml_collections

from configs.pretrained import Place, alfworld

ONE = (1, 1, 1)
PLACES = {
  "gpu_1": Place(mesh=ONE, engine_mesh=ONE, rows=1, slots=64),
  "v6e_1": Place(mesh=ONE, engine_mesh=ONE, rows=1, slots=32),
}


def get_config(arg: str = "") -> ml_collections.ConfigDict:
  """The resolved, locked config of one variant."""
  return alfworld(arg, places=PLACES)
