"""Demonstrations with mistakes, after which the player goes on.

Who imitates a player that never errs has not seen what follows an error: a small policy
answers its first refused command with another one, and soon with the same, to the end of
the episode. So now and then a wrong thought and command are sent in place of the right
ones. They are played, not imitated: what is trained is what comes after them (noise
injection, arXiv:1703.09327).

Must not know about: the engine, games, tokens, losses.
"""

import random
import re

from skilljax.envs.alfworld.agent import ExplorerAgent, thought_after
from skilljax.envs.alfworld.goals import APPLIANCE_OF, GOAL_MARK, PLACES, parse_goal
from skilljax.envs.replies import REVIEW_MARK, act_reply

_NUMBERS = range(1, 7)
_PLACE = re.compile(r"\ban? (\w+) (\d+)")
_ARRIVED = re.compile(r"You arrive at (\w+) \d+")

Turn = tuple[str, str]  # thought, command


class SlippingAgent:
  """An explorer some of whose turns are replaced by wrong ones.

  One instance plays one episode.

  Attributes:
    slips: turns (from 0) that were replaced; never the first.
  """

  def __init__(self, *, seed: int, slip: float, again: float):
    """Makes an explorer of this seed, and what goes wrong for it.

    Args:
      seed: of the explorer, and of the mistakes.
      slip: probability of a mistake after a turn that was meant.
      again: probability of a mistake after a mistake, half of the time of the same.
    Raises:
      ValueError: a probability outside [0, 1).
    """
    for name, value in (("slip", slip), ("again", again)):
      if not 0.0 <= value < 1.0:
        raise ValueError(f"{name}={value} must be in [0, 1)")
    self._player = ExplorerAgent(seed=seed)
    self._rng = random.Random(f"alfworld/slips/{seed}")
    self._slip, self._again = slip, again
    self._turn = -1
    self._last: Turn = ("", "")  # the last mistake
    self._kind = ""  # of the place of the last arrival
    self.slips: list[int] = []

  def reply(self, context_text: str) -> str:
    """As `ExplorerAgent.reply`, but for some task turns."""
    if GOAL_MARK in context_text:
      self._open_episode(context_text.partition(REVIEW_MARK)[0])
    if arrived := _ARRIVED.search(context_text):
      self._kind = arrived[1]
    reply = self._player.reply(context_text)
    if REVIEW_MARK in context_text:
      return reply
    self._turn += 1
    slipped = self._turn - 1 in self.slips
    rate = self._again if slipped else self._slip
    if not self._turn or self._rng.random() >= rate:
      return reply
    if not slipped or self._rng.random() < 0.5:
      self._last = self._mistake()
    thought, command = self._last
    self.slips.append(self._turn)
    self._player.overrule(command)
    return act_reply(thought_after(context_text, thought), command)

  def _open_episode(self, text: str):
    self._goal = parse_goal(text)
    self._highest: dict[str, int] = {}  # number by kind of place
    for kind, number in _PLACE.findall(text.partition(GOAL_MARK)[0]):
      self._highest[kind] = max(int(number), self._highest.get(kind, 0))

  def _mistake(self) -> Turn:
    """A turn in the right form, as small policies get it wrong."""
    makers = (self._misnumbered, self._one_too_many, self._elsewhere, self._too_early)
    return self._rng.choice(makers)()

  def _misnumbered(self) -> Turn:
    """What was meant, with other numbers."""
    command = re.sub(r"\d+", lambda _: str(self._number()), self._player.action)
    return self._player.thought, command

  def _one_too_many(self) -> Turn:
    """The place after the last of its kind."""
    kind = self._kind or self._place()
    number = self._highest.get(kind, 0) + self._rng.choice((1, 1, 2))
    return self._player.thought, f"go to {kind} {number}"

  def _elsewhere(self) -> Turn:
    """Something about a place that is mostly not there."""
    verb = self._rng.choice(("go to", "go to", "open", "examine"))
    return self._player.thought, f"{verb} {self._place()} {self._number()}"

  def _too_early(self) -> Turn:
    """What comes later, with the thought that goes with it."""
    goal = self._goal
    thing = f"{goal.noun} {self._number()}"
    turns = [(f"find {thing}", f"take {thing} from {self._place()} {self._number()}")]
    if tool := APPLIANCE_OF.get(goal.family):
      doing = f"{goal.family} {goal.noun} with {tool}"
      turns.append((doing, f"{goal.family} {thing} with {tool}"))
    if goal.lamp:
      turns.append((f"use {goal.lamp}", f"use {goal.lamp} 1"))
    else:
      put = f"put {goal.noun} in {goal.target}"
      turns.append((put, f"move {thing} to {goal.target} {self._number()}"))
    return self._rng.choice(turns)

  def _place(self) -> str:
    """A kind of place: half of the time one that is here."""
    here = sorted(self._highest)
    return self._rng.choice(here if here and self._rng.random() < 0.5 else PLACES)

  def _number(self) -> int:
    return self._rng.choice(_NUMBERS)
