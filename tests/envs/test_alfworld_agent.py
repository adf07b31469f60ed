"""The scripted players: format, knowledge from text only, and success on real games."""

import itertools
import random
import re

import pytest

from skilljax.agents import parse, prompts
from skilljax.envs import alfworld
from skilljax.envs.alfworld.agent import ExplorerAgent, WalkthroughAgent
from skilljax.envs.alfworld.slips import SlippingAgent

ROOM = (
  "You are in the middle of a room. Looking quickly around you, you see a fridge 1, a "
  "microwave 1, a safe 1, a bed 1, and a countertop 1.\n\nYour task is to: "
)
PLAN = (
  "go to countertop 1",
  "take apple 2 from countertop 1",
  "go to microwave 1",
  "heat apple 2 with microwave 1",
  "go to fridge 1",
  "open fridge 1",
  "move apple 2 to fridge 1",
)


def _thought_and_action(reply: str) -> tuple[str, str]:
  parsed = parse.parse_action(reply)
  assert not parsed.rejection, parsed
  return reply.removeprefix("<think>").split("</think>")[0], parsed.action


def test_a_walkthrough_is_played_with_a_thought_for_each_subgoal():
  agent = WalkthroughAgent(PLAN)
  told = [ROOM + "put a hot apple in fridge.", *["ok."] * 6]
  replies = [_thought_and_action(agent.reply(text)) for text in told]
  assert tuple(action for _, action in replies) == PLAN
  assert [thought for thought, _ in replies] == [
    *("find apple", "take apple"),
    *["heat apple with microwave 1"] * 2,
    *["put apple in fridge"] * 3,
  ]
  assert _thought_and_action(agent.reply("ok.")) == ("done", "look")


def test_a_goal_that_cannot_be_read_is_an_error():
  with pytest.raises(ValueError, match="fits no template"):
    WalkthroughAgent(PLAN).reply(ROOM + "dance.")


def _converse(agent, opening, answers):
  """Plays against a scripted world: command -> answer; returns the commands."""
  commands, text = [], opening
  for _ in range(14):
    command = _thought_and_action(agent.reply(text))[1]
    commands.append(command)
    text = answers.get(command, "Nothing happens.")
    if text == "END":
      return commands
  raise AssertionError(commands)


ANSWERS = {
  "go to countertop 1": "You arrive at countertop 1. On the countertop 1, you see "
  "nothing.",
  "go to bed 1": "You arrive at bed 1. On the bed 1, you see a apple 1, and a pen 1.",
  "go to fridge 1": "You arrive at fridge 1. The fridge 1 is closed.",
  "open fridge 1": "You open the fridge 1. The fridge 1 is open. In it, you see a egg 1.",
  "go to microwave 1": "You arrive at microwave 1. The microwave 1 is closed.",
  "open microwave 1": "You open the microwave 1. The microwave 1 is open. In it, you see "
  "nothing.",
  "go to safe 1": "You arrive at safe 1. The safe 1 is closed.",
  "open safe 1": "You open the safe 1. The safe 1 is open. In it, you see nothing.",
  "take apple 1 from bed 1": "You pick up the apple 1 from the bed 1.",
  "heat apple 1 with microwave 1": "You heat the apple 1 using the microwave 1.",
  "move apple 1 to fridge 1": "END",
}


def test_the_explorer_searches_then_heats_then_places():
  opening = ROOM + "put a hot apple in fridge."
  commands = _converse(ExplorerAgent(seed=0), opening, ANSWERS)
  assert commands.index("take apple 1 from bed 1") > commands.index("go to countertop 1")
  assert commands[-1] == "move apple 1 to fridge 1"
  assert "heat apple 1 with microwave 1" in commands
  search = commands[: commands.index("take apple 1 from bed 1")]
  assert len(set(search)) == len(search)  # no place is searched twice


