"""Plays episodes of `household` with a text agent through the real action parser."""

import dataclasses

import pytest

from skilljax.agents import parse
from skilljax.envs.household import HouseholdAgent, HouseholdEnv


@dataclasses.dataclass(frozen=True)
class Played:
  """One finished episode with its review."""

  success: bool
  turns: int
  max_turns: int
  texts: tuple[str, ...]  # observations, the opening first
  replies: tuple[str, ...]
  review: str


def skill_block(skills):
  """A skill section in some layout; the agent may rely only on '[id]' and sentences."""
  lines = [f"[{skill.skill_id}] {skill.title}: {skill.principle}" for skill in skills]
  return "\n".join(["You act in a house. Skills:", *lines])


def play_episode(task, *, seed, skills=(), knowledge=None):
  env = HouseholdEnv()
  agent = HouseholdAgent(seed=seed, knowledge=knowledge)
  observation = env.reset(task)
  max_turns = observation.max_turns
  texts, replies = [observation.text], []
  context = f"{skill_block(skills)}\n{observation.text}"
  while not observation.ended:
    replies.append(agent.reply(context))
    parsed = parse.parse_action(replies[-1])
    assert not parsed.rejection, replies[-1]
    observation = env.step(parsed.action)
    texts.append(observation.text)
    context = observation.text
  outcome = "success" if observation.success else "failure"
  review = agent.reply(f"{context}\nReview the episode. Outcome: {outcome}.")
  return Played(
    success=observation.success,
    turns=len(replies),
    max_turns=max_turns,
    texts=tuple(texts),
    replies=tuple(replies),
    review=review,
  )


@pytest.fixture(scope="session")
def play():
  return play_episode
