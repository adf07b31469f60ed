"""Demonstrations for the cold start on WebShop: which skills exist, and who plays.

The mixture covers what a bank can be: right, missing, wrong, saying nothing.
Must not know about: banks, tokens, rollouts, the shop's pages.
"""

import dataclasses
import functools
import random

from skilljax.envs import base
from skilljax.envs.webshop import drills, goal_list, review
from skilljax.envs.webshop.settings import WebshopSettings
from skilljax.envs.webshop.shopper import Shopper
from skilljax.envs.webshop.source import WebshopSource, goal_index
from skilljax.types import Skill, Task


@dataclasses.dataclass(frozen=True)
class WebshopTeacher:
  """Draws the skills and the scripted player of one demonstration.

  Attributes:
    settings: of the shop, as configured.
    right: probability that a rule is shown as it is.
    wrong: probability that a rule is shown in a wrong form.
    null: probability of one content-free skill.
    habit: probability that the player keeps a rule that it is not shown.
  """

  settings: WebshopSettings
  right: float = 0.4
  wrong: float = 0.15
  null: float = 0.15
  habit: float = 0.6

  def skills(self, task: Task, seed: int) -> tuple[Skill, ...]:
    """The bank of one demonstration, in random order and with gaps in its ids."""
    rng = random.Random(f"webshop/teacher/{task.key}/{seed}")
    shown = []
    for title in review.RULES:
      draw = rng.random()
      if draw < self.right + self.wrong:
        category = rng.choice((task.family, "general"))
        wrong = draw >= self.right
        shown.append(review.rule_skill(title, category=category, wrong=wrong))
    if rng.random() < self.null:
      shown.append(self.null_skill(task, rng.randrange(len(base.NULL_TEXTS))))
    return base.as_bank(shown, rng)

  def null_skill(self, task: Task, index: int) -> Skill:
    """One content-free skill, visible to every task."""
    del task
    return base.null_skill(index)

  def agent(self, task: Task, seed: int) -> Shopper:
    """The scripted player of one demonstration."""
    return Shopper(
      max_turns=self.settings.max_turns,
      habit=self.habit,
      seed=random.Random(f"webshop/player/{task.key}/{seed}").randrange(1 << 30),
    )

  def expert(self, task: Task) -> Shopper:
    """The shopper with all four habits."""
    del task
    return Shopper(max_turns=self.settings.max_turns)

  def drill(
    self, seed: int, *, reading_only: bool
  ) -> tuple[tuple[Skill, ...], tuple[tuple[str, str], ...]]:
    """An exercise without skills; see `drills.py`. Errors as `drills.make_pool`."""
    return (), drills.drill(seed, pool=self._pool, reading_only=reading_only)

  @functools.cached_property
  def _pool(self) -> drills.Pool:
    goals = goal_list.open_data(self.settings)[1].goals
    train = WebshopSource(self.settings).tasks("train")
    return drills.make_pool([goals[goal_index(task)] for task in train])
