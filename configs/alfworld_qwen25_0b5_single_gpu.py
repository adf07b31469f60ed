"""SkillMaster on ALFWorld with Qwen2.5-0.5B, on one GPU or one TPU chip.

  export SKILLJAX_DATA=...  CHECKPOINT=...  # folder with alfworld/; Qwen2.5-0.5B-Instruct
  export XLA_PYTHON_CLIENT_MEM_FRACTION=0.95
  python -m experiments.sft --config=configs/alfworld_qwen25_0b5_single_gpu.py \
      --policy=$CHECKPOINT --workdir=runs/alf0b5_cold
  python -m experiments.train --config=configs/alfworld_qwen25_0b5_single_gpu.py \
      --policy=runs/alf0b5_cold/policy --workdir=runs/alf0b5
  python -m experiments.evaluate --config=configs/alfworld_qwen25_0b5_single_gpu.py \
      --policy=runs/alf0b5/policy --banks=runs/alf0b5/banks --workdir=runs/alf0b5/seen

A GPU of 24 GB takes `--config.engine.num_slots=24` and
`--config.learner.moment_dtype=bfloat16`.
Never run yet. Places, by `:on=`: machines, the memory that a chip holds at its worst, the
least time of an update by the roofline, and what 300 updates of 64 episodes and some 200
probes take if real runs need two to four times that (docs/pods.md: the table, formulas).

  on=gpu_1   one H100, the default: JOB_GPUS=1 JOB_CPUS=24
             at most 27.3 GiB of 79.0, 22 s an update; 4-8 h, 4-8 chip-hours
  on=v6e_1   TPU_TYPE=v6e-1; GKE_TOPOLOGY=1x1; 1 host of one chip
             at most 26.3 GiB of 31.2, 37 s an update; 6-12 h, 6-12 chip-hours

Cost = chip-hours x price of one. At $3.00 (look yours up) it is $12-24 on gpu_1. Workers
need TPU_EXTRAS=alfworld (GKE_, XPK_), or pip's .[alfworld].

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
