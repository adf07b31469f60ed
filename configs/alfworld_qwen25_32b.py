"""SkillMaster on ALFWorld with Qwen2.5-32B, on a pod; the paper's hyper-parameters.

  export SKILLJAX_DATA=...  CHECKPOINT=...  # folder with alfworld/; Qwen2.5-32B-Instruct
  python -m experiments.sft --config=configs/alfworld_qwen25_32b.py --hosts=auto \
      --policy=$CHECKPOINT --workdir=/mnt/runs/alf32b_cold
  python -m experiments.train --config=configs/alfworld_qwen25_32b.py --hosts=auto \
      --policy=/mnt/runs/alf32b_cold/policy --workdir=/mnt/runs/alf32b
  python -m experiments.evaluate --config=configs/alfworld_qwen25_32b.py --hosts=auto \
      --policy=/mnt/runs/alf32b/policy --banks=/mnt/runs/alf32b/banks \
      --workdir=/mnt/runs/alf32b/seen

Never run yet. Chips, by `:on=` (memory of each: docs/pods.md), for 300 updates of
64 episodes and some 200 probes; hours by the roofline, which real runs miss by two to
four times. With PRICE of a chip-hour the cost is chip-hours x PRICE.

  on=v5p_32  v5p:2x4x4, the default          62 s an update   5.2 h   166 chip-hours

No published result at this size: the largest is 7 B, where SkillMaster has 98.7 on the
seen split. Deviations: docs/paper_map.md; an episode is one context of 16,384 tokens, not
8,192 a turn.
Variants: `:on=v5p_32`, `:split=valid_unseen`, `:seed=1`, `:updates=300`.
"""

import ml_collections

from configs.pretrained import Place, alfworld

PLACES = {
  "v5p_32": Place(mesh=(1, 8, 4), engine_mesh=(1, 1, 4), rows=8, slots=32),
}


def get_config(arg: str = "") -> ml_collections.ConfigDict:
  """The resolved, locked config of one variant."""
  return alfworld(arg, places=PLACES)
