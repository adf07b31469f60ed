"""SkillMaster on WebShop with Qwen2.5-7B, on a pod; the paper's hyper-parameters.

  export SKILLJAX_DATA=...  CHECKPOINT=...  # folder with webshop/; Qwen2.5-7B-Instruct
  python -m experiments.sft --config=configs/webshop_qwen25_7b.py --hosts=auto \
      --policy=$CHECKPOINT --workdir=/mnt/runs/shop7b_cold
  python -m experiments.train --config=configs/webshop_qwen25_7b.py --hosts=auto \
      --policy=/mnt/runs/shop7b_cold/policy --workdir=/mnt/runs/shop7b
  python -m experiments.evaluate --config=configs/webshop_qwen25_7b.py --hosts=auto \
      --policy=/mnt/runs/shop7b/policy --banks=/mnt/runs/shop7b/banks \
      --workdir=/mnt/runs/shop7b/test

Never run yet. Chips, by `:on=` (memory of each: docs/pods.md), for 300 updates of
64 episodes and some 200 probes; hours by the roofline, which real runs miss by two to
four times. With PRICE of a chip-hour the cost is chip-hours x PRICE.

  on=v5p_8   v5p:2x2x2, the default          45 s an update   3.7 h    30 chip-hours
  on=v6e_16  v6e:4x4, moments in bfloat16    19 s             1.6 h    25
  on=gpu_8   8 x H200                        27 s             2.2 h    18

Literature, small catalogue, score / success in percent: the checkpoint itself 26.4 / 7.8,
GRPO 79.3 / 66.1, GiGPO 84.4 / 72.8, SkillRL 85.2 / 72.7, SkillMaster 95.0 / 82.0. They
fine-tune on traces of a stronger model, here on those of scripted players. Success alone
is rewarded, as there. An episode is one context of 12,288 tokens, and one that fills it
ends.
Variants: `:debug`, `:on=v5p_8`, `:split=dev`, `:seed=1`, `:updates=300`.
"""

import ml_collections

from configs.pretrained import Place, webshop

PLACES = {
  "v5p_8": Place(mesh=(1, 2, 4), engine_mesh=(1, 1, 4), rows=2, slots=128),
  "v6e_16": Place(
    mesh=(1, 4, 4), engine_mesh=(1, 1, 4), rows=4, slots=32, moments="bfloat16"
  ),
  "gpu_8": Place(mesh=(1, 2, 4), engine_mesh=(2, 1, 4), rows=2, slots=128),
}


def get_config(arg: str = "") -> ml_collections.ConfigDict:
  """The resolved, locked config of one variant."""
  return webshop(arg, places=PLACES)
