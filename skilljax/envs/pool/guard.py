"""No worker outlives the process that started it, however that one ends.

A worker that hangs in C code runs no thread of its own, a stopped one runs nothing, and
what an engine has started (a JVM, a search) does not look at our pipes at all: none of
them notices that the parent was killed. So a small process in a session of its own holds
the other end of a pipe, and ends what is left when that pipe closes.

Must not know about: environments, messages, scheduling.
"""

import contextlib
import subprocess
import sys

# Plain Python without any import of ours: about 8 MB, and there in 20 ms.
_CODE = """
import os, signal, sys, time
groups = set()
for line in sys.stdin:
  verb, group = line.split()
  (groups.add if verb == "watch" else groups.discard)(int(group))
if groups:
  time.sleep({grace_s})
for group in groups:
  try:
    os.killpg(group, signal.SIGKILL)
  except OSError:
    pass
"""


class Guard:
  """Kills the process groups it watches once this process is gone."""

  def __init__(self, *, grace_s: float = 2.0):
    """Starts the guarding process.

    Args:
      grace_s: how long a healthy worker has to close its environments, seconds.
    """
    self._process = subprocess.Popen(
      [sys.executable, "-I", "-S", "-c", _CODE.format(grace_s=grace_s)],
      stdin=subprocess.PIPE,
      stdout=subprocess.DEVNULL,
      stderr=subprocess.DEVNULL,
      bufsize=0,
      start_new_session=True,
    )

  @property
  def pid(self) -> int:
    """Process id of the guard."""
    return self._process.pid

  def watch(self, group: int):
    """From now on the guard is answerable for a process group."""
    self._tell(f"watch {group}\n")

  def forget(self, group: int):
    """The group has ended; its number may belong to somebody else soon."""
    self._tell(f"forget {group}\n")

  def close(self):
    """Ends the guard, which ends what it still watches. May be called twice."""
    self._process.stdin.close()
    self._process.wait()

  def _tell(self, line: str):
    # Without its guard a run is as good as before; nothing else would be gained.
    with contextlib.suppress(OSError, ValueError):
      self._process.stdin.write(line.encode("ascii"))
