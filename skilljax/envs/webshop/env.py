"""WebShop behind the `Env` protocol: one shopper with one goal.

Actions are `search[words]` and `click[name]`; any other text changes nothing. The reward
comes once, with the purchase; success is a reward of exactly 1, as published.
Must not know about: models, prompts, skills, worker processes, where data come from.
"""

import functools
from collections.abc import Mapping

from skilljax.envs.base import UnplayableTask
from skilljax.envs.webshop import goal_list, nouns, pages, session, source
from skilljax.envs.webshop.catalogue import Product
from skilljax.envs.webshop.reward import Purchase, judge
from skilljax.envs.webshop.settings import WebshopSettings
from skilljax.types import Observation, Task

SEARCH_HINT = "search[<your query>]"
_SEPARATOR = {"published": " [SEP] ", "compact": "\n"}
_CUT = " ..."
_REMEMBERED = 4096  # product pages kept in memory, about 5 KB each


class WebshopEnv:
  """One episode at a time (Env protocol).

  Attributes:
    purchase: how the last purchase was judged; None before there is one.
  """

  def __init__(self, settings: WebshopSettings):
    """Opens the derived files; makes them on the first call on a machine.

    Raises:
      FileNotFoundError: no data.
      DataError: data are damaged, or not the official ones.
      ModuleNotFoundError: the tagger is not installed.
    """
    self._settings = settings
    self._catalogue, self._list = goal_list.open_data(settings)
    self._nouns = nouns.NounFinder(settings.tagger, settings.cache_folder())
    self._product = functools.lru_cache(_REMEMBERED)(self._catalogue.product)
    self._item_page = functools.lru_cache(_REMEMBERED)(self._make_item_page)
    self._session: session.Session | None = None

  @property
  def purchase(self) -> Purchase | None:
    """The parts of the reward; None before the purchase."""
    return self._session.purchase if self._session else None

  def reset(self, task: Task) -> Observation:
    """Starts an episode on the search page.

    Raises:
      UnplayableTask: not a task of this goal list.
    """
    goals = self._list.goals
    index = source.goal_index(task)
    if index >= len(goals) or goals[index].asin != source.goal_asin(task):
      raise UnplayableTask(
        f"task {task.name!r} is none of the {len(goals)} goals: made with other data or "
        "settings (config keys env.data_dir, env.catalogue, env.human_goals)"
      )
    self._goal = goals[index]
    self._turn = 0
    self._ended = False
    self._session = session.Session(
      session.Shop(
        product=self._product,
        search=self._catalogue.searcher.search,
        item_page=self._item_page,
        judge=self._judge,
      )
    )
    return Observation(
      text=self._text(self._session.page, first=True),
      admissible=admissible(self._session.page),
      goal=self._goal.instruction,
      max_turns=self._settings.max_turns,
    )

  def step(self, action: str) -> Observation:
    """Plays one action.

    Raises:
      ValueError: the episode has ended, or was never started.
    """
    if self._session is None or self._ended:
      raise ValueError("step: the episode has ended; call reset first")
    self._session.act(action)
    self._turn += 1
    purchase, page = self._session.purchase, self._session.page
    truncated = purchase is None and self._turn >= self._settings.max_turns
    self._ended = purchase is not None or truncated
    return Observation(
      text=self._text(page, first=False),
      reward=float(purchase.reward) if purchase else 0.0,
      terminated=purchase is not None,
      truncated=truncated,
      success=purchase is not None and purchase.reward == 1.0,
      admissible=admissible(page),
    )

  def close(self):
    """Forgets the episode; the memory maps go with the object."""
    self._session = None

  def _make_item_page(self, number: int) -> pages.Page:
    return pages.item_page(
      self._product(number), show_attributes=self._settings.show_attributes
    )

  def _judge(self, product: Product, chosen: Mapping[str, str]) -> Purchase:
    return judge(
      self._goal,
      product,
      chosen,
      float(self._list.prices[product.number]),
      nouns=self._nouns,
      option_match=self._settings.option_match,
    )

  def _text(self, page: pages.Page, *, first: bool) -> str:
    return page_text(
      page,
      self._goal.instruction,
      observation=self._settings.observation,
      first=first,
      limit=self._settings.max_observation_chars,
    )


def page_text(
  page: pages.Page,
  instruction: str,
  *,
  observation: str = "published",
  first: bool = True,
  limit: int = 0,
) -> str:
  """What a policy reads of a page.

  Args:
    page: the page.
    instruction: the goal sentence.
    observation: 'published' or 'compact', see `WebshopSettings`.
    first: it is the first page of the episode; 'compact' states the goal only there.
    limit: highest number of characters; 0 means all.
  """
  goal = ["Instruction:", *pages.visible(instruction)] if page.instructed else []
  if observation == "published":
    pieces = [*page.head, *goal, *page.body]
  else:
    pieces = [*(goal if first else ()), *page.brief]
  text = _SEPARATOR[observation].join(pieces)
  if 0 < limit < len(text):
    text = text[: max(0, limit - len(_CUT))] + _CUT[:limit]
  return text


def admissible(page: pages.Page) -> tuple[str, ...]:
  """The actions that a page offers.

  A search box appears as `SEARCH_HINT`, whose words the policy has to replace; its
  button 'search' is left out, because a click on it does nothing.
  """
  clicks = tuple(f"click[{name}]" for name in page.clickables if name != "search")
  return (SEARCH_HINT, *clicks) if page.has_search else clicks
