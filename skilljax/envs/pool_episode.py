"""The record that the pool and its two backends share.

Must not know about: processes, environments.
"""

import dataclasses

from skilljax.types import Fault, Observation, Task

Answer = Observation | Fault


@dataclasses.dataclass(eq=False)
class Episode:
  """One open episode.

  Attributes:
    ticket: the caller's name for it.
    task: what is played.
    serial: unique over the life of the pool; a ticket may be used again, a serial never.
    busy: a request is under way, so no other may be made.
    failed: it ended with a fault; only `release` is left.
  """

  ticket: str
  task: Task
  serial: int
  busy: bool = True
  failed: bool = False
