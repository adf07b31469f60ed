"""Plays games with the packaged engine as it is, in a process of its own.

The wrapping of `alfworld.engine` changes the whole process, so the unwrapped engine needs
another one: `python -m tests.envs.alfworld_reference < jobs.json > episodes.json`.
"""

import json
import random
import sys


def play(reset, step, *, walkthrough, num_random):
  """[(text, commands, won)]: random commands first, then the walkthrough.

  `reset` and `step` return (text, admissible commands, won).
  """
  rng = random.Random(0)
  record = [reset()]
  for _ in range(num_random):
    if not record[-1][2]:  # chance may win; the episode is over then
      record.append(step(rng.choice(record[-1][1])))
  if not record[-1][2]:
    record += [step("fly to the moon"), step("help")]
  record.append(reset())
  record += [step(command) for command in walkthrough]
  return [[text.strip(), list(commands), bool(won)] for text, commands, won in record]


def main():
  jobs = json.load(sys.stdin)
  out, sys.stdout = sys.stdout, sys.stderr  # the engine prints
  argv, sys.argv = sys.argv, ["translate.py", "domain", "task"]
  import textworld
  from alfworld.agents.environment.alfred_tw_env import AlfredDemangler
  from textworld.envs.pddl import PddlEnv

  del argv
  infos = textworld.EnvInfos(won=True, admissible_commands=True)
  env = AlfredDemangler(PddlEnv(infos), shuffle=False)

  def told(state):
    return state["feedback"], state["admissible_commands"], state["won"]

  episodes = []
  for job in jobs:
    env.load(job["game"])
    episodes.append(
      play(
        lambda: told(env.reset()),
        lambda command: told(env.step(command)[0]),
        walkthrough=job["walkthrough"],
        num_random=job["num_random"],
      )
    )
  json.dump(episodes, out)


if __name__ == "__main__":
  main()
