"""SkillMaster on ALFWorld with Qwen2.5-32B, on a pod; the paper's hyper-parameters.

  export SKILLJAX_DATA=...  CHECKPOINT=...  # folder with alfworld/; Qwen2.5-32B-Instruct
  python -m experiments.sft --config=configs/alfworld_qwen25_32b.py --hosts=auto \
      --policy=$CHECKPOINT --workdir=/mnt/runs/alf32b_cold
  python -m experiments.train --config=configs/alfworld_qwen25_32b.py --hosts=auto \
      --policy=/mnt/runs/alf32b_cold/policy --workdir=/mnt/runs/alf32b
  python -m experiments.evaluate --config=configs/alfworld_qwen25_32b.py --hosts=auto \
      --policy=/mnt/runs/alf32b/policy --banks=/mnt/runs/alf32b/banks \
      --workdir=/mnt/runs/alf32b/seen

Never run yet. Places, by `:on=`: machines, the memory that a chip holds at its worst, the
least time of an update by the roofline, and what 300 updates of 64 episodes and some 200
probes take if real runs need two to four times that (docs/pods.md: the table, formulas).

  on=v5p_32  the default: TPU_TYPE=v5p-64, which counts cores; GKE_TOPOLOGY=2x4x4; 8 hosts
             at most 79.4 GiB of 95.7, 66 s an update; 10.9-21.9 h, 350-700 chip-hours

Cost = chip-hours x price of one. At $4.20 (v5p on demand, 2025; look yours up) it is
$1470-2940 on v5p_32. Workers need TPU_EXTRAS=alfworld (GKE_, XPK_), or pip's .[alfworld].

No published result at this size: the largest is 7 B, where SkillMaster has 98.7 on the
seen split. Deviations: docs/paper_map.md; an episode is one context of 16,384 tokens, not
8,192 a turn.
Variants: `:debug`, `:on=v5p_32`, `:split=valid_unseen`, `:seed=1`, `:updates=300`.
"""

import ml_collections

from configs.pretrained import Place, alfworld

PLACES = {
  "v5p_32": Place(mesh=(1, 8, 4), engine_mesh=(1, 1, 4), rows=8, slots=24),
}


def get_config(arg: str = "") -> ml_collections.ConfigDict:
  """The resolved, locked config of one variant."""
  return alfworld(arg, places=PLACES)
