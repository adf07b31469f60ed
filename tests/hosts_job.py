"""One of two hosts that only exchange numbers, until host 1 fails in a way of its own.

  python -m tests.hosts_job PLACE KIND

KIND: 'sleeps' where its main thread does nothing any more while its other threads live;
'waits' where it waits for the others, as in an exchange that they never enter; 'is told'
where it gets SIGTERM while its main thread stands in C code; 'never'.
"""

import ctypes
import os
import signal
import sys
import threading
import time

from skilljax import hosts
from skilljax.watch import Limits


def main(place: str, kind: str) -> None:
  """Exchanges numbers for ever, or until host 1 stops."""
  hosts.connect(place, Limits(join_s=4, hang_s=3, wait_s=5))
  hosts.enter(hosts.STEADY)
  mutex = ctypes.create_string_buffer(64)
  for number in range(1000):
    assert hosts.gather(number) == [number] * hosts.count()
    if hosts.index() == 1 and kind == "sleeps":
      time.sleep(1000)
    if hosts.index() == 1 and kind == "is told":
      threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGTERM)).start()
      for _ in range(2):  # the second time waits for ever, and no signal wakes it
        ctypes.CDLL(None).pthread_mutex_lock(mutex)
    if hosts.index() == 1 and kind == "waits":
      with hosts.waiting():
        time.sleep(1000)
    time.sleep(0.1)


if __name__ == "__main__":
  main(*sys.argv[1:])
