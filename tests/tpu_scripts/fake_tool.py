"""Stands in for gcloud, kubectl, …: writes down each call, and answers as it was told.

Called under the tool's name. `answers.json` in the folder BENCH holds pairs of a pattern
and answers; the first pattern that is found in the words of the call decides: its n-th
call gets the n-th answer, further calls the last one.
"""

import json
import os
import re
import sys


def on_workers(place, count, command):
  """Runs `command` in the homes of `count` workers, and complains the way gcloud does."""
  import subprocess  # slow to load, and rarely needed

  statuses = []
  for worker in range(count):
    home = os.path.join(place, f"worker-{worker}")
    env = {**os.environ, "HOME": home, "PATH": os.environ["REAL_PATH"]}
    done = subprocess.run(["bash", "-c", command], cwd=home, env=env)
    statuses.append(done.returncode)
    if done.returncode:
      print(
        f"##### Command execution on worker {worker} failed with exit status "
        f"{done.returncode}. Continuing.",
        file=sys.stderr,
      )
  return next((status for status in statuses if status), 0)


def main():
  place = os.environ["BENCH"]
  words = [os.path.basename(sys.argv[0]), *sys.argv[1:]]
  takes_input = "-" in words
  text = sys.stdin.read() if takes_input else ""
  calls = os.path.join(place, "calls.jsonl")
  with open(calls, "a+") as file:
    file.write(json.dumps({"words": words, "input": text}) + "\n")
    file.seek(0)
    lines = [" ".join(json.loads(line)["words"]) for line in file]
  with open(os.path.join(place, "answers.json")) as file:
    rules = json.load(file)
  for pattern, answers in rules:
    if re.search(pattern, lines[-1]):
      nth = sum(bool(re.search(pattern, line)) for line in lines)
      answer = answers[min(nth, len(answers)) - 1]
      break
  else:
    return 0
  print(answer["out"], end="")
  print(answer["err"], end="", file=sys.stderr)
  if answer["spoils"]:
    with open(answer["spoils"], "a") as file:
      file.write("more\n")
  if answer["workers"]:
    sys.stdout.flush()
    return on_workers(place, answer["workers"], words[words.index("--command") + 1])
  return answer["code"]


if __name__ == "__main__":
  sys.exit(main())
