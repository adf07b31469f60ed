"""The protocols of an environment: what each offers to the host.

Must not know about: which environments there are (`table.py`), JAX, models, tokens,
worker processes.
"""

import dataclasses
import random
from collections.abc import Iterable, Sequence
from typing import Protocol

from skilljax.types import Observation, Skill, Task


class UnplayableTask(ValueError):
  """A task cannot be played, and the environment is as good as before.

  The message names the file and the fix. A pool makes a fault of it without giving up
  the worker, and does not try the task again; any other exception means that the
  environment may be damaged.
  """


class Env(Protocol):
  """One world that plays one episode at a time; text in, text out."""

  def reset(self, task: Task) -> Observation:
    """Starts an episode; the observation carries `goal` and `max_turns`.

    Raises:
      UnplayableTask: this task cannot be played; others can.
    """

  def step(self, action: str) -> Observation:
    """Plays one command. Any text is allowed; an unknown one changes nothing."""

  def close(self) -> None:
    """Frees what the world holds. Called once."""


class TaskSource(Protocol):
  """Which tasks exist. Host side, cheap, needs no engine."""

  families: tuple[str, ...]

  def tasks(self, split: str) -> Sequence[Task]:
    """All tasks of a split: finite, in a stable order."""

  def scopes(self, split: str) -> Sequence[str]:
    """The bank scopes of a split: estates, or one name for a whole benchmark."""

  def stream(self, scope: str, split: str) -> Sequence[Task]:
    """All tasks of one scope, in a stable order."""

  def goal(self, task: Task) -> str:
    """The goal sentence of a task, as its reset text states it."""

  def probes(
    self, task: Task, num: int, seed: int, *, every_family: bool = False
  ) -> tuple[Task, ...]:
    """`num` train tasks of the same family and scope, never `task` itself.

    A pure function of its arguments. With `every_family` they are drawn from all
    families of the scope, as often as these have train tasks.
    """


class TextAgent(Protocol):
  """A scripted player: answers the text that is new since its last reply.

  One that errs on purpose has an attribute `slips`: the turns, from 0, whose command it
  did not mean. They are played, and not imitated.
  """

  def reply(self, context_text: str) -> str:
    """One response in the policy's own format."""


# Content-free advice: says nothing about any task. Probes price sampling noise with it.
NULL_TEXTS = (
  ("stay calm", "stay calm and look around.", "always"),
  ("take care", "take care of the house.", "always"),
  ("go on", "go on until the task is done.", "always"),
)


def null_skill(index: int) -> Skill:
  """One content-free skill, visible to every task; the index picks the text."""
  title, principle, when = NULL_TEXTS[index % len(NULL_TEXTS)]
  return Skill("s1", "general", title, principle, when)


def as_bank(skills: Iterable[Skill], rng: random.Random) -> tuple[Skill, ...]:
  """Skills in random order, with rising ids that have gaps, as a lived-in bank's."""
  shown = list(skills)
  rng.shuffle(shown)
  numbers = sorted(rng.sample(range(1, 2 * len(shown) + 4), len(shown)))
  return tuple(
    dataclasses.replace(skill, skill_id=f"s{number}")
    for skill, number in zip(shown, numbers, strict=True)
  )


class Teacher(Protocol):
  """Makes demonstrations for the cold start; pure functions of (task, seed)."""

  def skills(self, task: Task, seed: int) -> tuple[Skill, ...]:
    """The skills that the demonstration's bank holds."""

  def null_skill(self, task: Task, index: int) -> Skill:
    """A content-free skill that the task's prompt shows; prices sampling noise."""

  def agent(self, task: Task, seed: int) -> TextAgent:
    """A fresh scripted player."""

  def expert(self, task: Task) -> TextAgent:
    """The best player that is written down: it may know what a policy cannot see.

    Raises:
      ValueError: there is none for the tasks as configured.
    """

  def drill(
    self, seed: int, *, reading_only: bool
  ) -> tuple[tuple[Skill, ...], tuple[tuple[str, str], ...]]:
    """An exercise: skills, and (given, recalled) pieces of text.

    What is recalled follows from the text before it, what is given does not, and only
    the former is trained: from noise a small model learns nothing here. ((), ()) where
    an environment has none.

    Args:
      seed: of the exercise.
      reading_only: only look things up in skills and goals, which must come first.
    """
