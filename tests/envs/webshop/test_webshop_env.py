"""Episodes through the protocols, observation formats, speed, two workers at once."""

import dataclasses
import functools
import json
import random
import re
import subprocess
import sys
import time

import pytest

from experiments.bench import envs as bench
from skilljax.envs import base, table
from skilljax.envs.pool import EnvPool
from skilljax.envs.webshop import (
  WebshopEnv,
  WebshopSettings,
  WebshopSource,
  goal_list,
  pages,
  search,
)
from skilljax.envs.webshop.env import page_text
from skilljax.types import Fault, Task

_ACTION = re.compile("<action>(.*)</action>")


def test_an_episode_from_search_to_purchase(env, source):
  task = source.tasks("test")[0]
  first = env.reset(task)
  assert first.text.split(" [SEP] ") == ["WebShop", "Instruction:", first.goal, "Search"]
  assert (first.goal, first.max_turns) == (source.goal(task), 15)
  assert first.admissible == ("search[<your query>]",)
  assert env.step("click[search]").text == env.step("dance").text == first.text
  results = env.step(f"search[{first.goal}]")
  assert results.admissible[:2] == ("click[back to search]", "click[next >]")
  assert len(results.admissible) == 12
  item = env.step(results.admissible[2])
  assert "click[buy now]" in item.admissible
  assert env.purchase is None
  done = env.step("click[buy now]")
  assert done.terminated and done.admissible == ()
  assert done.reward == env.purchase.reward
  assert done.success == (done.reward == 1.0)
  with pytest.raises(ValueError, match="call reset first"):
    env.step("click[buy now]")


def test_the_step_cap_truncates_without_reward(env, source):
  env.reset(source.tasks("test")[0])
  seen = [env.step("search[shoes]") for _ in range(15)]
  assert [o.truncated for o in seen] == [False] * 14 + [True]
  assert not any(o.reward or o.success or o.terminated for o in seen)


def test_a_search_forgets_chosen_options(env, source):
  task = next(t for t in source.tasks("test") if "color: " in source.goal(t))
  asin = task.name.split("-")[1].lower()
  option = re.search(r"color: (.+?)(?:, and |$)", source.goal(task))[1]
  title = env._catalogue.product(
    env._list.goals[int(task.name.split("-")[0])].number
  ).title
  for back in (
    ["click[< prev]", f"click[{asin}]"],
    ["click[description]", "click[< prev]"],
  ):
    env.reset(task)
    commands = [f"search[{title}]", f"click[{asin}]", f"click[{option}]", *back]
    for command in commands:
      env.step(command)
    env.step("click[buy now]")
    kept = back[0] == "click[description]"
    assert (env.purchase.num_option_hits > 0) == kept


def test_tasks_of_other_goal_lists_are_refused(env, source):
  task = source.tasks("test")[0]
  for name in ("0-B000000000", "99999-" + task.name.split("-")[1]):
    with pytest.raises(base.UnplayableTask, match="none of the 6910 goals"):
      env.reset(dataclasses.replace(task, name=name))
  with pytest.raises(base.UnplayableTask, match="not one of 'webshop'"):
    env.reset(Task("household", "train", "x", "x", "estate-1/0"))


def test_a_bad_task_costs_no_worker(settings, source):
  make = functools.partial(table.make_env, "webshop", settings)
  good = source.tasks("test")[0]
  bad = dataclasses.replace(good, name="0-B000000000")
  with EnvPool(make, num_workers=1, envs_per_worker=2) as pool:
    answers = {}
    for ticket, task in (("bad", bad), ("good", good)):
      pool.start(ticket, task)
    while len(answers) < 2:
      answers |= dict(pool.poll(60.0))
    assert isinstance(answers["bad"], Fault) and answers["good"].goal
    assert "none of the 6910 goals" in answers["bad"].reason
    assert pool.counts["restarts"] == 0


def test_compact_text_says_what_is_new(settings, source):
  compact = WebshopEnv(dataclasses.replace(settings, observation="compact"))
  task = next(t for t in source.tasks("test") if "color: " in source.goal(t))
  asin = task.name.split("-")[1]
  color = re.search(r"color: (.+?)(?:, and |$)", source.goal(task))[1]
  title = compact._catalogue.product(
    compact._list.goals[int(task.name.split("-")[0])].number
  ).title
  first = compact.reset(task)
  assert first.text == f"Instruction:\n{first.goal}\nSearch"
  results = compact.step(f"search[{title}]").text.split("\n")
  assert results[0].startswith("Page 1 (Total results: ") and len(results) == 31
  assert f"{asin}\n{title[:60].strip()}\n$" in "\n".join(results)
  item = compact.step(f"click[{asin}]").text.split("\n")
  assert item[0] == "color" and color in item and item[-1] == "Buy Now"
  assert not {"Back to Search", "Description", first.goal} & {*results, *item}
  assert compact.step(f"click[{color}]").text == f"color: {color}\nBuy Now"
  # The page behind it is whole: what could be clicked still can.
  assert "click[description]" in compact.step("dance").admissible
  assert compact.step("click[description]").text
  assert compact.step("click[< prev]").text.split("\n") == item
  assert compact.step("click[back to search]").text == "Search"


