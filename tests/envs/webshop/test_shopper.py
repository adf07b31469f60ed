"""The scripted shopper: reads goals, keeps or breaks rules, writes down what it saw."""

import dataclasses
import re

import pytest

from skilljax.agents import parse
from skilljax.agents.prompts import COMPACT, FULL
from skilljax.envs import table
from skilljax.envs.webshop import WebshopEnv, review
from skilljax.envs.webshop.shopper import Shopper, read_goal
from skilljax.types import Observation, Task

_ACTION = re.compile("<action>(.*)</action>")
GOAL = (
  "Find me soft shoes with color: red, and size: 8, and price lower than 30.00 dollars"
)
OPENING = f"WebShop [SEP] Instruction: [SEP] {GOAL} [SEP] Search"
TASK = Task("webshop", "train", "webshop", "fashion", "0-B000000001")


def play(env, task, *, opening="", chat="{}", **changes):
  """(last observation, actions, shopper); `chat` is a template around each text."""
  agent, actions = Shopper(**changes), []
  seen = env.reset(task)
  text = opening + seen.text
  while not seen.ended:
    actions.append(_ACTION.search(agent.reply(chat.format(text)))[1])
    seen = env.step(actions[-1])
    text = seen.text
  return seen, actions, agent


def shown(*rules):
  """A skill section with rules, each (title, stated as it is)."""
  lines = [
    f"[s{i}] {title}: {review.RULES[title][0 if right else 2]}"
    for i, (title, right) in enumerate(rules, start=1)
  ]
  return "\n".join(["<skills>", *lines, "</skills>", ""])


def score(env, tasks, **changes):
  last = [play(env, task, **changes)[0] for task in tasks]
  return sum(o.reward for o in last) / len(tasks), sum(o.success for o in last)


@pytest.mark.parametrize("observation", ["published", "compact"])
def test_a_careful_shopper_is_far_better_than_a_careless_one(
  settings, source, observation
):
  env = WebshopEnv(dataclasses.replace(settings, observation=observation))
  tasks = source.tasks("test")[:100]
  mean, wins = score(env, tasks)
  assert mean > 0.85 and wins > 70
  careless, few = score(env, tasks, habit=0.0)
  assert careless < 0.5 and few < 5


def test_marks_of_a_chat_template_are_no_part_of_a_page(settings, source):
  env = WebshopEnv(dataclasses.replace(settings, observation="compact"))
  for task in source.tasks("test")[:20]:
    plain = play(env, task)[1]
    assert play(env, task, chat="<|end|><|user|>{}<|assistant|>")[1] == plain
    chatml = "<|im_end|>\n<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n"
    assert play(env, task, chat=chatml)[1] == plain


def test_shown_rules_are_followed_and_others_are_habits(env, source):
  tasks = source.tasks("test")[:60]
  right = shown(*((title, True) for title in review.RULES))
  wrong = shown(*((title, False) for title in review.RULES))
  assert score(env, tasks, habit=0.0, opening=right) == score(env, tasks)
  assert score(env, tasks, opening=wrong) == score(env, tasks, habit=0.0)
  mixed = score(env, tasks, habit=0.5, seed=3)[0]
  assert score(env, tasks, habit=0.0)[0] < mixed < score(env, tasks)[0]


def test_each_rule_changes_what_it_is_about(env, source):
  task = next(t for t in source.tasks("test") if "color: " in source.goal(t))
  careful = play(env, task)[1]
  careless = {
    title: play(env, task, opening=shown((title, False)))[1] for title in review.RULES
  }
  assert len(careless["search words"][0].split()) == 2
  assert len(careful[0].split()) > 4
  assert len(careless["choose options"]) < len(careful)
  assert not set(careless["check the options"]) & {"click[< prev]"}


@pytest.mark.parametrize(
  ("sentence", "phrase", "options", "ceiling"),
  [
    (
      GOAL,
      "soft shoes with color: red, and size: 8",
      {"color": "red", "size": "8"},
      30.0,
    ),
    (
      "Find me tea with no sugar, and price lower than 20.00 dollars",
      "tea with no sugar",
      {},
      20,
    ),
    (
      "Find me tea with no sugar with flavor name: red, with milk",
      "tea with no sugar with flavor name: red, with milk",
      {"flavor name": "red, with milk"},
      float("inf"),
    ),
    ("", "", {}, float("inf")),
  ],
)
def test_goals_are_taken_apart(sentence, phrase, options, ceiling):
  wish = read_goal(sentence)
  assert wish.phrase == phrase
  assert (wish.options, wish.ceiling) == (options, ceiling)


