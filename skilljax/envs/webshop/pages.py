"""The web pages: their visible pieces of text and what can be clicked on them.

Purpose: what the published environment gets by rendering a page and parsing it again, put
together from the product directly. Every function is pure.
Must not know about: sessions, actions, rewards, observation formats.
"""

import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence

from skilljax.envs.webshop.catalogue import Product

BRIEF_TITLE_CHARS = 60  # of a title in brief; the words that tell come first
SUB_PAGES = ("description", "features", "reviews", "attributes")
_BLANK = " \t\n\f\r"
_SUB_PAGE_TOP = ("Back to Search", "< Prev")


@dataclasses.dataclass(frozen=True)
class Page:
  """One page.

  Attributes:
    instructed: the page shows the instruction (all but the last page do).
    head: pieces before the instruction.
    body: pieces after it.
    brief: what a short format shows in place of `body`: buttons that every such page
      has are left out and titles are cut.
    clickables: name -> the option that a click sets; '' where it sets none.
    has_search: there is a search box.
  """

  instructed: bool
  head: tuple[str, ...]
  body: tuple[str, ...]
  brief: tuple[str, ...]
  clickables: Mapping[str, str | None]
  has_search: bool = False


def visible(text: str) -> list[str]:
  """How one text appears among the pieces: stripped, or not at all.

  A parser keeps a blank text as one blank, unless it has a line break: then it is layout.
  """
  if not text or (not text.strip(_BLANK) and "\n" in text):
    return []
  return [text.strip()]


def search_page() -> Page:
  """The first page."""
  words, clickables = ("Search",), {"search": None}
  return Page(True, ("WebShop",), words, words, clickables, has_search=True)


def results_page(products: Sequence[Product], page: int, total: int) -> Page:
  """One page of search results.

  Args:
    products: those on this page; none beyond the last result.
    page: counted from 1.
    total: how many results there are.
  """
  buttons = ["< Prev", "Next >"] if page > 1 else ["Next >"]
  rows, short = [], []
  for product in products:
    for text in (product.asin, product.title, product.price_tag):
      rows += visible(text)
    short += [product.asin, brief_title(product), product.price_tag]
  here = f"Page {page} (Total results: {total})"
  body = ("Back to Search", here, *buttons, *rows)
  names = ("Back to Search", *buttons, *(product.asin for product in products))
  return Page(True, (), body, (here, *short), {name.lower(): None for name in names})


def item_page(product: Product, *, show_attributes: bool) -> Page:
  """The page of one product; the same whatever has been chosen on it."""
  buttons = [name.capitalize() for name in SUB_PAGES if name != "attributes"]
  buttons += ["Attributes"] * show_attributes
  options: list[str] = []
  clickables: dict[str, str | None] = {
    name.lower(): None for name in (*_SUB_PAGE_TOP, *buttons, "Buy Now")
  }
  for name, values in product.options.items():
    options += visible(name)
    for value in values:
      options += visible(value)
      # Of two options with the same value the later one is set, as published.
      clickables[value] = name
  price = f"Price: {product.price_tag}".strip()
  body = (*_SUB_PAGE_TOP, *options, *visible(product.title), price, "Rating: N.A.")
  brief = (*options, brief_title(product), price, "Buy Now")
  return Page(True, (), (*body, *buttons, "Buy Now"), brief, clickables)


def chosen_page(page: Page, option: str, value: str) -> Page:
  """An item page after a click on an option: in brief, only what was chosen."""
  return dataclasses.replace(page, brief=(f"{option}: {value}", "Buy Now"))


def brief_title(product: Product) -> str:
  """The beginning of a product's title, on one line."""
  return " ".join(product.title.split())[:BRIEF_TITLE_CHARS].strip()


def sub_page(product: Product, name: str) -> Page:
  """One of `SUB_PAGES` of a product."""
  texts: Iterable[str] = {
    "description": (product.description,),
    "features": tuple(f" {bullet}" for bullet in product.bullets),
    "reviews": (),  # the published data have none
    "attributes": (
      *(f" {attribute}" for attribute in product.attributes),
      *(product.category, product.query, product.product_category),
    ),
  }[name]
  pieces = [piece for text in texts for piece in visible(text)]
  clickables = {button.lower(): None for button in _SUB_PAGE_TOP}
  return Page(True, (), (*_SUB_PAGE_TOP, *pieces), tuple(pieces), clickables)


def done_page(asin: str, chosen: Mapping[str, str], reward: float) -> Page:
  """The page after the purchase, with the empty fields that the published one has."""
  options = json.dumps(chosen, sort_keys=True)
  for character in "<>&'":
    options = options.replace(character, f"\\u{ord(character):04x}")
  body = (
    *("Thank you for shopping with us!", "Your code:", "None"),
    *("(Paste it in your MTurk interface.)", "Purchased", "asin", asin),
    *("options", options, "attrs", "None", "category", "None", "query", "None"),
    *("product category", "None", "Target", "asin", "options", "attrs", "price upper"),
    *("instuction text", "category", "product category", "query", "Goal", "None"),
    *("Reward", "Your score (min 0.0, max 1.0)", str(reward), "Reward Details", "None"),
  )
  return Page(False, (), body, body[:1], {})
