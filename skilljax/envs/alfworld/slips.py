"""Demonstrations with mistakes, after which the player goes on.

Who imitates a player that never errs has not seen what follows an error: a small policy
answers its first refused command with another one, to the end of the episode. So now and
then a wrong command is sent in place of the right one. It is played, not imitated: what
is trained is what comes after it (noise injection, arXiv:1703.09327).

Must not know about: the engine, games, tokens, losses.
"""

import random
import re

from skilljax.envs.alfworld.agent import ExplorerAgent
from skilljax.envs.alfworld.goals import GOAL_MARK, PLACES, parse_goal
from skilljax.envs.replies import REVIEW_MARK, act_reply

_NUMBERS = range(1, 7)
_COMMANDS = (
  "go to {place}",
  "go to {place}",
  "open {place}",
  "examine {place}",
  "take {thing} from {place}",
  "move {thing} to {place}",
)


class SlippingAgent:
  """An explorer some of whose commands are replaced by wrong ones.

  One instance plays one episode.

  Attributes:
    slips: turns (from 0) whose command was replaced; never the first.
  """

  def __init__(self, *, seed: int, slip: float, again: float):
    """Makes an explorer of this seed, and what goes wrong for it.

    Args:
      seed: of the explorer, and of the mistakes.
      slip: probability of a mistake after a command that was meant.
      again: probability of a mistake after a mistake.
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
    self.slips: list[int] = []

  def reply(self, context_text: str) -> str:
    """As `ExplorerAgent.reply`, but for the commands of some turns."""
    if GOAL_MARK in context_text:
      self._noun = parse_goal(context_text.partition(REVIEW_MARK)[0]).noun
    reply = self._player.reply(context_text)
    if REVIEW_MARK in context_text:
      return reply
    self._turn += 1
    rate = self._again if self._turn - 1 in self.slips else self._slip
    if not self._turn or self._rng.random() >= rate:
      return reply
    command = reply.partition("<action>")[2].partition("</action>")[0]
    near = self._rng.random() < 0.5
    action = self._misnumbered(command) if near else self._elsewhere()
    self.slips.append(self._turn)
    self._player.overrule(action)
    return act_reply(self._player.thought, action)

  def _misnumbered(self, command: str) -> str:
    """The command with other numbers, as a small policy miscopies them."""
    return re.sub(r"\d+", lambda _: str(self._rng.choice(_NUMBERS)), command)

  def _elsewhere(self) -> str:
    """A command in the right form, mostly about what is not there."""
    return self._rng.choice(_COMMANDS).format(
      place=f"{self._rng.choice(PLACES)} {self._rng.choice(_NUMBERS)}",
      thing=f"{self._noun} {self._rng.choice(_NUMBERS)}",
    )
