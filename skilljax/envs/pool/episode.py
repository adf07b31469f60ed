"""What the pool and its two backends share: the record of an episode, and what an
answer must be.

Must not know about: processes, environments.
"""

import dataclasses
import math

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
    begun: its reset has been answered.
    failed: it ended with a fault; only `release` is left.
  """

  ticket: str
  task: Task
  serial: int
  busy: bool = True
  begun: bool = False
  failed: bool = False


def why_unusable(answer: Observation, *, is_first: bool) -> str:
  """Why an observation would break or poison what reads it; '' if it would not.

  Args:
    answer: with the right types.
    is_first: it answers a reset.
  """
  if not math.isfinite(answer.reward):
    return f"its reward is {answer.reward}, which is no finite number"
  if is_first and answer.max_turns < 1:
    return f"its first observation has max_turns={answer.max_turns}; it must be >= 1"
  try:
    "".join((answer.text, answer.goal, *answer.admissible)).encode("utf-8")
  except UnicodeEncodeError as error:
    return f"its text is no Unicode: {error.reason}"
  return ""
