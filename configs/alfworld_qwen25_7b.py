"""SkillMaster on ALFWorld with Qwen2.5-7B, on a pod; the paper's hyper-parameters.

  export SKILLJAX_DATA=...  CHECKPOINT=...  # folder with alfworld/; Qwen2.5-7B-Instruct
  python -m experiments.sft --config=configs/alfworld_qwen25_7b.py --hosts=auto \
      --policy=$CHECKPOINT --workdir=/mnt/runs/alf7b_cold
  python -m experiments.train --config=configs/alfworld_qwen25_7b.py --hosts=auto \
      --policy=/mnt/runs/alf7b_cold/policy --workdir=/mnt/runs/alf7b
  python -m experiments.evaluate --config=configs/alfworld_qwen25_7b.py --hosts=auto \
      --policy=/mnt/runs/alf7b/policy --banks=/mnt/runs/alf7b/banks \
      --workdir=/mnt/runs/alf7b/seen

Never run yet. Chips, by `:on=` (memory of each: docs/pods.md), for 300 updates of
64 episodes and some 200 probes; hours by the roofline, which real runs miss by two to
four times. With PRICE of a chip-hour the cost is chip-hours x PRICE.

  on=v5p_8   v5p:2x2x2, the default          51 s an update   4.3 h    34 chip-hours
  on=v6e_16  v6e:4x4, moments in bfloat16    29 s             2.4 h    38
  on=v5e_16  v5e:4x4, adapters of rank 64   123 s            10.2 h   163
  on=gpu_8   8 x H100 (or H200)              33 s             2.8 h    22

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
