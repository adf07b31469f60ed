"""A scripted shopper that reads and writes text only.

Purpose: demonstrations in the policy's own format. A shopper that keeps all four habits
of `review.RULES` searches with the goal as it stands, opens the results in order, those
that cost too much left out, and buys the first product on whose page every wanted option
can be chosen. What it thinks repeats the goal word by word, which small models learn to
do first. Shoppers differ in habits, and follow the rules that they are shown.
Must not know about: the shop's data, rewards, models, skill banks.
"""

import dataclasses
import random
import re

from skilljax.envs.replies import REVIEW_MARK, act_reply
from skilljax.envs.webshop import review

_SUCCESS = "Outcome: success"
_GOAL = re.compile(
  r"Instruction:(?: \[SEP\] |\n)(.*?)(?: \[SEP\] |\n)Search\b", re.DOTALL
)
_PRICE = re.compile(r", and price lower than ([\d.]+) dollars$")
_OPTION = re.compile(r"(?:^| with |, and )([^:,]{1,40}): (.+?)(?=, and [^:,]{1,40}: |$)")
_PIECES = re.compile(r" \[SEP\] |\n")
_MARK = re.compile(r"<\|[^|]*\|>")  # of a chat template, around what a page says
_ASIN = re.compile(r"[A-Z0-9]{10}")
_DOLLARS = re.compile(r"\$([\d.]+)")
_VISIT_TURNS = 2  # open a product and come back
_FEW_TURNS = 3  # then the best product so far has to do
_FEW_WORDS = 2  # what a careless shopper searches with


@dataclasses.dataclass(frozen=True)
class Wish:
  """A goal sentence, read.

  Attributes:
    phrase: what to search for.
    options: name -> wanted value.
    ceiling: highest price; infinite if none is named.
  """

  phrase: str
  options: dict[str, str]
  ceiling: float


def read_goal(sentence: str) -> Wish:
  """Takes a goal sentence apart. Any text is allowed."""
  price = _PRICE.search(sentence)
  rest = sentence[: price.start()] if price else sentence
  # Options follow the last ' with ' that has a colon behind it.
  head, mark, tail = rest.rpartition(" with ")
  while mark and ":" not in tail:
    head, mark, more = head.rpartition(" with ")
    tail = f"{more} with {tail}"
  options = dict(_OPTION.findall(tail)) if mark and ":" in tail else {}
  ceiling = float(price[1]) if price else float("inf")
  return Wish(rest.removeprefix("Find me "), options, ceiling)


@dataclasses.dataclass
class _Offer:
  """A search result. `missing` counts wanted options that it lacks; None: not opened."""

  asin: str
  price: float
  missing: int | None = None


