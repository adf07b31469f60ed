"""Writes golden/trl_grpo.json: what TRL's own GRPO code computes on small numbers.

    pip install torch==2.13.0 trl==1.16.0     # in an environment of its own
    python tests/rl/make_golden_trl.py

Runs `GRPOTrainer._compute_loss` and the advantage part of
`GRPOTrainer._generate_and_score_completions` on a stand-in for the trainer: the model's
log-probs, the generation and the reward functions are replaced by given numbers, all
arithmetic is TRL's.
"""

import collections
import json
import pathlib
import types

import numpy as np
import torch
import trl
from trl.trainer import grpo_trainer

GOLDEN = pathlib.Path(__file__).parent / "golden" / "trl_grpo.json"
ROWS, TOKENS, MAX_TOKENS = 5, 7, 9
LENGTHS = (7, 3, 5, 1, 6)
BASE = {
  "beta": 0.04,
  "clip_eps_low": 0.2,
  "clip_eps_high": 0.28,
  "dual_clip": None,
  "entropy_coef": 0.0,
  "has_old": True,
  "has_importance": False,
}
CASES = {
  "grpo": {"loss_type": "grpo"},
  "bnpo": {"loss_type": "bnpo"},
  "dr_grpo": {"loss_type": "dr_grpo"},
  "bnpo_no_kl": {"loss_type": "bnpo", "beta": 0.0},
  "grpo_on_policy": {"loss_type": "grpo", "has_old": False},
  "dr_grpo_dual_clip": {"loss_type": "dr_grpo", "dual_clip": 2.0},
  "bnpo_entropy": {"loss_type": "bnpo", "entropy_coef": 0.01},
  "grpo_importance": {"loss_type": "grpo", "has_importance": True},
}
IMPORTANCE_CAP = 1.3


def make_inputs() -> dict[str, np.ndarray]:
  """Random numbers with every kind of clipping and a hole in one mask."""
  rng = np.random.default_rng(0)
  shape = (ROWS, TOKENS)
  logprobs = -rng.gamma(2.0, 0.6, shape)
  mask = np.arange(TOKENS)[None] < np.array(LENGTHS)[:, None]
  tool_mask = np.ones(shape, bool)
  tool_mask[0, 2:4] = False  # an observation in the middle of a trajectory
  inputs = {
    "logprobs": logprobs,
    "old_logprobs": logprobs + rng.normal(0.0, 0.5, shape),
    "ref_logprobs": logprobs + rng.normal(0.0, 0.3, shape),
    "behavior_logprobs": logprobs + rng.normal(0.0, 0.5, shape),
    "entropy": rng.uniform(0.1, 2.0, shape),
    "mask": (mask & tool_mask).astype(np.float32),
    "advantages": np.array([1.3, -0.7, 0.4, -1.1, -0.2]),
  }
  inputs["old_logprobs"][1, 0] = logprobs[1, 0] - 1.5  # A < 0, ratio 4.5: dual clip
  return {name: np.float32(value) for name, value in inputs.items()}


class Accelerator:
  """One process: nothing to gather."""

  device = torch.device("cpu")
  process_index = 0
  num_processes = 1
  sync_gradients = True

  def gather(self, value):
    return value

  def reduce(self, value, reduction):
    return value


def loss_trainer(case: dict, logprobs: torch.Tensor, entropy: torch.Tensor):
  """The attributes that `_compute_loss` reads."""
  return types.SimpleNamespace(
    _get_per_token_logps_and_entropies=lambda *a, **k: (logprobs, entropy, None),
    model=torch.nn.Identity().train(),
    accelerator=Accelerator(),
    args=types.SimpleNamespace(delta=case["dual_clip"], use_bias_correction_kl=False),
    aux_loss_enabled=False,
    top_entropy_quantile=1.0,
    off_policy_mask_threshold=None,
    importance_sampling_level="token",
    beta=case["beta"],
    epsilon_low=case["clip_eps_low"],
    epsilon_high=case["clip_eps_high"],
    loss_type=case["loss_type"],
    max_completion_length=MAX_TOKENS,
    use_vllm=case["has_importance"],
    vllm_importance_sampling_correction=case["has_importance"],
    current_gradient_accumulation_steps=1,
    _entropy_bonus_enabled=case["entropy_coef"] != 0,
    use_adaptive_entropy=False,
    entropy_coef=case["entropy_coef"],
    _metrics={"train": collections.defaultdict(list)},
  )


