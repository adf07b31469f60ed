"""Measures environments: steps a second, reset and search times, growth of memory.

    python -m experiments.bench.envs --env=household --steps=50000
    python -m experiments.bench.envs --env=alfworld --data_dir=../shared/data/alfworld
    python -m experiments.bench.envs --env=webshop --games=50 --steps=20000
    python -m experiments.bench.envs --env=bfcl --games=200 --steps=20000
    python -m experiments.bench.envs --env=scienceworld --steps=1000 --heap_mb=256

One process, one core. Worlds in Java have a process beside it: its CPU time counts, and
its resident size is told apart. Rates are per CPU second, since other programs may share
the machine; wall time stands beside them. What is played are recordings of each
environment's scripted player: the commands of a policy, from a player that costs nothing.

Must not know about: policies, worker pools.
"""

import functools
import json
import os
import pathlib
import random
import re
import time
from collections.abc import Callable, Sequence

from absl import app, flags

from skilljax.envs import base, table
from skilljax.envs.webshop import goal_list
from skilljax.types import Task

FLAGS = flags.FLAGS
flags.DEFINE_enum("env", "alfworld", table.env_names(), "Which environment.")
flags.DEFINE_string("data_dir", "", "Folder of the data (alfworld, webshop).")
flags.DEFINE_string("cache_dir", "", "Folder for derived files (alfworld, webshop).")
flags.DEFINE_integer("heap_mb", 256, "Java memory (scienceworld, textworld_express).")
flags.DEFINE_integer("worlds", 1, "Environment objects that are open.", lower_bound=1)
flags.DEFINE_integer("games", 10, "Different tasks.", lower_bound=1)
flags.DEFINE_integer("steps", 3000, "Steps of the rate measurement.", lower_bound=1)
flags.DEFINE_integer("episodes", 300, "Episodes of the memory measurement.")

_ACTION = re.compile("<action>(.*)</action>", re.DOTALL)


def _children() -> list[int]:
  """Java, where a world has it."""
  return [
    int(pid)
    for path in pathlib.Path("/proc/self/task").glob("*/children")
    for pid in path.read_text().split()
  ]


def _rss_mib(pid: int | str = "self") -> float:
  pages = int(pathlib.Path(f"/proc/{pid}/statm").read_text().split()[1])
  return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def _children_cpu_s() -> float:
  """CPU seconds of the children that run."""
  total = 0.0
  for pid in _children():
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    total += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
  return total


def _cpu_s(function: Callable[[], object]) -> float:
  """CPU seconds of one call, in this process and in its children."""
  # Looking for children costs more than many a step: it stays outside.
  children, begin = _children_cpu_s(), time.process_time()
  function()
  spent = time.process_time() - begin
  return spent + _children_cpu_s() - children


def record(env: base.Env, agent: base.TextAgent, task: Task) -> list[str]:
  """The commands of one scripted episode."""
  observation = env.reset(task)
  commands = []
  while not observation.ended:
    commands.append(_ACTION.search(agent.reply(observation.text))[1])
    observation = env.step(commands[-1])
  return commands


def _replay(env: base.Env, task: Task, commands: Sequence[str]):
  env.reset(task)
  for command in commands:
    env.step(command)


def measure_rate(
  env: base.Env, plays: Sequence[tuple[Task, list[str]]], num_steps: int
) -> dict[str, float]:
  """Steps a CPU second on tasks already seen, with and without the time of resets."""
  done, all_s, resets_s, begin_wall = 0, 0.0, 0.0, time.perf_counter()
  while done < num_steps:
    for task, commands in plays:
      env.reset(task)
      resets_s += _cpu_s(functools.partial(env.reset, task))
      all_s += _cpu_s(functools.partial(_replay, env, task, commands))
      done += len(commands)
  return {
    "steps": done,
    "steps_per_s": done / (all_s - resets_s),
    "steps_per_s_with_resets": done / all_s,
    "steps_per_wall_s_with_resets": done / (time.perf_counter() - begin_wall),
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


def measure_search(
  search: Callable[[str], object], queries: Sequence[str]
) -> dict[str, float]:
  """CPU seconds of the first and of the second search for each query: means."""
  first, again = (
    _cpu_s(lambda: [search(query) for query in queries]) / len(queries) for _ in range(2)
  )
  return {"searches": len(queries), "search_first_s": first, "search_again_s": again}


def measure_memory(
  env: base.Env, plays: Sequence[tuple[Task, list[str]]], episodes: int
) -> dict[str, float]:
  """Resident size after `episodes` over tasks already seen, and its growth, MiB."""
  before, java_before = _rss_mib(), [_rss_mib(pid) for pid in _children()]
  for number in range(episodes):
    _replay(env, *plays[number % len(plays)])
  java = [_rss_mib(pid) for pid in _children()]
  return {
    "rss_mib": _rss_mib(),
    "rss_growth_mib": _rss_mib() - before,
    "java_rss_mib": sum(java),
    "java_rss_growth_mib": sum(java) - sum(java_before),
  }


def main(argv: Sequence[str]):
  """Prints one JSON object a measurement."""
  if len(argv) > 1:
    raise app.UsageError(f"unexpected arguments: {argv[1:]}")
  values = {}
  if FLAGS.env in ("alfworld", "webshop"):
    values = {"data_dir": FLAGS.data_dir, "cache_dir": FLAGS.cache_dir}
  if FLAGS.env in ("scienceworld", "textworld_express"):
    values = {"heap_mb": FLAGS.heap_mb}
  settings = table.make_settings(FLAGS.env, values)
  source = table.make_source(FLAGS.env, settings)
  tasks = random.Random(0).sample(list(source.tasks("train")), FLAGS.games)
  # This may make derived files: a worker finds them there.
  table.make_env(FLAGS.env, settings).close()
  envs: list[base.Env] = []
  begin_wall = time.perf_counter()
  start_s = _cpu_s(
    lambda: envs.extend(table.make_env(FLAGS.env, settings) for _ in range(FLAGS.worlds))
  )
  started = {
    "start_s": start_s / FLAGS.worlds,
    "start_wall_s": (time.perf_counter() - begin_wall) / FLAGS.worlds,
  }
  print(json.dumps(started), flush=True)
  for env in envs[1:]:
    env.reset(tasks[0])
  env = envs[0]
  print(json.dumps(measure_resets(env, tasks)), flush=True)
  if FLAGS.env == "webshop":
    # Before the recordings: a search by one of them would not be the first.
    search = goal_list.open_data(settings)[0].searcher.search
    print(json.dumps(measure_search(search, [source.goal(t) for t in tasks])), flush=True)
  teacher = table.make_teacher(FLAGS.env, settings)
  plays = [(task, record(env, teacher.agent(task, 0), task)) for task in tasks]
  print(json.dumps(measure_rate(env, plays, FLAGS.steps)), flush=True)
  print(json.dumps(measure_memory(env, plays, FLAGS.episodes)), flush=True)
  for env in envs:
    env.close()


if __name__ == "__main__":
  app.run(main)
