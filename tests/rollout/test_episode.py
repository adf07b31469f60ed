"""The record of an episode: tokens, masks, spans, text, and every way it can end."""

import dataclasses

import numpy as np
import pytest

from skilljax.agents import chat, prompts
from skilljax.data.tokenizer import TEMPLATE_TOKENS
from skilljax.engine.base import GenerateRequest, GenerateResult
from skilljax.envs.household import HouseholdEnv
from skilljax.rollout.plan import EpisodeNode, Plan, Purpose
from skilljax.skills.bank import SkillBank, from_skills
from skilljax.types import Role
from tests.rollout.worlds import (
  SETTINGS,
  TEACHER,
  Notes,
  behavior_of,
  make_note_runner,
  make_runner,
  note_task,
  reader,
  tokenizer,
  train_tasks,
)

END = chat.compact(tokenizer()).end_id


class Stubborn:
  """Plays well, but says something unreadable in every second turn."""

  def __init__(self, agent):
    self._agent = agent
    self._turn = 0

  def reply(self, context_text):
    self._turn += 1
    if self._turn % 2 and "Review the episode" not in context_text:
      if self._turn == 1:
        self._opening = context_text
      return "<action>go to <|end|> shelf 1"
    if self._turn == 2:
      return self._agent.reply(self._opening)
    return self._agent.reply(context_text)


def play(make_agent=reader, num=8, skills=True, **options):
  """(runner, trajectories) of one episode with review for each of some tasks."""
  tasks = train_tasks(num)
  nodes = tuple(
    EpisodeNode(f"n{i}", task, f"n{i}", (Purpose.TRAIN, i), review=True)
    for i, task in enumerate(tasks)
  )
  banks = {
    f"n{i}": from_skills(TEACHER.skills(t, i)) if skills else SkillBank()
    for i, t in enumerate(tasks)
  }
  runner = make_runner(make_agent, **options)
  return runner, list(runner.run(Plan(nodes), banks).trajectories.values())


CASES = {
  "plain": {},
  "rejected": {"make_agent": lambda name, key: Stubborn(reader(name, key))},
  "cut": {"act_tokens": 6, "edit_tokens": 9},
  "full": {"max_len": 150, "skills": False},
}


@pytest.fixture(scope="module", params=CASES)
def played(request):
  return (request.param, *play(**CASES[request.param]))


def test_the_cases_are_what_they_say(played):
  case, _, trajectories = played
  finishes = {turn.finish for t in trajectories for turn in t.turns}
  rejections = {turn.rejection for t in trajectories for turn in t.turns}
  if case == "plain":
    assert finishes == {"stop"} and rejections == {""}
    assert {t.edit.kind for t in trajectories} >= {"propose", "keep"}
  elif case == "rejected":
    assert finishes == {"stop"} and rejections == {"", "control_token"}
  elif case == "cut":
    assert finishes == {"length"} and "" not in rejections
    assert all(t.edit is None and t.edit_rejection for t in trajectories)
  else:
    assert any(t.truncated and t.turns[-1].role == Role.ACT for t in trajectories)


def test_tokens_are_what_the_engine_read_and_wrote(played):
  _, runner, trajectories = played
  for trajectory in trajectories:
    log = [e for e in runner.engine.log if e.sequence == trajectory.episode_id]
    pieces = [np.asarray(entry.tokens) for entry in log]
    sampled = [isinstance(e, GenerateResult) for e in log]
    assert all(isinstance(e, GenerateRequest) for e in log[::2])
    assert trajectory.tokens.tolist() == np.concatenate(pieces).tolist()
    # The mask covers exactly what was sampled.
    mask = np.concatenate(
      [np.full(len(p), s) for p, s in zip(pieces, sampled, strict=True)]
    )
    assert trajectory.loss_mask.tolist() == mask.tolist()
    probs = np.where(mask, behavior_of(trajectory.tokens), 0)
    np.testing.assert_array_equal(trajectory.behavior_logprobs, probs)
    np.testing.assert_array_equal(trajectory.sampled_logprobs, probs / 2)


