"""The goal list: what shoppers are asked to buy, in the published order.

Purpose: goals from products (generated) or from instructions that people wrote, price
ceilings, the seed-233 shuffle, and the splits.
Must not know about: pages, rewards, files on disk.
"""

import dataclasses
import itertools
import random
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from skilljax.envs.webshop.catalogue import Product

NO_CEILING = 1_000_000.0
SPLITS = ("train", "dev", "test")
_TEST_GOALS, _DEV_GOALS = 500, 1000
_HELD_OUT_SHARE = 0.15  # of the products, for test and again for dev
_SHUFFLE_SEED = 233
_CEILINGS = tuple(10.0 * step for step in range(1, 100))


@dataclasses.dataclass(frozen=True)
class Goal:
  """One thing to buy.

  Attributes:
    number: position of the product that the goal was made from.
    asin, title, category, query, product_category: of that product.
    instruction: the sentence that the shopper reads.
    attributes: wanted attributes, at least one.
    options: wanted options: name -> value for generated goals, values alone for those
      that people wrote.
    ceiling: highest price in dollars.
  """

  number: int
  asin: str
  title: str
  category: str
  query: str
  product_category: str
  instruction: str
  attributes: tuple[str, ...]
  options: Mapping[str, str] | Sequence[str]
  ceiling: float


def make_goals(
  products: Iterable[Product],
  human: Mapping[str, Sequence[Mapping[str, Any]]] | None,
  *,
  seed: int,
) -> tuple[list[Goal], list[float]]:
  """All goals in published order, and the price of every product.

  Draws in the order of the published code: first the prices, then the ceilings.

  Args:
    products: the whole catalogue in order; read twice.
    human: product id -> instructions that people wrote; None for generated goals.
    seed: of prices and ceilings.
  """
  rng = random.Random(seed)
  prices = [_price(product.prices, rng) for product in products]
  goals: list[Goal] = []
  for product in products:
    ceiling = _Ceiling(prices[product.number], rng)
    if human is None:
      goals.extend(_generated(product, ceiling))
    else:
      goals.extend(_written(product, human.get(product.asin, ()), ceiling))
  random.Random(_SHUFFLE_SEED).shuffle(goals)
  return goals, prices


def split_indices(goals: Sequence[Goal], split_by: str) -> dict[str, tuple[int, ...]]:
  """Split name -> indices into the goal list; see `WebshopSettings.split_by`."""
  if split_by == "goal":
    cuts = (0, _TEST_GOALS, _TEST_GOALS + _DEV_GOALS, len(goals))
    parts = [range(len(goals))[a:b] for a, b in itertools.pairwise(cuts)]
    return dict(zip(("test", "dev", "train"), map(tuple, parts), strict=True))
  by_product: dict[str, list[int]] = {}
  for index, goal in enumerate(goals):
    by_product.setdefault(goal.asin, []).append(index)
  names = sorted(by_product)
  random.Random(_SHUFFLE_SEED).shuffle(names)
  count = round(_HELD_OUT_SHARE * len(names))
  chosen = {"test": names[:count], "dev": names[count : 2 * count]}
  turns = {name: _in_turn([by_product[n] for n in part]) for name, part in chosen.items()}
  return {
    "test": turns["test"][:_TEST_GOALS],
    "dev": turns["dev"][:_DEV_GOALS],
    "train": tuple(sorted(i for name in names[2 * count :] for i in by_product[name])),
  }


def _in_turn(lists: Iterable[Sequence[int]]) -> tuple[int, ...]:
  # The largest product has 558 goals, the median 4: in turn, none drowns the others.
  rounds = itertools.zip_longest(*lists)
  return tuple(index for turn in rounds for index in turn if index is not None)


def _price(prices: Sequence[float], rng: random.Random) -> float:
  return prices[0] if len(prices) == 1 else rng.uniform(prices[0], prices[1])


class _Ceiling:
  """Draws the price ceiling of one goal or of several; every call is one draw."""

  def __init__(self, price: float, rng: random.Random):
    self._choices = [step for step in _CEILINGS if step > price][:4]
    self._rng = rng

  def draw(self) -> tuple[float, str]:
    if len(self._choices) < 2:
      return NO_CEILING, ""
    ceiling = max(self._rng.sample(self._choices, 2))
    return ceiling, f", and price lower than {ceiling:.2f} dollars"


def _generated(product: Product, ceiling: _Ceiling) -> Iterable[Goal]:
  if product.instruction is None:
    return
  limit, price_text = ceiling.draw()  # one for all combinations
  names = sorted(product.options)
  for values in itertools.product(*(product.options[name] for name in names)):
    options = dict(zip(names, values, strict=True))
    wanted = ", and ".join(f"{name}: {value}" for name, value in options.items())
    sentence = product.instruction + (f" with {wanted}" if wanted else "") + price_text
    yield _goal(product, sentence, product.wanted, options, limit)


def _written(
  product: Product, instructions: Iterable[Mapping[str, Any]], ceiling: _Ceiling
) -> Iterable[Goal]:
  for entry in instructions:
    if not entry["instruction_attributes"]:
      continue
    limit, price_text = ceiling.draw()
    sentence = entry["instruction"].strip(".") + price_text
    attributes = tuple(entry["instruction_attributes"])
    yield _goal(product, sentence, attributes, entry["instruction_options"], limit)


def _goal(product, sentence, attributes, options, limit) -> Goal:
  return Goal(
    number=product.number,
    asin=product.asin,
    title=product.title,
    category=product.category,
    query=product.query,
    product_category=product.product_category,
    instruction=sentence,
    attributes=tuple(attributes),
    options=options,
    ceiling=limit,
  )
