"""The recordings of the published environment, step by step."""

import dataclasses
import json

import pytest

from skilljax.envs.webshop import nouns, pages, session
from skilljax.envs.webshop.env import page_text
from skilljax.envs.webshop.reward import judge


@pytest.fixture(scope="module")
def finder(settings):
  return nouns.NounFinder("textblob", settings.cache_folder())


def _play(rollout, shop, finder):
  """(session, goal) at the beginning of a recording, with its goal and price injected."""
  catalogue, listed = shop
  recorded = rollout["goal"]
  goal = dataclasses.replace(
    listed.goals[rollout["goal_index"]],
    instruction=recorded["instruction_text"],
    ceiling=recorded["price_upper"],
  )
  visit = session.Session(
    session.Shop(
      product=catalogue.product,
      search=catalogue.searcher.search,
      item_page=lambda n: pages.item_page(catalogue.product(n), show_attributes=False),
      judge=lambda product, chosen: judge(
        goal, product, chosen, rollout["price"], nouns=finder
      ),
    )
  )
  return visit, goal


def test_every_page_of_every_recording_is_identical(rollouts, shop, finder):
  compared = 0
  for rollout in rollouts:
    visit, goal = _play(rollout, shop, finder)
    for step in rollout["steps"]:
      if step["action"] is not None:
        visit.act(step["action"])
      assert page_text(visit.page, goal.instruction) == step["text"]
      assert list(visit.page.clickables) == step.get("clickables", [])
      assert visit.page.has_search == step.get("has_search_bar", False)
      assert (visit.purchase is not None) == step.get("done", False)
      compared += 1
  assert (len(rollouts), compared) == (120, 976)


def test_every_reward_and_all_its_parts_are_identical(rollouts, shop, finder):
  bought = [rollout for rollout in rollouts if "asin" in rollout]
  assert len(bought) == 94
  for rollout in bought:
    visit, _ = _play(rollout, shop, finder)
    for step in rollout["steps"][1:]:
      visit.act(step["action"])
    found = dataclasses.asdict(visit.purchase)
    assert found["reward"] == rollout["final_reward"] == rollout["steps"][-1]["reward"]
    assert {k: found[k] for k in rollout["reward_parts"]} == rollout["reward_parts"]


def test_goal_numbers_are_the_published_ones(rollouts, shop):
  _, listed = shop
  assert len(listed.goals) == 6910
  for rollout in rollouts:
    mine, theirs = listed.goals[rollout["goal_index"]], rollout["goal"]
    assert mine.asin == theirs["asin"]
    assert mine.options == theirs["goal_options"]
    assert list(mine.attributes) == theirs["attributes"]
    assert (mine.title, mine.query) == (theirs["name"], theirs["query"])
    cut = ", and price lower than"
    assert mine.instruction.split(cut)[0] == theirs["instruction_text"].split(cut)[0]


def test_all_rankings_are_those_of_lucene(webshop_data, shop):
  catalogue, _ = shop
  asins = [product.asin for product in catalogue]
  rankings = json.loads((webshop_data / "lucene_rankings_200.json").read_text())
  assert len(rankings) == 200
  for ranking in rankings:
    found = [asins[number] for number in catalogue.searcher.search(ranking["query"])]
    assert found == ranking["top50"]


@pytest.mark.parametrize(("option_match", "capped"), [("pairs", 458), ("values", 0)])
def test_how_many_goals_a_perfect_purchase_cannot_fulfil(
  shop, finder, option_match, capped
):
  catalogue, listed = shop
  products = list(catalogue)
  below = 0
  for goal in listed.goals:
    purchase = judge(
      goal,
      products[goal.number],
      goal.options,
      listed.prices[goal.number],
      nouns=finder,
      option_match=option_match,
    )
    assert purchase.r_type == 1.0
    assert purchase.r_att == 1.0 and purchase.r_price
    below += purchase.reward < 1.0
  assert below == capped