def run_loss(case: dict, numbers: dict[str, np.ndarray]) -> dict:
  """One loss, its gradient and TRL's metrics."""
  tensors = {name: torch.tensor(value) for name, value in numbers.items()}
  logprobs = tensors["logprobs"].requires_grad_()
  ones = torch.ones((ROWS, TOKENS), dtype=torch.long)
  inputs = {
    "prompt_ids": ones[:, :1],
    "prompt_mask": ones[:, :1],
    "completion_ids": ones,
    "completion_mask": tensors["mask"],
    "advantages": tensors["advantages"],
    "ref_per_token_logps": tensors["ref_logprobs"],
  }
  old = tensors["old_logprobs"]
  if case["has_old"]:
    inputs["old_per_token_logps"] = old
  if case["has_importance"]:
    ratio = torch.exp(old - tensors["behavior_logprobs"])
    inputs["importance_sampling_ratio"] = torch.clamp(ratio, max=IMPORTANCE_CAP)
  trainer = loss_trainer(case, logprobs, tensors["entropy"])
  loss = grpo_trainer.GRPOTrainer._compute_loss(trainer, trainer.model, inputs)
  loss.backward()
  metrics = trainer._metrics["train"]
  return {
    **case,
    "loss": loss.item(),
    "gradient": logprobs.grad.tolist(),
    "clip_low": metrics["clip_ratio/low_mean"][0],
    "clip_high": metrics["clip_ratio/high_mean"][0],
    "ref_kl": metrics["kl"][0] if case["beta"] else None,
    "entropy": metrics["entropy"][0],
  }


def run_advantages(rewards: list[list[float]], scale_rewards: str) -> list[float]:
  """Advantages of equal groups, one inner list each."""
  flat = torch.tensor(rewards).reshape(-1, 1)
  num, group = flat.shape[0], len(rewards[0])
  model = torch.nn.Identity().train()
  model.is_gradient_checkpointing = False
  log = collections.defaultdict(list)
  trainer = types.SimpleNamespace(
    accelerator=Accelerator(),
    model=model,
    environment_factories=None,
    environments=None,
    tools=[],
    _generate=lambda p: (
      [[1]] * num,
      [[2]] * num,
      None,
      [""] * num,
      None,
      {},
      None,
      None,
    ),
    _calculate_rewards=lambda *a: flat,
    _tokenizer=types.SimpleNamespace(pad_token_id=0),
    pad_to_multiple_of=None,
    mask_truncated_completions=False,
    args=types.SimpleNamespace(
      per_device_train_batch_size=num,
      gradient_checkpointing_kwargs=None,
      steps_per_generation=1,
      gradient_accumulation_steps=1,
    ),
    num_iterations=1,
    use_vllm=False,
    vllm_importance_sampling_correction=False,
    beta=0.0,
    num_generations=group,
    multi_objective_aggregation="sum_then_normalize",
    reward_weights=torch.ones(1),
    scale_rewards=scale_rewards,
    reward_func_names=["given"],
    _metrics={"train": collections.defaultdict(list)},
    _logs={**{k: [] for k in ("prompt", "completion", "advantages")}, "rewards": log},
    _pending_extra_logs={},
    _pending_metrics={},
  )
  prompts = [{"prompt": "p"}] * num
  score = grpo_trainer.GRPOTrainer._generate_and_score_completions
  return score(trainer, prompts)["advantages"].tolist()


def main() -> None:
  """Computes all cases and writes the file."""
  numbers = make_inputs()
  rewards = [[1.0, 0.0, 0.0, 1.7], [0.3, 0.3, 0.3, 0.3], [2.0, float("nan"), -1.0, 0.5]]
  golden = {
    "made_by": f"trl {trl.__version__}, torch {torch.__version__.split('+')[0]}",
    "inputs": {name: value.tolist() for name, value in numbers.items()},
    "max_tokens": MAX_TOKENS,
    "importance_cap": IMPORTANCE_CAP,
    "losses": {n: run_loss(BASE | case, numbers) for n, case in CASES.items()},
    "rewards": [[None if r != r else r for r in group] for group in rewards],
    "advantages": {m: run_advantages(rewards, m) for m in ("group", "none")},
  }
  GOLDEN.write_text(json.dumps(golden, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
  main()