@pytest.mark.parametrize("limit", [1, 5, 40])
def test_long_texts_are_cut_to_the_limit(limit):
  page = pages.Page(True, (), ("x" * 100,), (), {})
  text = page_text(page, "goal", limit=limit)
  assert len(text) == limit
  assert page_text(page, "goal", limit=0).endswith("x")


@pytest.mark.parametrize(
  ("text", "pieces"),
  [("", []), (" \n ", []), (" ", [""]), ("\xa0", [""]), (" a\nb ", ["a\nb"])],
)
def test_blank_texts_appear_as_a_parser_leaves_them(text, pieces):
  assert pages.visible(text) == pieces


def test_attribute_page_is_shown_only_on_request(settings, source):
  for shown in (False, True):
    shop = WebshopEnv(dataclasses.replace(settings, show_attributes=shown))
    shop.reset(source.tasks("test")[0])
    item = shop.step(shop.step("search[shoes]").admissible[2])
    assert ("click[attributes]" in item.admissible) == shown
    assert (shop.step("click[attributes]").text != item.text) == shown


def test_two_workers_play_at_once(settings, source):
  make = functools.partial(table.make_env, "webshop", settings)
  tasks = source.tasks("test")[:4]
  with EnvPool(make, num_workers=2, envs_per_worker=2) as pool:
    for task in tasks:
      pool.start(task.key, task)
    seen = {}
    while len(seen) < 4:
      for ticket, observation in pool.poll(60.0):
        assert not isinstance(observation, Fault), observation
        seen[ticket] = observation.goal
  assert seen == {task.key: source.goal(task) for task in tasks}


def test_unknown_choices_name_the_key():
  with pytest.raises(
    ValueError, match=r"'big' must be one of small, full .*env.catalogue"
  ):
    WebshopSettings(catalogue="big")
  with pytest.raises(ValueError, match=r"env.max_turns"):
    table.make_settings("webshop", {"max_turns": 0})
  with pytest.raises(ValueError, match=r"price_seed=-1 must be >= 0"):
    table.make_settings("webshop", {"price_seed": -1})  # would draw as 1 does
  with pytest.raises(ValueError, match="scope='x' must be 'webshop'"):
    WebshopSource(WebshopSettings()).stream("x", "train")
  with pytest.raises(ValueError, match="split='valid' must be one of train, dev, test"):
    WebshopSource(WebshopSettings()).tasks("valid")


def test_speed(env, settings, source):
  teacher = table.make_teacher("webshop", settings)
  tasks = source.tasks("test")[:30]
  agents = [teacher.agent(task, 0) for task in tasks]
  plays = []
  for task, agent in zip(tasks, agents, strict=True):
    observation, commands = env.reset(task), []
    while not observation.ended:
      commands.append(_ACTION.search(agent.reply(observation.text))[1])
      observation = env.step(commands[-1])
    plays.append(commands)
  begin = time.process_time()
  for task, commands in zip(tasks, plays, strict=True):
    env.reset(task)
    for command in commands:
      env.step(command)
  spent = time.process_time() - begin
  rate = sum(map(len, plays)) / spent
  assert rate > 1500  # a busy machine's bound; the targets: `test_the_speed_targets`


@pytest.mark.slow
def test_the_speed_targets(settings, source):
  """A core's 5,000 steps/s, 1 ms a search and 1 ms a reset, first times included."""
  env = table.make_env("webshop", settings)
  teacher = table.make_teacher("webshop", settings)
  tasks = random.Random(0).sample(source.tasks("test"), 100)
  resets = bench.measure_resets(env, tasks)
  assert resets["reset_first_s"] <= 1e-3 and resets["reset_returning_s"] <= 1e-3
  # An engine of its own has searched for nothing yet.
  engine = search.Searcher(goal_list.open_data(settings)[0].searcher._index)
  queries = [source.goal(task) for task in source.tasks("test")]
  searches = bench.measure_search(engine.search, queries)
  assert searches["search_first_s"] <= 1e-3 and searches["search_again_s"] <= 1e-3
  plays = [(task, bench.record(env, teacher.agent(task, 0), task)) for task in tasks]
  # Whoever shares the machine takes its caches too: the best of three rounds counts.
  rates = [bench.measure_rate(env, plays, 3000) for _ in range(3)]
  assert max(rate["steps_per_s_with_resets"] for rate in rates) >= 5000


def test_the_bench_prints_what_the_targets_name(settings, source, repo_root):
  source.tasks("train")  # its files are there
  flags = (f"--data_dir={settings.data_dir}", f"--cache_dir={settings.cache_dir}")
  sizes = ("--games=3", "--steps=20", "--episodes=3")
  done = subprocess.run(
    [sys.executable, "-m", "experiments.bench.envs", "--env=webshop", *flags, *sizes],
    cwd=repo_root,
    capture_output=True,
    text=True,
    check=True,
  )
  row = {k: v for line in done.stdout.splitlines() for k, v in json.loads(line).items()}
  assert row["searches"] == 3 and row["steps"] >= 20
  for name in ("steps_per_s_with_resets", "reset_first_s", "search_first_s"):
    assert row[name] > 0.0
