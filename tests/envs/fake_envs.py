"""Small environments that misbehave on command, for the tests of the pool.

Worker processes import this module by name, so it stays free of anything heavy.
"""

import dataclasses
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import time

from skilljax.envs.base import UnplayableTask
from skilljax.envs.household import HouseholdEnv
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
    if task.name == "kill":
      _count("kill")
      os.kill(os.getpid(), signal.SIGKILL)
    if task.name == "unplayable":
      _count("unplayable")
      raise UnplayableTask("games/unplayable: damaged; copy it again")
    if task.name == "endless":
      return Observation("no step cap", goal="count.")
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
    if action in TROUBLES:
      TROUBLES[action]()
    if action == "child":
      return Observation(str(subprocess.Popen(["sleep", "600"]).pid))
    if action == "nan":
      return Observation("", reward=float("nan"))
    if action == "surrogate":
      return Observation("broken \udc80 text")
    if action == "bytes":
      return Observation(b"bytes")  # the wrong type, which JSON cannot carry
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


def _count(what: str):
  if folder := os.environ.get("FAKE_ENV_COUNTS"):
    with open(os.path.join(folder, what), "a") as file:
      file.write(f"{os.getpid()}\n")


def make_slow_to_close():
  env = CountingEnv()
  env.close = lambda: time.sleep(600)
  return env


def make_broken():
  raise FileNotFoundError("no data in /nowhere")


def make_dying():
  os._exit(7)


def make_counting_alfworld(settings, log: str):
  """The real games; every translation of a process writes a line to a file."""
  from skilljax.envs import alfworld
  from skilljax.envs.alfworld import engine

  env = alfworld.AlfworldEnv(settings)
  translator = engine.load_engine().translator
  if "translate_and_count" not in translator._original.__name__:
    inner = translator._original

    def translate_and_count(domain, problem):
      with open(log, "a") as file:
        file.write(f"{os.getpid()}\n")
      return inner(domain, problem)

    translator._original = translate_and_count
  return env


def _write_to_parent(data: bytes):
  for number in os.listdir("/proc/self/fd"):
    try:
      is_socket = os.readlink(f"/proc/self/fd/{number}").startswith("socket:")
    except FileNotFoundError:
      continue
    if is_socket:
      with socket.socket(fileno=os.dup(int(number))) as pipe:
        pipe.sendall(data)


def _deaf():
  """Hangs, and does not end when it is asked to."""
  signal.signal(signal.SIGTERM, signal.SIG_IGN)
  time.sleep(600)


def _noise():
  """Harmless: what engines print is nobody's answer."""
  for stream in (1, 2):
    os.write(stream, b'\x00\xff{"number": 0}\n')
  print("garbage", file=sys.stderr)


TROUBLES = {
  "deaf": _deaf,
  "exit": lambda: sys.exit(3),
  "half": lambda: _write_to_parent(b'{"number": 1, "obs'),
  "huge": lambda: _write_to_parent(b"x" * (3 << 20)),
  "killed": lambda: os.kill(os.getpid(), signal.SIGKILL),
  "loop in C": lambda: re.fullmatch("(a+)+b", "a" * 64),  # holds the interpreter lock
  "nested": lambda: _write_to_parent(b"[" * 200_000 + b"\n"),
  "noise": _noise,
  "stopped": lambda: os.kill(os.getpid(), signal.SIGSTOP),
  "wrong shape": lambda: _write_to_parent(b'{"number": [], "observation": 3}\n'),
}


class FaultyHousehold:
  """`household`, where one episode of a task gets into trouble at its second turn."""

  def __init__(self, settings, task_key: str, trouble: str, marker: str):
    from skilljax.envs.household import HouseholdEnv

    self._inner = HouseholdEnv(settings)
    self._bad, self._trouble, self._marker = task_key, trouble, marker

  def reset(self, task: Task) -> Observation:
    self._turn, self._key = 0, task.key
    return self._inner.reset(task)

  def step(self, action: str) -> Observation:
    self._turn += 1
    if self._key == self._bad and self._turn == 2 and self._is_first():
      TROUBLES[self._trouble]()
    return self._inner.step(action)

  def close(self):
    self._inner.close()

  def _is_first(self) -> bool:
    try:
      os.close(os.open(self._marker, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
      return False
    return True


class FragileHousehold(HouseholdEnv):
  """Three tasks of each stream break in mid-episode, each in its own way."""

  def reset(self, task):
    self._number, self._turns = int(task.name.rpartition("/")[2]), 0
    return super().reset(task)

  def step(self, action):
    self._turns += 1
    seen = super().step(action)
    if self._number == 1 and self._turns == 2:
      raise RuntimeError("the engine is gone")
    if self._number == 2 and self._turns == 2:
      return dataclasses.replace(seen, admissible=())
    if self._number == 3 and self._turns == 2:
      time.sleep(3600)
    return seen
