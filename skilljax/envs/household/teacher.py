"""Demonstrations for the cold start: which skills a prompt shows, and who plays.

The mixture covers what a bank can be: complete, partial, empty, partly misleading, with
entries that say nothing. The scripted reader follows what it reads and explores the rest,
so the data teaches reading, exploring and reviewing, never the rules of an estate.

Must not know about: banks, tokens, rollouts.
"""

import dataclasses
import random

from skilljax.envs import base
from skilljax.envs.household import drills, rules, sentences
from skilljax.envs.household.agent import HouseholdAgent
from skilljax.envs.household.source import HouseholdSettings
from skilljax.envs.household.tasks import parse_name
from skilljax.types import Skill, Task


@dataclasses.dataclass(frozen=True)
class HouseholdTeacher:
  """Draws the skills and the scripted player of one demonstration.

  Attributes:
    settings: of the world, as configured.
    known: the share of rules that have a skill is drawn from these values.
    wrong: probability that a present skill is misleading.
    null: probability of one content-free skill.
    heed: probability that the player follows the skills it is shown. Whether that pays
      is for reinforcement learning to find out: a policy that has only ever seen obedient
      players has nothing left to choose.
  """

  settings: HouseholdSettings = dataclasses.field(default_factory=HouseholdSettings)
  known: tuple[float, ...] = (0.0, 0.5, 0.9, 1.0, 1.0)
  wrong: float = 0.2
  null: float = 0.15
  heed: float = 0.6

  def skills(self, task: Task, seed: int) -> tuple[Skill, ...]:
    """The bank of one demonstration, in random order and with gaps in its ids."""
    rng = random.Random(f"teacher/{task.key}/{seed}")
    estate = rules.draw_estate(parse_name(task)[0])
    share = rng.choice(self.known)
    shown = []
    for slot in rules.SLOTS:
      if rng.random() >= share:
        continue
      if rng.random() < self.wrong:
        shown.append(sentences.misleading_skill(estate, slot, rng))
      else:
        shown.append(sentences.rule_skill(slot, estate.as_dict()[slot], skill_id="s1"))
    if rng.random() < self.null:
      shown.append(self.null_skill(task, rng.randrange(len(base.NULL_TEXTS))))
    rng.shuffle(shown)
    numbers = sorted(rng.sample(range(1, len(shown) + 4), len(shown)))
    return tuple(
      dataclasses.replace(skill, skill_id=f"s{number}")
      for skill, number in zip(shown, numbers, strict=True)
    )

  def null_skill(self, task: Task, index: int) -> Skill:
    """One content-free skill, visible to every task."""
    return base.null_skill(index)

  def agent(self, task: Task, seed: int) -> HouseholdAgent:
    """The scripted player of one demonstration."""
    rng = random.Random(f"teacher/player/{task.key}/{seed}")
    return HouseholdAgent(seed=seed, heeds=rng.random() < self.heed)

  def expert(self, task: Task) -> HouseholdAgent:
    """A player who knows all rules of the estate."""
    estate = rules.draw_estate(parse_name(task)[0])
    return HouseholdAgent(seed=0, knowledge=estate.as_dict())

  def drill(
    self, seed: int, *, reading_only: bool
  ) -> tuple[tuple[Skill, ...], tuple[tuple[str, str], ...]]:
    """An exercise; see `drills.py`."""
    return drills.drill(
      seed,
      reading_only=reading_only,
      tasks_per_estate=self.settings.tasks_per_estate,
    )