def test_a_shown_place_is_searched_first_and_a_shown_tool_tried_first():
  skills = (
    "<skills>\n[s1] find apple: for apple look in bed first.\n[s4] heat and place: take "
    "the object, heat it with safe 1, then move it to the target.\n</skills>\n"
  )
  commands = _converse(
    ExplorerAgent(seed=0),
    skills + ROOM + "heat some apple and put it in fridge.",
    ANSWERS,
  )
  assert commands[:4] == [
    "go to bed 1",
    "take apple 1 from bed 1",
    "go to safe 1",
    "heat apple 1 with safe 1",  # answered 'Nothing happens.'
  ]
  assert commands[4:6] == ["go to microwave 1", "heat apple 1 with microwave 1"]


def test_a_place_in_reach_that_cannot_be_gone_to_is_examined():
  answers = {
    "go to countertop 1": "You arrive at countertop 1. On the countertop 1, you see "
    "a pen 1.",
    "examine safe 1": "The safe 1 is closed.",
    "open safe 1": "You open the safe 1. The safe 1 is open. In it, you see a watch 2.",
    "take watch 2 from safe 1": "You pick up the watch 2 from the safe 1.",
    "go to bed 1": "You arrive at bed 1. On the bed 1, you see nothing.",
    "move watch 2 to bed 1": "END",
  }
  opening = (
    "Looking quickly around you, you see a safe 1, a bed 1, and a countertop 1.\n\n"
    "Your task is to: put a watch in bed."
  )
  commands = _converse(ExplorerAgent(seed=3), opening, answers)
  start = commands.index("go to safe 1")
  assert commands[start : start + 4] == [
    "go to safe 1",
    "examine safe 1",
    "open safe 1",
    "take watch 2 from safe 1",
  ]


def _slip_through(agent, opening, answers):
  """(turn, command) of every turn of an episode with a slipping agent."""
  turns, text = [], opening
  for turn in range(60):
    command = parse.parse_action(agent.reply(text)).action
    turns.append((turn, command))
    text = answers.get(command, "Nothing happens.")
    if text == "END":
      return turns
  raise AssertionError(turns)


def test_after_a_mistake_the_explorer_goes_on_with_its_plan():
  opening = ROOM + "put a hot apple in fridge."
  slipped = 0
  for seed in range(20):
    plain = _converse(ExplorerAgent(seed=seed), opening, ANSWERS)
    agent = SlippingAgent(seed=seed, slip=0.5, again=0.5)
    turns = _slip_through(agent, opening, ANSWERS)
    assert turns[-1][1] == plain[-1]
    # A mistake can be what would have come later; then it need not come again.
    if any(c in ANSWERS for t, c in turns if t in agent.slips):
      continue
    assert [c for t, c in turns if t not in agent.slips] == plain
    slipped += len(agent.slips)
  assert slipped >= 20


def test_mistakes_are_of_the_kinds_that_small_policies_make():
  agent = SlippingAgent(seed=1, slip=0.9, again=0.9)
  agent.reply(ROOM + "put a hot apple in fridge.")
  turns = [_thought_and_action(agent.reply("Nothing happens.")) for _ in range(300)]
  assert all(thought.startswith("refused, ") for thought, _ in turns)
  slips = [
    (turns[turn - 1][0].removeprefix("refused, "), turns[turn - 1][1])
    for turn in agent.slips
  ]
  repeated = sum(a == b for a, b in itertools.pairwise(slips))
  assert 0.3 < repeated / len(slips) < 0.6
  commands = {re.sub(r"\d+", "1", command) for _, command in slips}
  assert {"heat apple 1 with microwave 1", "move apple 1 to fridge 1"} <= commands
  assert any(command.startswith("take apple 1 from") for command in commands)
  assert any(command.startswith("open") for command in commands)
  for thought, command in slips:  # a thought fits its command, as the policy's do
    if command.startswith(("take", "heat", "move")):
      verb = {"take": "find", "move": "put"}.get(command.split()[0], command.split()[0])
      assert thought.startswith(f"{verb} apple")


def test_the_place_after_the_last_is_where_a_hand_slips():
  agent = SlippingAgent(seed=0, slip=0.9, again=0.9)
  agent.reply(ROOM + "put a hot apple in fridge.")
  agent.reply("You arrive at bed 1. On the bed 1, you see nothing.")
  commands = [_thought_and_action(agent.reply("Nothing happens."))[1] for _ in range(100)]
  assert commands.count("go to bed 2") > 5


