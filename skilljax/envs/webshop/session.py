"""One visit to the shop: which action leads from which page to which.

Purpose: the rules of the published web site, quirks included: searching works from every
page, a search forgets the chosen options, what is clicked is told by its name alone.
Must not know about: tasks, observations, step caps.
"""

import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence

from skilljax.envs.webshop import pages
from skilljax.envs.webshop.catalogue import Product
from skilljax.envs.webshop.reward import Purchase

MAX_RESULTS = 50
_PER_PAGE = 10
_ACTION = re.compile(r"(.+)\[(.+)\]")


@dataclasses.dataclass(frozen=True)
class Shop:
  """What a session needs of the world.

  Attributes:
    product: number -> product.
    search: (words, limit) -> product numbers, best first.
    judge: (product, chosen options) -> the score of buying it.
    item_page: number -> the product's own page.
  """

  product: Callable[[int], Product]
  search: Callable[[str, int], Sequence[int]]
  judge: Callable[[Product, Mapping[str, str]], Purchase]
  item_page: Callable[[int], pages.Page]


def parse_action(text: str) -> tuple[str, str] | None:
  """('search' or 'click', argument in lower case) of an action; None for other text."""
  found = _ACTION.match(text)
  if found is None or found[1] not in ("search", "click"):
    return None
  return found[1], found[2].lower()


class Session:
  """The state of one visit; starts on the search page.

  Attributes:
    page: what the shopper sees.
    purchase: how the purchase was judged; None before.
  """

  def __init__(self, shop: Shop):
    self._shop = shop
    self.purchase: Purchase | None = None
    self._to_search()

  def act(self, text: str):
    """Plays one action; any text that is none changes nothing."""
    action = parse_action(text)
    if action is None or self.purchase is not None:
      return
    name, argument = action
    if name == "search":
      self._results = self._shop.search(argument, MAX_RESULTS)
      self._to_results(1)
    elif argument in self.page.clickables and argument != "search":
      self._click(argument)

  def _click(self, name: str):
    # In this order: an option called 'description' opens the description.
    if name == "buy now":
      self._buy()
    elif name == "back to search":
      self._to_search()
    elif name == "next >" and self._place == "results":
      self._to_results(self._number + 1)
    elif name == "< prev":
      self._back()
    elif name in pages.SUB_PAGES:
      self._place = "sub page"
      self.page = pages.sub_page(self._item, name)
    else:
      self._choose(name)

  def _back(self):
    if self._place == "sub page":
      self._to_item()
    else:
      self._to_results(self._number - (self._place == "results"))

  def _choose(self, name: str):
    option = self.page.clickables[name]
    if self._place == "results":
      self._item = next(p for p in self._shown if p.asin.lower() == name)
    self._to_item()
    if option is not None:
      self._chosen[option] = name
      self.page = pages.chosen_page(self.page, option, name)

  def _to_search(self):
    self._place = "search"
    self._chosen: dict[str, str] = {}
    self.page = pages.search_page()

  def _to_results(self, number: int):
    self._place, self._number, self._chosen = "results", number, {}
    numbers = self._results[(number - 1) * _PER_PAGE : number * _PER_PAGE]
    self._shown = [self._shop.product(n) for n in numbers]
    self.page = pages.results_page(self._shown, number, len(self._results))

  def _to_item(self):
    self._place = "item"
    self.page = self._shop.item_page(self._item.number)

  def _buy(self):
    self._place = "done"
    self.purchase = self._shop.judge(self._item, self._chosen)
    chosen, reward = self._chosen, self.purchase.reward
    self.page = pages.done_page(self._item.asin, chosen, reward)
