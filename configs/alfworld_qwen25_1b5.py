"""SkillMaster on ALFWorld with Qwen2.5-1.5B, on four to eight chips or one GPU.

  export SKILLJAX_DATA=...  CHECKPOINT=...  # folder with alfworld/; Qwen2.5-1.5B-Instruct
  python -m experiments.sft --config=configs/alfworld_qwen25_1b5.py \
      --policy=$CHECKPOINT --workdir=runs/alf1b5_cold
  python -m experiments.train --config=configs/alfworld_qwen25_1b5.py \
      --policy=runs/alf1b5_cold/policy --workdir=runs/alf1b5
  python -m experiments.evaluate --config=configs/alfworld_qwen25_1b5.py \
      --policy=runs/alf1b5/policy --banks=runs/alf1b5/banks --workdir=runs/alf1b5/seen

Never run yet. Places, by `:on=`: machines, the memory that a chip holds at its worst, the
least time of an update by the roofline, and what 300 updates of 64 episodes and some 200
probes take if real runs need two to four times that (docs/pods.md: the table, formulas).

  on=v6e_4   the default: TPU_TYPE=v6e-4; GKE_TOPOLOGY=2x2; 1 host
             at most 21.0 GiB of 31.2, 26 s an update; 4.5-9 h, 18-36 chip-hours
  on=v5e_8   GKE_TOPOLOGY=2x4 GKE_CHIPS=4; 2 hosts, so add --hosts=auto
             at most 12.4 GiB of 15.8, 49 s an update; 8-16 h, 64-128 chip-hours
             A TPU VM, TPU_TYPE=v5litepod-8, is one host of 8 chips. There add
             --config.engine_mesh.data=4 --config.engine.num_slots=48
             --config.pool.envs_per_worker=3, or half of them do not sample.
  on=gpu_1   one H100: JOB_GPUS=1 JOB_CPUS=24
             at most 55.9 GiB of 79.0, 70 s an update; 12-24 h, 12-24 chip-hours

Cost = chip-hours x price of one. At $2.70 (v6e on demand, 2025; look yours up) it is
$49-97 on v6e_4. Workers need TPU_EXTRAS=alfworld (GKE_, XPK_), or pip's .[alfworld].

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