def test_without_slips_it_is_the_explorer():
  opening = ROOM + "put a hot apple in fridge."
  agent = SlippingAgent(seed=0, slip=0.0, again=0.9)
  turns = _slip_through(agent, opening, ANSWERS)
  plain = _converse(ExplorerAgent(seed=0), opening, ANSWERS)
  assert [command for _, command in turns] == plain
  assert agent.slips == []


def test_the_first_command_and_the_review_are_meant():
  for seed in range(20):
    agent = SlippingAgent(seed=seed, slip=0.9, again=0.9)
    agent.reply(ROOM + "put a hot apple in fridge.")
    assert agent.slips == []
    for _ in range(5):
      agent.reply("Nothing happens.")
    slips = list(agent.slips)
    reply = agent.reply(
      "Nothing happens.\nReview the episode. Outcome: failure. Category: heat."
    )
    assert parse.parse_edit(reply, ("heat", "general")).edit is not None
    assert agent.slips == slips and 0 not in slips and len(slips) >= 1


def test_after_a_refusal_the_thought_says_so():
  agent = ExplorerAgent(seed=0)
  thought, _ = _thought_and_action(agent.reply(ROOM + "put a hot apple in fridge."))
  assert thought == "find apple"
  thought, _ = _thought_and_action(agent.reply("Nothing happens."))
  assert thought == "refused, find apple"
  text = "You arrive at bed 1. On the bed 1, you see nothing."
  agent.overrule("go to bed 1")
  thought, _ = _thought_and_action(agent.reply(text))
  assert thought == "find apple not here"


def test_what_a_slip_moved_to_the_wrong_place_is_fetched_again():
  agent = ExplorerAgent(seed=0)
  agent.reply(ROOM + "put a apple in fridge.")
  agent.overrule("go to bed 1")
  agent.reply("You arrive at bed 1. On the bed 1, you see a apple 1.")
  agent.reply("You pick up the apple 1 from the bed 1.")
  agent.overrule("move apple 1 to bed 1")
  reply = agent.reply("You move the apple 1 to the bed 1.")
  assert parse.parse_action(reply).action == "take apple 1 from bed 1"


@pytest.mark.parametrize("success", [True, False])
def test_the_review_prompt_is_answered_by_one_call(success):
  agent = WalkthroughAgent(PLAN)
  agent.reply(ROOM + "put a hot apple in fridge.")
  outcome = "success" if success else "failure"
  reply = agent.reply(
    "You pick up the apple 2 from the countertop 1.\n"
    f"Review the episode. Outcome: {outcome}. Category: heat."
  )
  parsed = parse.parse_edit(reply, ("heat", "general"))
  assert parsed.edit.kind == "propose"
  assert parsed.edit.title == ("heat and place" if success else "find apple")


def _play(env, task, agent, style=prompts.COMPACT):
  observation = env.reset(task)
  text = style.task_prompt(observation, "")
  turns = 0
  while not observation.ended:
    parsed = parse.parse_action(agent.reply(text))
    assert not parsed.rejection, parsed
    observation = env.step(parsed.action)
    text, turns = style.observation(observation), turns + 1
  reply = agent.reply(style.review_prompt(task, text, observation.success))
  edit = parse.parse_edit(reply, (task.family, "general"))
  assert edit.edit is not None, edit.rejection
  return observation.success, turns


def test_real_games_are_won_by_both_players(data_dir, tmp_path):
  settings = alfworld.AlfworldSettings(
    data_dir=str(data_dir / "alfworld"), cache_dir=str(tmp_path), max_turns=30
  )
  if reason := alfworld.why_unavailable(settings):
    pytest.skip(reason)
  source, env = alfworld.AlfworldSource(settings), alfworld.AlfworldEnv(settings)
  tasks = random.Random(0).sample(source.tasks("valid_train"), 8)
  won = 0
  for task in tasks:
    plan = source.walkthrough(task)
    assert _play(env, task, WalkthroughAgent(plan)) == (True, len(plan))
    success, turns = _play(env, task, ExplorerAgent(seed=1), prompts.FULL)
    assert turns >= len(plan)
    won += success
  assert won >= 6  # 59 of 60 train games are; a player that does not search wins none