def test_the_shopper_looks_says_what_it_sees_and_then_decides():
  shopper = Shopper()
  shopper.reply(OPENING)
  results = "Page 1 (Total results: 2)\nB000000001\nBoots\n$9.99\nB000000002\nShoes\n$8.0"
  assert shopper.reply(results) == (
    "<think>open B000000001</think><action>click[B000000001]</action>"
  )
  item = "size\n7\n8\ncolor\nblue\nBoots\nPrice: $9.99\nBuy Now"
  assert shopper.reply(item) == (
    "<think>color: red missing, size: 8 here</think><action>click[< prev]</action>"
  )
  assert "open B000000002<" in shopper.reply(results)
  assert shopper.reply(item.replace("blue", "blue\nred")) == (
    "<think>color: red here, size: 8 here, choose color: red</think>"
    "<action>click[red]</action>"
  )
  assert "<think>choose size: 8</think>" in shopper.reply("color: red\nBuy Now")
  assert "<think>buy</think>" in shopper.reply("size: 8\nBuy Now")


def test_products_that_cost_too_much_are_left_out_and_the_best_of_few_turns_is_bought():
  results = "Page 1 (Total results: 2)\nB000000001\nBoots\n$30.5\nB000000002\nShoes\n$8.0"
  shopper = Shopper()
  shopper.reply(OPENING)
  assert "click[B000000002]" in shopper.reply(results)
  hurried = Shopper(max_turns=8)
  hurried.reply(OPENING)
  hurried.reply(results)
  hurried.reply("size\n8\nShoes\nPrice: $8.0\nBuy Now")
  assert "<think>back to B000000002</think>" in hurried.reply(results)


def _edit(shown, success, style=COMPACT):
  shopper = Shopper()
  block = style.render_skills(shown)
  shopper.reply(style.task_prompt(Observation(OPENING, admissible=("search[x]",)), block))
  reply = shopper.reply(style.review_prompt(TASK, "Thank you", success))
  return parse.parse_edit(reply, ("fashion", "general"))


def _rule(title, *, wrong=False):
  return review.rule_skill(title, category="fashion", wrong=wrong, skill_id="s4")


@pytest.mark.parametrize("style", [COMPACT, FULL])
def test_a_success_without_skills_proposes_the_rule_that_it_shows(style):
  parsed = _edit((), True, style)
  assert parsed.edit is not None, parsed
  assert (parsed.edit.kind, parsed.edit.title) == ("propose", "choose options")
  assert parsed.edit.category == "fashion"


@pytest.mark.parametrize("style", [COMPACT, FULL])
def test_a_wrong_rule_is_corrected_and_a_right_one_kept(style):
  corrected = _edit((_rule("choose options", wrong=True),), True, style).edit
  assert (corrected.kind, corrected.skill_id) == ("update", "choose options")
  assert corrected.principle == review.RULES["choose options"][0]
  assert _edit((_rule("choose options"),), True, style).edit.kind == "keep"


def test_a_failure_without_options_proposes_to_choose_them():
  edit = _edit((), False).edit
  assert (edit.kind, edit.title) == ("propose", "choose options")
  known = _edit((_rule("choose options"), _rule("check the options")), False).edit
  assert known.kind == "keep"


def test_replies_are_in_the_policys_form_and_need_a_goal():
  reply = Shopper().reply(OPENING)
  assert parse.parse_action(reply).action == (
    "search[soft shoes with color: red, and size: 8]"
  )
  with pytest.raises(ValueError, match="Instruction:"):
    Shopper().reply("Page 1")


def test_the_teacher_mixes_right_wrong_and_missing_rules(settings, source):
  teacher = table.make_teacher("webshop", settings)
  task = source.tasks("train")[0]
  banks = [teacher.skills(task, seed) for seed in range(200)]
  assert banks[0] == teacher.skills(task, 0)
  rules = [(s.title, s.principle) for bank in banks for s in bank]
  for title, (right, _, wrong) in review.RULES.items():
    assert 60 < rules.count((title, right)) < 105
    assert 15 < rules.count((title, wrong)) < 50
  assert any(not bank for bank in banks)
  assert all(len({s.skill_id for s in bank}) == len(bank) for bank in banks)
