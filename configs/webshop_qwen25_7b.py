"""SkillMaster on WebShop with Qwen2.5-7B, on a pod; the paper's hyper-parameters.

  export SKILLJAX_DATA=...  CHECKPOINT=...  # folder with webshop/; Qwen2.5-7B-Instruct
  python -m experiments.sft --config=configs/webshop_qwen25_7b.py --hosts=auto \
      --policy=$CHECKPOINT --workdir=/mnt/runs/shop7b_cold
  python -m experiments.train --config=configs/webshop_qwen25_7b.py --hosts=auto \
      --policy=/mnt/runs/shop7b_cold/policy --workdir=/mnt/runs/shop7b
  python -m experiments.evaluate --config=configs/webshop_qwen25_7b.py --hosts=auto \
      --policy=/mnt/runs/shop7b/policy --banks=/mnt/runs/shop7b/banks \
      --workdir=/mnt/runs/shop7b/test

Never run yet. Places, by `:on=`: machines, the memory that a chip holds at its worst, the
least time of an update by the roofline, and what 300 updates of 64 episodes and some 200
probes take if real runs need two to four times that (docs/pods.md: the table, formulas).

  on=v5p_8   the default: TPU_TYPE=v5p-16, which counts cores; GKE_TOPOLOGY=2x2x2; 2 hosts
             at most 51.7 GiB of 95.7, 45 s an update; 7.5-15 h, 60-120 chip-hours
  on=v6e_16  TPU_TYPE=v6e-16; GKE_TOPOLOGY=4x4; 4 hosts; moments in bfloat16
             at most 22.9 GiB of 31.2, 19 s an update; 3.1-6.2 h, 50-100 chip-hours
  on=gpu_8   8 x H200, one process: JOB_GPUS=8 JOB_TASKS=node JOB_CPUS=64
             at most 40.1 GiB of 139.0, 27 s an update; 4.5-9 h, 36-72 chip-hours

Cost = chip-hours x price of one. At $4.20 (v5p on demand, 2025; look yours up) it is
$252-504 on v5p_8. Workers need TPU_EXTRAS=webshop (GKE_, XPK_), or pip's .[webshop].

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
