"""Exercises for WebShop: copy what a goal says, and shop where pages are short.

Purpose: goals with mixed-up words and option values, so that nothing helps but copying:
real goals repeat a few hundred kinds of product, which a small model rather learns by
heart. With pages, a few products are made up and the scripted shopper buys one; the
layout is that of the compact observation.
Must not know about: tokens, losses, rewards, the shop's engine.
"""

import dataclasses
import random
import string
from collections.abc import Iterator, Mapping, Sequence

from skilljax.envs.webshop.goals import Goal
from skilljax.envs.webshop.shopper import Shopper, read_goal

Piece = tuple[str, str]  # given, recalled

COPIES, VISITS = 5, 1  # goals of one exercise of either kind
_MAX_VALUES = 6  # of one option on one page
_SYMBOLS = string.ascii_uppercase + string.digits


@dataclasses.dataclass(frozen=True)
class Pool:
  """What goals are mixed from; at least one of each.

  Attributes:
    kinds: goal sentences without options and price, as 'soft shoes for women'.
    values: option name -> values that goals want.
    titles: of products.
  """

  kinds: tuple[str, ...]
  values: Mapping[str, tuple[str, ...]]
  titles: tuple[str, ...]


def make_pool(goals: Sequence[Goal]) -> Pool:
  """The words of some goals.

  Raises:
    ValueError: no goal names an option.
  """
  values: dict[str, set[str]] = {}
  kinds = set()
  for goal in goals:
    wish = read_goal(goal.instruction)
    for name, value in wish.options.items():
      values.setdefault(name, set()).add(value)
    for first in list(wish.options)[:1]:
      kinds.add(wish.phrase.partition(f" with {first}: ")[0])
  if not values:
    raise ValueError(
      f"none of {len(goals)} train goals names an option, so there is nothing to copy; "
      "set cold_start.drills=0"
    )
  titles = sorted({goal.title[:60].strip() for goal in goals})
  return Pool(
    kinds=tuple(sorted(kinds)),
    values={name: tuple(sorted(values[name])) for name in sorted(values)},
    titles=tuple(titles),
  )


def drill(seed: int, *, pool: Pool, reading_only: bool) -> tuple[Piece, ...]:
  """Goals that are copied (`reading_only`), or a few short visits to a shop."""
  rng = random.Random(f"webshop/drill/{seed}")
  if reading_only:
    return tuple(piece for _ in range(COPIES) for piece in copy(pool, rng))
  return tuple(piece for _ in range(VISITS) for piece in visit(pool, rng))


def copy(pool: Pool, rng: random.Random) -> Iterator[Piece]:
  """A goal, the query that repeats it, a list's first id, and the options one by one."""
  sentence, options = _goal(pool, rng)
  phrase = read_goal(sentence).phrase
  yield (
    f"\n\nInstruction:\n{sentence}\nSearch<think>search with the words of the goal",
    f"</think><action>search[{phrase}]</action>",
  )
  results = "\n".join(_results(pool, rng, rng.randint(1, 3)))
  first = results.split("\n")[1]
  yield f"{results}<think>open", f" {first}</think><action>click[{first}]</action>"
  for name, value in options.items():
    yield "<think>choose", f" {name}: {value}</think><action>click[{value}]</action>"
  yield "<think>", "buy</think><action>click[buy now]</action>"


def visit(pool: Pool, rng: random.Random) -> Iterator[Piece]:
  """The scripted shopper's replies in a shop with one to three results."""
  sentence, wanted = _goal(pool, rng)
  shopper = Shopper()
  page = f"Instruction:\n{sentence}\nSearch"
  yield f"\n\n{page}", shopper.reply(page)
  results = _results(pool, rng, rng.randint(1, 3))
  titles, prices = results[2::3], results[3::3]
  for title, price in zip(titles, prices, strict=True):
    page = "\n".join(results)
    yield page, shopper.reply(page)
    last = title == titles[-1]
    lists = _lists(pool, wanted, rng, lacking=not last)
    page = "\n".join((*lists, title, f"Price: {price}", "Buy Now"))
    reply = shopper.reply(page)
    yield page, reply
    if not reply.endswith("click[< prev]</action>"):
      break
  for name, value in wanted.items():
    page = f"{name}: {value}\nBuy Now"
    yield page, shopper.reply(page)


def _results(pool: Pool, rng: random.Random, num: int) -> list[str]:
  """The lines of a page of results: a head, then id, title and price of each."""
  lines = [f"Page 1 (Total results: {rng.randint(10, 50)})"]
  for title in rng.sample(pool.titles, min(len(pool.titles), num)):
    asin = "B0" + "".join(rng.choices(_SYMBOLS, k=8))
    lines += [asin, title, f"${rng.uniform(1, 9):.2f}"]  # below every ceiling
  return lines


def _goal(pool: Pool, rng: random.Random) -> tuple[str, dict[str, str]]:
  """(a sentence, the options that it names)."""
  # As real goals have them: mostly options with many values, color and size.
  names = sorted(
    pool.values,
    key=lambda name: rng.random() ** (len(pool.values[name]) ** -0.5),
    reverse=True,
  )[: rng.randint(1, 3)]
  options = {name: _mixed(pool.values[name], rng) for name in names}
  listed = ", and ".join(f"{name}: {value}" for name, value in options.items())
  price = f"{10 * rng.randint(1, 20)}.00 dollars"
  kind = _mixed(pool.kinds, rng)
  return f"Find me {kind} with {listed}, and price lower than {price}", options


def _lists(
  pool: Pool, wanted: Mapping[str, str], rng: random.Random, *, lacking: bool
) -> Iterator[str]:
  """Options of a product page; with `lacking`, one that is wanted is not there."""
  lacks = rng.choice(list(wanted)) if lacking else None
  for name in rng.sample(list(wanted), len(wanted)):
    most = rng.randint(0, _MAX_VALUES - 1)
    others = [value for value in pool.values[name] if value != wanted[name]]
    values = rng.sample(others, min(len(others), most))
    if name != lacks:
      values.append(wanted[name])
    rng.shuffle(values)
    if values:
      yield from (name, *values)


def _mixed(texts: Sequence[str], rng: random.Random) -> str:
  """One of the texts, or, as often, words of several of them in any order."""
  text = rng.choice(texts)
  if rng.random() < 0.5:
    return text
  words = [word for other in rng.choices(texts, k=3) for word in other.split()]
  # A colon would be read as the name of an option, a comma as the end of one.
  words = [word for word in words if not set(word) & set(":,")] or ["plain"]
  return " ".join(rng.choices(words, k=max(1, len(text.split()))))
