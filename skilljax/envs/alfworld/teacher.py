"""Demonstrations for the cold start on ALFWorld: which skills exist, and who plays.

The mixture covers what a bank can be: right, missing, misleading, about something else,
saying nothing. Most episodes are played by the explorer, whose actions follow from what
the policy can read and whose hand slips now and then; a few by the game's own plan,
which knows where things are.

Must not know about: banks, tokens, rollouts, the engine.
"""

import dataclasses
import functools
import random

from skilljax.envs import base
from skilljax.envs.alfworld import drills, review
from skilljax.envs.alfworld.agent import WalkthroughAgent
from skilljax.envs.alfworld.goals import NOUNS, likely_places, parse_goal
from skilljax.envs.alfworld.settings import AlfworldSettings
from skilljax.envs.alfworld.slips import SlippingAgent
from skilljax.envs.alfworld.source import AlfworldSource
from skilljax.envs.walkthrough import WalkthroughPlayer
from skilljax.types import Skill, Task


@dataclasses.dataclass(frozen=True)
class AlfworldTeacher:
  """Draws the skills and the scripted player of one demonstration.

  Attributes:
    settings: of the games, as configured.
    right: probability of each right skill (procedure of the family; place of the object).
    wrong: probability of a misleading skill where no right one is.
    others: most skills about other objects, as many as a lived-in bank shows. Where
      there are hardly any, a policy learns that whatever place is named is meant.
    null: probability of one content-free skill.
    walkthrough: probability that the game's own plan is played.
    slip, again: of the explorer's mistakes, see `slips.py`.
  """

  settings: AlfworldSettings
  right: float = 0.5
  wrong: float = 0.4
  others: int = 6
  null: float = 0.15
  walkthrough: float = 0.2
  slip: float = 0.15
  again: float = 0.4

  @functools.cached_property
  def _source(self) -> AlfworldSource:
    return AlfworldSource(self.settings)

  def skills(self, task: Task, seed: int) -> tuple[Skill, ...]:
    """The bank of one demonstration, in random order and with gaps in its ids.

    () for a game whose data are damaged: its demonstration ends at the reset.
    """
    if self._source.why_unplayable(task):
      return ()
    rng = random.Random(f"alfworld/teacher/{task.key}/{seed}")
    goal = parse_goal(self._source.templated_goal(task))
    plan = self._source.walkthrough(task)
    place = next(c.split()[-2] for c in plan if c.startswith("take "))
    shown = []
    for skill, mislead in (
      (review.procedure_skill(goal.family, skill_id="s1"), review.misleading_procedure),
      (review.find_skill(goal.noun, [place], skill_id="s1"), review.misleading_place),
    ):
      if rng.random() < self.right:
        shown.append(skill)
      elif rng.random() < self.wrong:
        shown += mislead(goal, rng)
    strangers = [noun for noun in NOUNS if noun not in (goal.noun, goal.lamp)]
    for noun in rng.sample(strangers, rng.randint(0, self.others)):
      where = rng.choice(likely_places(noun))
      shown.append(review.find_skill(noun, [where], skill_id="s1"))
    if rng.random() < self.null:
      shown.append(self.null_skill(task, rng.randrange(len(base.NULL_TEXTS))))
    return base.as_bank(shown, rng)

  def null_skill(self, task: Task, index: int) -> Skill:
    """One content-free skill, visible to every task."""
    return base.null_skill(index)

  def agent(self, task: Task, seed: int) -> SlippingAgent | WalkthroughAgent:
    """The scripted player of one demonstration.

    Raises:
      ValueError: games state goals that no scripted player understands.
    """
    if self.settings.human_goals:
      raise ValueError(
        f"human_goals={self.settings.human_goals} must be 0 for demonstrations, whose "
        "players read templated goals only; later stages may have another value (config "
        "key env.human_goals)"
      )
    rng = random.Random(f"alfworld/player/{task.key}/{seed}")
    if rng.random() < self.walkthrough:
      return WalkthroughAgent(self._source.walkthrough(task))
    return SlippingAgent(seed=seed, slip=self.slip, again=self.again)

  def expert(self, task: Task) -> WalkthroughPlayer:
    """The player of the game's own plan, whatever sentence states the goal."""
    return WalkthroughPlayer(self._source.walkthrough(task), idle="look")

  def drill(
    self, seed: int, *, reading_only: bool
  ) -> tuple[tuple[Skill, ...], tuple[tuple[str, str], ...]]:
    """An exercise; see `drills.py`."""
    return drills.drill(seed, reading_only=reading_only)