class Shopper:
  """Plays one episode."""

  def __init__(self, *, max_turns: int = 15, habit: float = 1.0, seed: int = 0):
    """Makes a shopper.

    Args:
      max_turns: the step cap; shortly before it, the best offer so far is bought.
      habit: probability that it keeps a rule that its prompt does not state.
      seed: decides which ones.
    """
    self._max_turns = max_turns
    rng = random.Random(f"webshop/shopper/{seed}")
    self._keeps = {title: rng.random() < habit for title in review.RULES}

  def reply(self, context_text: str) -> str:
    """Answers the newest piece of context: an opening, a page or a review.

    Raises:
      ValueError: the first context has no goal that can be read.
    """
    text, mark, rest = context_text.partition(REVIEW_MARK)
    if goal := _GOAL.search(text):
      self._open_episode(text, goal[1])
    elif "_wish" not in self.__dict__:
      raise ValueError("the first context must contain 'Instruction:' and a goal")
    if mark:
      return review.review_reply(
        self._shown,
        success=_SUCCESS in rest,
        family=_category(rest),
        num_options=len(self._wish.options),
        num_chosen=len(self._clicked),
        opened=self._opened,
      )
    page = _MARK.sub("\n", text).partition("\n\nCommands: ")[0]
    thought, action = self._decide([piece.strip() for piece in _PIECES.split(page)])
    self._turn += 1
    return act_reply(thought, action)

  def _open_episode(self, text: str, sentence: str):
    if "_wish" in self.__dict__ and self._sentence == sentence:
      return  # every page repeats the goal
    self._sentence = sentence
    self._wish = read_goal(sentence)
    self._shown = review.read_shown(text)
    self._keeps |= review.taught(self._shown)
    self._offers: list[_Offer] = []
    self._current: _Offer | None = None
    self._clicked: set[str] = set()
    self._turn = 0
    self._opened = 0

  def _decide(self, pieces: list[str]) -> tuple[str, str]:
    if "Buy Now" in pieces:
      return self._on_item(pieces)
    if any(piece.startswith("Page ") for piece in pieces):
      return self._on_results(pieces)
    phrase = self._wish.phrase
    if self._keeps["search words"]:
      return "search with the words of the goal", f"search[{phrase}]"
    words = phrase.split()[-_FEW_WORDS:]
    return "search with the last words", f"search[{' '.join(words)}]"

  def _on_results(self, pieces: list[str]) -> tuple[str, str]:
    self._clicked, self._found = set(), None
    known = {offer.asin for offer in self._offers}
    self._offers += [o for o in _read_offers(pieces) if o.asin not in known]
    here = set(pieces)
    offer = self._choose([offer for offer in self._offers if offer.asin in here])
    if offer is None:
      return "look at more results", "click[next >]"
    self._current = offer
    verb = "open" if offer.missing is None else "back to"
    return f"{verb} {offer.asin}", f"click[{offer.asin}]"

  def _choose(self, offers: list[_Offer]) -> _Offer | None:
    """The next product to open, or, when turns run out, the one to buy."""
    limit = self._wish.ceiling if self._keeps["mind the price"] else float("inf")
    new = [o for o in offers if o.missing is None and o.price <= limit]
    hurry = self._turns_left() <= _FEW_TURNS + _VISIT_TURNS
    if new and (not hurry or len(new) == len(offers)):
      return new[0]
    opened = [offer for offer in offers if offer.missing is not None]
    if opened and hurry:
      return min(opened, key=lambda offer: offer.missing)
    return new[0] if new else None

  def _turns_left(self) -> int:
    """Turns that choosing the options leaves."""
    return self._max_turns - self._turn - len(self._wish.options)

  def _on_item(self, pieces: list[str]) -> tuple[str, str]:
    offer, wanted = self._current, self._wish.options
    if offer is None:
      return "this is not where I wanted to be", "click[back to search]"
    thoughts = []
    if self._found is None:  # later pages may show no more than what was chosen
      self._found = {n: v for n, v in wanted.items() if _offered(n, v, pieces)}
      thoughts = [f"{n}: {v} {_verdict(n in self._found)}" for n, v in wanted.items()]
    if offer.missing is None:
      self._opened += 1
      offer.missing = len(wanted) - len(self._found)
      check = self._keeps["check the options"] and self._turns_left() > _FEW_TURNS
      if offer.missing and check:
        return ", ".join(thoughts), "click[< prev]"
    left = {n: v for n, v in self._found.items() if n not in self._clicked}
    if not left or not self._keeps["choose options"]:
      return ", ".join([*thoughts, "buy"]), "click[buy now]"
    name, value = next(iter(left.items()))
    self._clicked.add(name)
    return ", ".join([*thoughts, f"choose {name}: {value}"]), f"click[{value}]"


def _offered(name: str, value: str, pieces: list[str]) -> bool:
  """Whether a product page lists the value under its option or later."""
  return name in pieces and value in pieces[pieces.index(name) :]


def _verdict(here: bool) -> str:
  return "here" if here else "missing"


def _read_offers(pieces: list[str]) -> list[_Offer]:
  offers = []
  for asin, price in zip(pieces, pieces[2:], strict=False):  # the title lies between
    if _ASIN.fullmatch(asin) and (dollars := _DOLLARS.match(price)):
      offers.append(_Offer(asin, float(dollars[1])))
  return offers


def _category(rest: str) -> str:
  found = re.search(r"Category: ([\w-]+)", rest)
  return found[1] if found else "general"
