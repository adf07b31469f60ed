"""The score of a purchase.

    reward = type · (attribute hits + option hits + price ok) / (attributes + options + 1)

Source: Yao et al., arXiv:2207.01206, section 3.2, in the details of the released code.
Must not know about: pages, episodes, how nouns are found.
"""

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence

from skilljax.envs.webshop.catalogue import Product
from skilljax.envs.webshop.goals import Goal

_SIMILAR = 85  # a rounded token-set ratio above this is a hit
# The first of these that a text contains stands for the whole text.
_COLOR_WORDS = """
  alabaster apricot aqua ash asphalt azure banana beige black blue blush bordeaux
  bronze brown burgundy camel camo caramel champagne charcoal cheetah chestnut
  chocolate christmas coffee cognac copper coral cranberry cream crystal dark denim
  eggplant elephant espresso fuchsia gold granite grape graphite grass gray green grey
  heather indigo ivory ivy khaki lavender lemon leopard light lilac lime magenta
  maroon mauve merlot midnight mint mocha multicolor mushroom mustard natural navy
  nude olive orange peach pewter pink plum purple rainbow red rose royal rust sand
  sapphire seashell silver skull slate steel stone stonewash sunflower tan taupe teal
  tiger turquoise violet walnut wheat white wine yellow
"""
_COLORS = tuple(_COLOR_WORDS.split())
_LATIN_1 = dict.fromkeys(range(128, 256))  # removed before texts are compared


@dataclasses.dataclass(frozen=True)
class Purchase:
  """How a purchase was judged. Weights w_* are shares of the largest sum.

  Attributes:
    reward: in [0, 1].
    r_type: factor for the kind of product: 0, 0.1, 0.5 or 1.
    r_att, w_att: share of wanted attributes that the product has.
    r_option, w_option: share of wanted options that were chosen; 0 without any.
    r_price, w_price: whether the price is below the ceiling.
    query_match: collected by the same search as the wanted product.
    category_match: two category levels in common.
    title_score: share of the wanted title's nouns that the bought title has.
    num_attribute_hits, num_option_hits: counts behind r_att and r_option.
  """

  reward: float
  r_type: float
  r_att: float
  w_att: float
  r_option: float
  w_option: float
  r_price: bool
  w_price: float
  query_match: bool
  category_match: bool
  title_score: float
  num_attribute_hits: int
  num_option_hits: int


def judge(
  goal: Goal,
  product: Product,
  chosen: Mapping[str, str],
  price: float,
  *,
  nouns: Callable[[str], Sequence[str]],
  option_match: str = "pairs",
) -> Purchase:
  """Judges a purchase.

  Args:
    goal: what was asked for.
    product: what was bought.
    chosen: option name -> value, as clicked.
    price: of the product, dollars.
    nouns: title -> its nouns in lower case, with repeats.
    option_match: 'pairs' (published) or 'values', see `WebshopSettings`.
  Raises:
    ModuleNotFoundError: the package rapidfuzz is absent; the message says how.
  """
  query_match = product.query == goal.query
  category_match = len(_levels(product) & _levels(goal)) >= 2
  title_score = _title_score(nouns(goal.title), nouns(product.title))
  factor = _type_factor(query_match or category_match, title_score)
  attributes = sum(_has_attribute(product, wanted) for wanted in goal.attributes)
  options = _option_hits(goal.options, chosen.values(), option_match)
  price_ok = price <= goal.ceiling
  size = len(goal.attributes) + len(goal.options) + 1
  return Purchase(
    # In this order, so that rounding is the published one.
    reward=(attributes + options + price_ok) / size * factor,
    r_type=factor,
    r_att=attributes / len(goal.attributes),
    w_att=len(goal.attributes) / size,
    r_option=options / len(goal.options) if goal.options else 0.0,
    w_option=len(goal.options) / size,
    r_price=price_ok,
    w_price=1 / size,
    query_match=query_match,
    category_match=category_match,
    title_score=title_score,
    num_attribute_hits=attributes,
    num_option_hits=options,
  )


def first_color(text: str) -> str:
  """The first known colour that the text contains; the text itself if none.

  Also inside other words, as published: 'tapered' is red, 'standard' is tan.
  """
  return next((color for color in _COLORS if color in text), text)


def _levels(of: Product | Goal) -> set[str]:
  return {level.strip() for level in of.product_category.split("›")}


def _title_score(wanted: Sequence[str], bought: Sequence[str]) -> float:
  # Repeats count below the line and not above: a right purchase may stay below 1.
  return len(set(wanted) & set(bought)) / len(wanted) if wanted else 0.2


def _type_factor(same_kind: bool, title_score: float) -> float:
  if title_score == 0.0:
    return 0.0
  if title_score < 0.1:
    return 0.1
  return 1.0 if same_kind or title_score > 0.2 else 0.5


def _has_attribute(product: Product, wanted: str) -> bool:
  return (
    any(_similar(attribute, wanted) for attribute in product.attributes)
    or wanted in product.title.lower()
    or wanted in " ".join(product.bullets).lower()
    or wanted in product.description.lower()
  )


def _option_hits(
  wanted: Mapping[str, str] | Sequence[str], chosen: Iterable[str], option_match: str
) -> int:
  found = [first_color(value) for value in chosen]
  return sum(
    any(_similar(value, target) for value in found)
    for target in _targets(wanted, option_match)
  )


def _targets(wanted: Mapping[str, str] | Sequence[str], option_match: str) -> list[str]:
  if not isinstance(wanted, Mapping):
    return [first_color(value) for value in wanted]
  if option_match == "values":
    return [first_color(value) for value in wanted.values()]
  # The published slip: a colour is looked for among the pair's two members, not in the
  # text, and the pair is then compared in its printed form.
  return [
    next((color for color in _COLORS if color in pair), str(pair))
    for pair in wanted.items()
  ]


def _similar(left: str, right: str) -> bool:
  try:
    from rapidfuzz import fuzz, utils
  except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
      "WebShop's reward needs the package rapidfuzz: pip install 'skilljax[webshop]'"
    ) from error
  left, right = (utils.default_process(s.translate(_LATIN_1)) for s in (left, right))
  return round(fuzz.token_set_ratio(left, right)) > _SIMILAR
