"""SkillMaster on ALFWorld with Qwen2.5-1.5B, on four to eight chips or one GPU.

  export SKILLJAX_DATA=...  CHECKPOINT=...  # folder with alfworld/; Qwen2.5-1.5B-Instruct
  python -m experiments.sft --config=configs/alfworld_qwen25_1b5.py \
      --policy=$CHECKPOINT --workdir=runs/alf1b5_cold
  python -m experiments.train --config=configs/alfworld_qwen25_1b5.py \
      --policy=runs/alf1b5_cold/policy --workdir=runs/alf1b5
  python -m experiments.evaluate --config=configs/alfworld_qwen25_1b5.py \
      --policy=runs/alf1b5/policy --banks=runs/alf1b5/banks --workdir=runs/alf1b5/seen

Never run yet. Chips, by `:on=` (memory of each: docs/pods.md), for 300 updates of
64 episodes and some 200 probes; hours by the roofline, which real runs miss by two to
four times. With PRICE of a chip-hour the cost is chip-hours x PRICE.

  on=v6e_4   v6e:2x2, the default            26 s an update   2.2 h     9 chip-hours
  on=v5e_8   v5e:2x4 (add --hosts=auto)      49 s             4.1 h    32
  on=gpu_1   one H100                        70 s             5.8 h     6

Literature, seen split, success in percent: the checkpoint itself 4.1, GRPO 72.8, GiGPO
86.7; SkillMaster has no result at this size. Its hyper-parameters otherwise.
Variants: `:debug`, `:on=v6e_4`, `:split=valid_unseen`, `:seed=1`, `:updates=300`.
"""

import ml_collections

from configs.pretrained import Place, alfworld

PLACES = {
  "v6e_4": Place(mesh=(1, 2, 2), engine_mesh=(2, 1, 2), rows=2, slots=64),
  "v5e_8": Place(mesh=(1, 4, 2), engine_mesh=(2, 1, 2), rows=4, slots=24),
  "gpu_1": Place(mesh=(1, 1, 1), engine_mesh=(1, 1, 1), rows=1, slots=32),
}


def get_config(arg: str = "") -> ml_collections.ConfigDict:
  """The resolved, locked config of one variant."""
  return alfworld(arg, places=PLACES)
