"""Demonstrations for any benchmark whose tasks come with a plan: play it, keep the bank.

The player sees its plan and nothing else, so it teaches the form of replies and the
commands of a world; when to edit a skill is left to reinforcement learning.

Must not know about: which world it is, banks, tokens.
"""

import dataclasses
import random
import re
from collections.abc import Callable, Sequence
from typing import Protocol

from skilljax.envs import base
from skilljax.envs.replies import REVIEW_MARK, act_reply, keep_reply
from skilljax.types import Skill, Task


class PlannedSource(Protocol):
  """A task source that knows how each of its tasks is solved."""

  def walkthrough(self, task: Task) -> Sequence[str]:
    """The commands that solve a task, in order."""


def first_word(command: str) -> str:
  """The thought of a command where nothing better is known: its verb."""
  words = re.findall(r"\w+", command)
  return words[0] if words else "act"


@dataclasses.dataclass
class WalkthroughPlayer:
  """Plays one plan in one episode (TextAgent protocol).

  Attributes:
    plan: one command each.
    idle: the command of every turn after the plan.
    thought: command -> what the think block says before it.
  """

  plan: tuple[str, ...]
  idle: str
  thought: Callable[[str], str] = first_word
  turn: int = dataclasses.field(default=0, init=False)

  def reply(self, context_text: str) -> str:
    """The next command of the plan, or the review once that is asked for."""
    if REVIEW_MARK in context_text:
      return keep_reply()
    action = self.plan[self.turn] if self.turn < len(self.plan) else self.idle
    self.turn += 1
    return act_reply(self.thought(action), action)


@dataclasses.dataclass(frozen=True)
class WalkthroughTeacher:
  """Demonstrations that replay the plans of a source (Teacher protocol).

  Attributes:
    source: whose plans are played.
    idle: a harmless command of that world, played when a plan is over and the episode
      is not.
    null: probability that a demonstration's bank holds one content-free skill, in [0, 1].
    thought: command -> what the think block says before it.
  """

  source: PlannedSource
  idle: str = "look"
  null: float = 0.15
  thought: Callable[[str], str] = first_word

  def skills(self, task: Task, seed: int) -> tuple[Skill, ...]:
    """A content-free skill, or none: plans come without advice."""
    rng = random.Random(f"walkthrough/teacher/{task.key}/{seed}")
    if rng.random() >= self.null:
      return ()
    return (self.null_skill(task, rng.randrange(len(base.NULL_TEXTS))),)

  def null_skill(self, task: Task, index: int) -> Skill:
    """One content-free skill, visible to every task."""
    return base.null_skill(index)

  def agent(self, task: Task, seed: int) -> WalkthroughPlayer:
    """The player of the task's plan; the seed changes nothing."""
    del seed
    plan = tuple(self.source.walkthrough(task))
    return WalkthroughPlayer(plan, idle=self.idle, thought=self.thought)

  def expert(self, task: Task) -> WalkthroughPlayer:
    """The demonstrator itself."""
    return self.agent(task, 0)

  def drill(
    self, seed: int, *, reading_only: bool
  ) -> tuple[tuple[Skill, ...], tuple[tuple[str, str], ...]]:
    """None: ((), ()). Exercises need knowledge of the world."""
    del seed, reading_only
    return (), ()
