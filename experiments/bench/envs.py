"""Measures environments: steps a second, reset times, growth of memory.

    python -m experiments.bench.envs --env=household --steps=50000
    python -m experiments.bench.envs --env=alfworld --data_dir=../shared/data/alfworld

One process, one core. What is played are recordings of each environment's scripted
player, so that the commands are those of a policy and the player costs nothing.

Must not know about: policies, worker pools.
"""

import json
import os
import random
import re
import time
from collections.abc import Sequence

from absl import app, flags

from skilljax.envs import base
from skilljax.types import Task

FLAGS = flags.FLAGS
flags.DEFINE_enum("env", "alfworld", base.env_names(), "Which environment.")
flags.DEFINE_string("data_dir", "", "Folder of the games (alfworld).")
flags.DEFINE_string("cache_dir", "", "Folder for derived files (alfworld).")
flags.DEFINE_integer("games", 10, "Different tasks.", lower_bound=1)
flags.DEFINE_integer("steps", 3000, "Steps of the rate measurement.", lower_bound=1)
flags.DEFINE_integer("episodes", 300, "Episodes of the memory measurement.")

_ACTION = re.compile("<action>(.*)</action>")


def _rss_mib() -> float:
  with open("/proc/self/statm") as file:
    return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def _cpu_s(function) -> float:
  begin = time.process_time()
  function()
  return time.process_time() - begin


def record(env: base.Env, agent: base.TextAgent, task: Task) -> list[str]:
  """The commands of one scripted episode."""
  observation = env.reset(task)
  commands = []
  while not observation.ended:
    commands.append(_ACTION.search(agent.reply(observation.text))[1])
    observation = env.step(commands[-1])
  return commands


def _replay(env: base.Env, task: Task, commands: Sequence[str]) -> int:
  env.reset(task)
  for command in commands:
    env.step(command)
  return len(commands)


def measure_rate(
  env: base.Env, plays: Sequence[tuple[Task, list[str]]], num_steps: int
) -> dict[str, float]:
  """Steps a CPU second on tasks already seen, with and without the time of resets."""
  done, all_s, resets_s = 0, 0.0, 0.0
  while done < num_steps:
    for task, commands in plays:
      env.reset(task)
      resets_s += _cpu_s(lambda task=task: env.reset(task))
      begin = time.process_time()
      done += _replay(env, task, commands)
      all_s += time.process_time() - begin
  return {
    "steps": done,
    "steps_per_s": done / (all_s - resets_s),
    "steps_per_s_with_resets": done / all_s,
  }


def measure_resets(env: base.Env, tasks: Sequence[Task]) -> dict[str, float]:
  """CPU seconds of the first, a repeated and a returning reset: mean over tasks."""
  first = [_cpu_s(lambda task=task: env.reset(task)) for task in tasks]
  back = [_cpu_s(lambda task=task: env.reset(task)) for task in tasks]
  again = [_cpu_s(lambda: env.reset(tasks[-1])) for _ in tasks]
  return {
    "reset_first_s": sum(first) / len(first),
    "reset_first_worst_s": max(first),
    "reset_returning_s": sum(back) / len(back),
    "reset_same_s": sum(again) / len(again),
  }


def measure_memory(
  env: base.Env, plays: Sequence[tuple[Task, list[str]]], episodes: int
) -> dict[str, float]:
  """Resident size after `episodes` over tasks already seen, and its growth, MiB."""
  before = _rss_mib()
  for number in range(episodes):
    _replay(env, *plays[number % len(plays)])
  return {"rss_mib": _rss_mib(), "rss_growth_mib": _rss_mib() - before}


def main(argv: Sequence[str]):
  """Prints one JSON object a measurement."""
  if len(argv) > 1:
    raise app.UsageError(f"unexpected arguments: {argv[1:]}")
  values = {}
  if FLAGS.env == "alfworld":
    values = {"data_dir": FLAGS.data_dir, "cache_dir": FLAGS.cache_dir}
  settings = base.make_settings(FLAGS.env, values)
  all_tasks = base.make_source(FLAGS.env, settings).tasks("train")
  tasks = random.Random(0).sample(list(all_tasks), FLAGS.games)
  env = base.make_env(FLAGS.env, settings)
  print(json.dumps(measure_resets(env, tasks)), flush=True)
  teacher = base.make_teacher(FLAGS.env, settings)
  plays = [(task, record(env, teacher.agent(task, 0), task)) for task in tasks]
  print(json.dumps(measure_rate(env, plays, FLAGS.steps)), flush=True)
  print(json.dumps(measure_memory(env, plays, FLAGS.episodes)), flush=True)
  env.close()


if __name__ == "__main__":
  app.run(main)
