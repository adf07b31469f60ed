"""The generic demonstrator: the plan in order, then idling, then a review that keeps."""

import dataclasses

import pytest

from skilljax.agents import parse
from skilljax.envs import base
from skilljax.envs.walkthrough import WalkthroughTeacher, first_word
from skilljax.types import Edit, Task

TASK = Task(env="w", split="train", scope="w", family="f", name="t0")


@dataclasses.dataclass(frozen=True)
class Planned:
  plan: tuple[str, ...] = ("open door", "go east", "take coin")

  def walkthrough(self, task):
    return [f"{command} of {task.name}" for command in self.plan]


@pytest.mark.parametrize("thought", [first_word, str.upper])
def test_the_plan_is_played_then_the_bank_is_kept(thought):
  teacher = WalkthroughTeacher(Planned(), idle="look around", thought=thought)
  agent = teacher.agent(TASK, 0)
  replies = [parse.parse_action(agent.reply("You see a coin.")) for _ in range(5)]
  commands = ["open door of t0", "go east of t0", "take coin of t0"]
  commands += ["look around"] * 2
  assert [reply.action for reply in replies] == commands
  assert [reply.think for reply in replies] == [thought(c) for c in commands]
  review = parse.parse_edit(
    agent.reply("The end.\nReview the episode. Outcome: success. Category: f."), ("f",)
  )
  assert review.edit == Edit(kind="keep", reason="nothing new."), review.rejection
  assert parse.parse_action(teacher.agent(TASK, 1).reply("")).action == commands[0]


def test_thoughts_are_one_word_whatever_the_command():
  commands = ("go to kitchen", "read_file(name='a')", " 12 ", "???", "")
  assert [first_word(c) for c in commands] == ["go", "read_file", "12", "act", "act"]


def test_content_free_skills_come_as_often_as_asked():
  never, always = (WalkthroughTeacher(Planned(), null=p) for p in (0.0, 1.0))
  assert not any(never.skills(TASK, seed) for seed in range(20))
  drawn = [always.skills(TASK, seed) for seed in range(20)]
  assert drawn == [always.skills(TASK, seed) for seed in range(20)]
  nulls = {base.null_skill(index) for index in range(3)}
  assert {skill for skills in drawn for skill in skills} == nulls
  assert always.null_skill(TASK, 4) == base.null_skill(1)
  sometimes = WalkthroughTeacher(Planned())
  assert 10 < sum(bool(sometimes.skills(TASK, s)) for s in range(200)) < 60


def test_there_are_no_exercises():
  assert WalkthroughTeacher(Planned()).drill(0, reading_only=True) == ((), ())
