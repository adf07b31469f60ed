"""Measures the decode engine on real episodes of a policy.

    python -m experiments.bench.engine --config=configs/household.py \
        --policy=runs/demo/rl/policy

Plays training tasks without reviews, as many at once as the engine has slots; then fills
the slots with what was played and only decodes. Prints one JSON object: sampled tokens a
second of decoding alone, of engine time (prompts and observations included) and of wall
time (environments and host too), mean occupancy of the slots, programs traced after
warm-up.

Must not know about: learning, skills.
"""

import itertools
import json
import random
import time
from collections.abc import Sequence

import numpy as np
from absl import app, flags, logging
from ml_collections import config_flags

from experiments import command_line
from skilljax import assembly
from skilljax.engine.base import Engine, GenerateRequest
from skilljax.envs import table
from skilljax.rollout.plan import Purpose, independent_groups
from skilljax.settings import Settings, read_settings
from skilljax.skills.bank import SkillBank

CONFIG = config_flags.DEFINE_config_file("config", None, "config file and variant")
POLICY = flags.DEFINE_string("policy", None, "folder of the policy")
GROUPS = flags.DEFINE_integer("groups", 0, "tasks to play; 0: twice the slots", 0)
DECODE_TOKENS = 32
GROUP_SIZE = flags.DEFINE_integer("group_size", 8, "episodes of each task", 1)


def measure(
  settings: Settings, policy: assembly.Policy, groups: int, group_size: int
) -> dict[str, float]:
  """Rates of one rollout of `groups` tasks × `group_size` episodes."""
  engine = assembly.make_engine(settings, policy)
  engine.publish(policy.params, 0)
  engine.warmup()
  traces = engine.num_traces
  source = table.make_source(settings.env_name, settings.env)
  tasks = random.Random(0).sample(list(source.tasks("train")), groups)
  plan = independent_groups(tasks, group_size, key=(Purpose.TRAIN, 0), review=False)
  with assembly.make_pool(settings) as pool:
    runner = assembly.make_runner(
      settings, engine=engine, tokenizer=policy.tokenizer, pool=pool
    )
    begin = time.perf_counter()
    rollout = runner.run(plan, {task.scope: SkillBank() for task in tasks})
    wall_s = time.perf_counter() - begin
  stats, trajectories = engine.stats(), list(rollout.trajectories.values())
  return {
    "episodes": len(plan.nodes),
    "success": sum(t.success for t in trajectories) / len(trajectories),
    "decoded_tokens": stats["decoded_tokens"],
    "decode_tok_s": decode_rate(engine, [t.tokens for t in trajectories]),
    "tok_s_engine": stats["decoded_tok_s"],
    "tok_s_wall": stats["decoded_tokens"] / wall_s,
    "extend_tokens": stats["extend_tokens"],
    "extend_fill": stats["extend_fill"],
    "occupancy": stats["occupancy"],
    "engine_share_of_wall": stats["step_s"] / wall_s,
    "recompilations": engine.num_traces - traces,
  }


def decode_rate(engine: Engine, texts: Sequence[np.ndarray]) -> float:
  """Sampled tokens a second of full slots that go on without new input.

  Args:
    engine: with a policy published and no open sequence.
    texts: [S] int32 each, what the slots hold when it begins: a third of the context.
  """
  third = engine.max_len // 3
  names = [f"slot{number}" for number in range(engine.num_free)]

  def submit(name: str, tokens: np.ndarray, num: int) -> None:
    engine.submit(GenerateRequest(name, tokens, num, (num,)))

  for name, text in zip(names, itertools.cycle(texts), strict=False):
    submit(name, text[:third], 1)
  opened = [result.sequence for result in engine.step()]
  while len(opened) < len(names):
    opened += [result.sequence for result in engine.step()]
  engine.reset_stats()
  for name in names:
    submit(name, np.zeros(0, np.int32), DECODE_TOKENS)
  for _ in range(third // DECODE_TOKENS):  # so no sequence comes near its end
    for result in engine.step():  # continuous batching: a slot that is done goes on
      submit(result.sequence, np.zeros(0, np.int32), DECODE_TOKENS)
  rate = engine.stats()["decoded_tok_s"]
  for name in names:
    engine.release(name)
  return rate


def main(argv: Sequence[str]):
  """Prints one JSON object."""
  if len(argv) > 1:
    raise app.UsageError(f"unexpected arguments: {argv[1:]}")
  logging.set_verbosity(logging.WARNING)
  settings = read_settings(CONFIG.value)
  policy = assembly.load_policy(POLICY.value)
  groups = GROUPS.value or max(1, 2 * settings.engine.num_slots // GROUP_SIZE.value)
  print(json.dumps(measure(settings, policy, groups, GROUP_SIZE.value)))


if __name__ == "__main__":
  flags.mark_flags_as_required(["config", "policy"])
  command_line.run(main)
