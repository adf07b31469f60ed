"""What tests of worlds in Java share: skipping, processes, playing."""

import os
import pathlib
import time

import pytest

from skilljax.envs import table


def settings_or_skip(name, **values):
  """Settings of an environment; skips where its package or Java is absent."""
  settings = table.make_settings(name, values)
  try:
    settings.holder()
  except (ModuleNotFoundError, FileNotFoundError) as error:
    pytest.skip(str(error))
  return settings


def children(pid: int) -> list[int]:
  """The process ids of the direct children, zombies left out."""
  found = []
  for folder in pathlib.Path("/proc").glob("[0-9]*"):
    try:
      state, parent = (folder / "stat").read_text().rpartition(")")[2].split()[:2]
    except OSError:
      continue
    if int(parent) == pid and state != "Z":
      found.append(int(folder.name))
  return found


def java_of(pid: int) -> list[int]:
  """The Java processes that a process started."""
  return [child for child in children(pid) if _name(child) == "java"]


def wait_until_gone(pid: int, timeout_s: float = 20.0) -> bool:
  """False if the process still runs after that time."""
  end = time.monotonic() + timeout_s
  while os.path.exists(f"/proc/{pid}") and time.monotonic() < end:
    if pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
      return True
    time.sleep(0.05)
  return not os.path.exists(f"/proc/{pid}")


def rss_mib(pid: int) -> float:
  """Resident size."""
  pages = int(pathlib.Path(f"/proc/{pid}/statm").read_text().split()[1])
  return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def play(env, task, commands):
  """All observations of an episode, until it ends; commands as the parser gives them."""
  observations = [env.reset(task)]
  for command in commands:
    if observations[-1].ended:
      break
    observations.append(env.step(command.lower()))
  return observations


def _name(pid: int) -> str:
  try:
    return pathlib.Path(f"/proc/{pid}/comm").read_text().strip()
  except OSError:
    return ""
