"""Small environments that misbehave on command, for the tests of the pool.

Worker processes import this module by name, so it stays free of anything heavy.
"""

import os
import pathlib
import signal
import socket
import time

from skilljax.types import Observation, Task


def task(name: str = "t0") -> Task:
  return Task(env="fake", split="train", scope="fake", family="f", name=name)


class CountingEnv:
  """Answers '<task> <turn> <action>' and does what the action says."""

  def __init__(self):
    self.name = ""
    self.turn = 0
    self.history: list[str] = []

  def reset(self, task: Task) -> Observation:
    if task.name == "hang":
      time.sleep(600)
    if task.name == "raise":
      raise RuntimeError("reset went wrong")
    self.name, self.turn = task.name, 0
    self.history.append(task.name)
    return Observation(f"{task.name} start", goal="count.", max_turns=9)

  def step(self, action: str) -> Observation:
    self.turn += 1
    if action == "raise":
      raise RuntimeError("step went wrong")
    if action == "kill":
      os.kill(os.getpid(), signal.SIGKILL)
    if action == "hang":
      time.sleep(600)
    if action.startswith("sleep "):
      time.sleep(float(action.split()[1]))
    if action.startswith("write "):
      _write_to_parent(action.removeprefix("write ").encode() + b"\n")
    text = f"{self.name} {self.turn} {action}"
    if action == "pid":
      text = str(os.getpid())
    if action == "history":
      text = " ".join(self.history)
    if action == "odd":
      return Observation(text, success="yes")  # the wrong type on purpose
    return Observation(text, reward=0.5, admissible=("a", "b"))

  def close(self):
    if folder := os.environ.get("FAKE_ENV_CLOSED"):
      pathlib.Path(folder, f"closed-{os.getpid()}").touch()


def make_broken():
  raise FileNotFoundError("no data in /nowhere")


def make_dying():
  os._exit(7)


def _write_to_parent(data: bytes):
  for number in os.listdir("/proc/self/fd"):
    try:
      is_socket = os.readlink(f"/proc/self/fd/{number}").startswith("socket:")
    except FileNotFoundError:
      continue
    if is_socket:
      with socket.socket(fileno=os.dup(int(number))) as pipe:
        pipe.sendall(data)
