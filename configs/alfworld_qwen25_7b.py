"""SkillMaster on ALFWorld with Qwen2.5-7B, on a pod; the paper's hyper-parameters.

  export SKILLJAX_DATA=...  CHECKPOINT=...  # folder with alfworld/; Qwen2.5-7B-Instruct
  python -m experiments.sft --config=configs/alfworld_qwen25_7b.py --hosts=auto \
      --policy=$CHECKPOINT --workdir=/mnt/runs/alf7b_cold
  python -m experiments.train --config=configs/alfworld_qwen25_7b.py --hosts=auto \
      --policy=/mnt/runs/alf7b_cold/policy --workdir=/mnt/runs/alf7b
  python -m experiments.evaluate --config=configs/alfworld_qwen25_7b.py --hosts=auto \
      --policy=/mnt/runs/alf7b/policy --banks=/mnt/runs/alf7b/banks \
      --workdir=/mnt/runs/alf7b/seen

Never run yet. Places, by `:on=`: machines, the memory that a chip holds at its worst, the
least time of an update by the roofline, and what 300 updates of 64 episodes and some 200
probes take if real runs need two to four times that (docs/pods.md: the table, formulas).

  on=v5p_8   the default: TPU_TYPE=v5p-16, which counts cores; GKE_TOPOLOGY=2x2x2; 2 hosts
             at most 53.1 GiB of 95.7, 51 s an update; 8.5-17 h, 68-136 chip-hours
  on=v6e_16  TPU_TYPE=v6e-16; GKE_TOPOLOGY=4x4; 4 hosts; moments in bfloat16
             at most 24.5 GiB of 31.2, 29 s an update; 4.8-9.5 h, 76-152 chip-hours
  on=v5e_16  TPU_TYPE=v5litepod-16; GKE_TOPOLOGY=4x4; 4 hosts; adapters of rank 64
             at most 14.2 GiB of 15.8, 123 s an update; 20.4-40.8 h, 326-652 chip-hours
  on=gpu_8   8 x H100, one process: JOB_GPUS=8 JOB_TASKS=node JOB_CPUS=64
             at most 44.6 GiB of 79.0, 33 s an update; 5.5-11 h, 44-88 chip-hours
  on=gpu_8   8 x H200, likewise
             at most 44.6 GiB of 139.0, 31 s an update; 5-10 h, 40-80 chip-hours

Cost = chip-hours x price of one. At $4.20 (v5p on demand, 2025; look yours up) it is
$286-571 on v5p_8. Workers need TPU_EXTRAS=alfworld (GKE_, XPK_), or pip's .[alfworld].

Literature, seen split, success in percent: the checkpoint itself 14.8, GRPO 77.6, SkillRL
89.9, GiGPO 90.8, SkillMaster 98.7. They fine-tune on traces of a stronger model, here on
those of scripted players, and start from SkillRL's bank, which
`--config.train.initial_banks=bank.json` reads. Deviations: docs/paper_map.md; an episode
is one context of 16,384 tokens, not 8,192 a turn.
Variants: `:debug`, `:on=v5p_8`, `:split=valid_unseen`, `:seed=1`, `:updates=300`.
"""

import ml_collections

from configs.pretrained import Place, alfworld

PLACES = {
  "v5p_8": Place(mesh=(1, 2, 4), engine_mesh=(1, 1, 4), rows=2, slots=96),
  "v6e_16": Place(
    mesh=(1, 4, 4), engine_mesh=(1, 1, 4), rows=4, slots=24, moments="bfloat16"
  ),
  "v5e_16": Place(mesh=(1, 4, 4), engine_mesh=(1, 1, 4), rows=4, slots=8, adapters=64),
  "gpu_8": Place(mesh=(1, 2, 4), engine_mesh=(2, 1, 4), rows=2, slots=128),
}


def get_config(arg: str = "") -> ml_collections.ConfigDict:
  """The resolved, locked config of one variant."""
  return alfworld(arg, places=PLACES)