def test_turns_and_arrays_agree(played):
  _, _, trajectories = played
  for trajectory in trajectories:
    index = np.full(len(trajectory.tokens), -1)
    role = np.zeros(len(trajectory.tokens), int)
    position = 0
    for number, turn in enumerate(trajectory.turns):
      assert position < turn.start < turn.stop
      position = turn.stop
      index[turn.start : turn.stop] = number
      role[turn.start : turn.stop] = turn.role
      ids = trajectory.tokens[turn.start : turn.stop]
      text = tokenizer().decode(ids)
      assert text == turn.text + ("<|end|>" if turn.finish == "stop" else "")
      assert (END in ids) == (turn.finish == "stop")
    assert trajectory.turn_index.tolist() == index.tolist()
    assert trajectory.role.tolist() == role.tolist()
    assert trajectory.loss_mask.tolist() == (index >= 0).tolist()
    reviews = [turn.role == Role.EDIT for turn in trajectory.turns]
    assert not any(reviews[:-1])
    lengths = {
      len(getattr(trajectory, field.name))
      for field in dataclasses.fields(trajectory)
      if isinstance(getattr(trajectory, field.name), np.ndarray)
    }
    assert lengths == {len(trajectory.tokens)}


def test_decoded_tokens_are_what_was_shown_and_said(played):
  """Replays each episode in a world of its own and writes its text down by hand."""
  _, _, trajectories = played
  env = HouseholdEnv(SETTINGS)
  for trajectory in trajectories:
    answer = env.reset(trajectory.task)
    assert (trajectory.goal, trajectory.max_turns) == (answer.goal, answer.max_turns)
    block = f"{trajectory.skill_block}\n" if trajectory.skill_block else ""
    text = f"<|system|><|user|>{block}{answer.text}<|assistant|>"
    earned, last = 0.0, len(trajectory.turns) - 1
    for number, turn in enumerate(trajectory.turns):
      # Cut responses get their end token as context; the last one of all gets none.
      closed = turn.finish == "stop" or number < last
      text += turn.text + ("<|end|>" if closed else "")
      if turn.role == Role.EDIT or turn.finish == "full":
        break
      answer = env.step(turn.action)
      assert (turn.observation, turn.reward) == (answer.text, answer.reward)
      earned += answer.reward
      if number == last:
        break
      text += f"<|user|>{answer.text}"
      if trajectory.turns[number + 1].role == Role.EDIT:
        assert answer.ended
        outcome = "success" if answer.success else "failure"
        text += f"\nReview the episode. Outcome: {outcome}."
        text += f" Category: {trajectory.task.family}."
      text += "<|assistant|>"
    assert tokenizer().decode(trajectory.tokens) == text
    assert trajectory.success == answer.success
    assert trajectory.episode_return == earned
    if trajectory.turns[-1].role == Role.EDIT:
      assert trajectory.terminated == answer.terminated
      assert trajectory.truncated == answer.truncated


def test_rejected_actions_cost_a_turn_and_change_nothing():
  _, trajectories = play(CASES["rejected"]["make_agent"], skills=False)
  for trajectory in trajectories:
    acts = [turn for turn in trajectory.turns if turn.role == Role.ACT]
    assert trajectory.num_act_turns == len(acts) <= trajectory.max_turns
    for turn in acts[::2]:
      assert (turn.action, turn.rejection) == ("", "control_token")
      assert turn.text == "<action>go to <|end|> shelf 1"
      # Spelled out by an agent, a control token is text: no id of it is in the turn.
      ids = trajectory.tokens[turn.start : turn.stop - 1]
      assert not {tokenizer().token_id(name) for name in TEMPLATE_TOKENS} & set(
        ids.tolist()
      )
    assert all(turn.action and not turn.rejection for turn in acts[1::2])


def test_a_cut_response_is_closed_by_context():
  _, trajectories = play(act_tokens=6, edit_tokens=9, num=3)
  for trajectory in trajectories:
    for turn, following in zip(trajectory.turns, trajectory.turns[1:], strict=False):
      assert turn.stop - turn.start == 6 and following.start > turn.stop
      assert trajectory.tokens[turn.stop] == END
      assert not trajectory.loss_mask[turn.stop]
      assert trajectory.role[turn.stop] == Role.NONE
    assert trajectory.truncated and trajectory.num_act_turns == trajectory.max_turns
    assert len(trajectory.tokens) == trajectory.turns[-1].stop


def one(make_agent=lambda name, key: Notes(name), name="t", **options):
  runner = make_note_runner(make_agent, **options)
  plan = Plan((EpisodeNode("e", note_task(name), "house", (0,), review=True),))
  rollout = runner.run(plan, {"house": SkillBank()})
  assert (runner.engine.num_free, runner.pool.num_free) == (16, 16)
  return rollout.trajectories["e"], rollout.edits.get("e")


def test_context_full_before_the_first_turn():
  trajectory, outcome = one(max_len=8)
  assert (trajectory.turns, len(trajectory.tokens), outcome) == ((), 0, None)
  assert trajectory.truncated and not trajectory.success and not trajectory.fault
  assert trajectory.goal == "write a note."


def test_context_full_at_each_later_point():
  whole, _ = one()
  act, review = whole.turns
  opening = act.start
  # The response itself does not fit: it is not played.
  trajectory, _ = one(max_len=act.stop - 1)
  (turn,) = trajectory.turns
  assert (turn.finish, turn.observation) == ("full", "")
  assert trajectory.truncated and not trajectory.terminated and not trajectory.success
  assert len(trajectory.tokens) == act.stop - 1
  # One token of room is enough to ask, and no more is asked than fits.
  assert len(one(max_len=opening + 1)[0].turns) == 1
  assert len(one(max_len=opening)[0].turns) == 0
  # The review prompt does not fit: the outcome stands, nothing is reviewed.
  trajectory, outcome = one(max_len=review.start)
  assert trajectory.success and trajectory.terminated and not trajectory.truncated
  assert len(trajectory.turns) == 1 and trajectory.edit is None and outcome is None
  assert len(trajectory.tokens) == act.stop
  # The review itself does not fit.
  trajectory, outcome = one(max_len=review.stop - 1)
  assert trajectory.turns[-1].finish == "full" and outcome is None
  assert trajectory.success and not trajectory.truncated
  assert len(trajectory.tokens) == review.stop - 1


def test_context_full_between_two_turns():
  trajectory, _ = one(lambda name, key: Notes(name, "wait"), max_len=120)
  assert all(turn.action == "wait" for turn in trajectory.turns[:-1])
  assert trajectory.truncated and not trajectory.terminated
  assert len(trajectory.tokens) <= 120
  assert trajectory.episode_return == sum(turn.reward for turn in trajectory.turns) > 0


def test_a_review_that_was_not_ended_edits_nothing():
  whole, outcome = one()
  assert (whole.edit.kind, outcome.status) == ("propose", "added")
  review = whole.turns[-1]
  # Room for all of it but the end token: readable, but not finished.
  cut, outcome = one(edit_tokens=review.stop - review.start - 1)
  assert cut.turns[-1].text == review.text and cut.turns[-1].finish == "length"
  assert (cut.edit, cut.edit_rejection, outcome) == (None, "unfinished", None)


def test_no_review_where_none_was_asked_for():
  runner = make_note_runner()
  plan = Plan((EpisodeNode("e", note_task("t"), "house", (0,)),))
  trajectory = runner.run(plan, {"house": SkillBank()}).trajectories["e"]
  assert [turn.role for turn in trajectory.turns] == [Role.ACT]
  assert (trajectory.edit, trajectory.edit_rejection) == (None, "")


def test_shown_skills_are_those_of_the_prompt():
  _, trajectories = play()
  shown = [t for t in trajectories if t.shown_skills]
  assert shown
  for trajectory in shown:
    bank = from_skills(TEACHER.skills(trajectory.task, int(trajectory.episode_id[1:])))
    assert trajectory.bank_version == bank.version
    skills = tuple(bank.get(skill_id) for skill_id in trajectory.shown_skills)
    assert trajectory.skill_block == prompts.COMPACT.render_skills(skills)
