"""Config section `env` of WebShop.

Purpose: every choice, with what published work used as the default.
Must not know about: the contents of files, pages, rewards.
"""

import dataclasses
import os
import pathlib

DATA_VARIABLE = "SKILLJAX_DATA"
_CHOICES = {
  "catalogue": ("small", "full"),
  "option_match": ("pairs", "values"),
  "split_by": ("goal", "product"),
  "tagger": ("textblob", "spacy"),
  "observation": ("published", "compact"),
}


@dataclasses.dataclass(frozen=True)
class WebshopSettings:
  """Everything about WebShop that a config may change.

  Attributes:
    data_dir: folder of the data files; '' means `$SKILLJAX_DATA/webshop`.
    cache_dir: folder for derived files; '' means `~/.cache/skilljax/webshop` (or below
      XDG_CACHE_HOME). 8 MB for the small catalogue; by a test with 20,000 products some
      3 GB for the full one, made once in 20 minutes and 6 GB of memory.
    catalogue: 'small' is 1,000 products, which nearly all published agents are trained
      and tested on; 'full' is 1.18 million, where a search takes 10 to 50 ms. Processes
      share the files of either by memory maps.
    human_goals: the instructions that people wrote, instead of generated ones. The
      original paper used them with the full catalogue, which here must have them; work
      on the small one uses the 6,910 generated goals.
    price_seed: of the price ceilings in the instructions and of the prices of products
      with a price range. The published environment draws both before it seeds its
      generator, so that no two of its runs agree; here they follow from this number. A
      number of its own for each run is the published behaviour (`:redraw` of
      `configs/webshop_scratch.py`), one for all makes runs comparable.
    option_match: 'pairs' compares a chosen option with the pair (name, value), as
      published: where a colour word is part of a longer word the right option does not
      count, and 458 of the 6,910 goals cannot reach reward 1. 'values' compares values
      alone and repairs that.
    split_by: 'goal' is the published split by index after the shuffle: test 0-499, dev
      500-1499, train the rest (work without a dev split trains on dev too); the same
      products occur in all three. 'product' gives every product to one split, and takes
      the goals of test (at most 500) and dev (at most 1,000) from their products in turn.
    tagger: which program finds the nouns of titles, 'textblob' (rules, from the package
      index) or 'spacy' with its model en_core_web_sm (the published one). It decides
      between the type factors 0, 0.1, 0.5 and 1 for a wrong product.
    observation: 'published' repeats the instruction on every page and joins with
      ' [SEP] '; 'compact', for small policies, tells it once, leaves out the buttons that
      every page of a kind has, cuts titles, answers the choice of an option with that
      choice alone, and puts every piece on a line of its own. What can be clicked is
      the same.
    max_observation_chars: longer pages are cut at the end; 0 means never, as published.
    show_attributes: item pages have a fourth sub-page with the product's attributes.
      Off in published work: it gives part of the answer away.
    max_turns: step cap H of an episode, >= 1; 15 in SkillMaster, SkillRL and GiGPO.
    require_official: refuse a small catalogue whose contents are not the official ones.
  """

  data_dir: str = ""
  cache_dir: str = ""
  catalogue: str = "small"
  human_goals: bool = False
  price_seed: int = 0
  option_match: str = "pairs"
  split_by: str = "goal"
  tagger: str = "textblob"
  observation: str = "published"
  max_observation_chars: int = 0
  show_attributes: bool = False
  max_turns: int = 15
  require_official: bool = True

  def __post_init__(self):
    for key, choices in _CHOICES.items():
      value = self.__dict__[key]
      if value not in choices:
        raise ValueError(
          f"{key}={value!r} must be one of {', '.join(choices)} (config key env.{key})"
        )
    for key, low in (("max_turns", 1), ("max_observation_chars", 0), ("price_seed", 0)):
      value = self.__dict__[key]
      if value < low:
        raise ValueError(f"{key}={value} must be >= {low} (config key env.{key})")
    if self.catalogue == "full" and not self.human_goals:
      raise ValueError(
        "human_goals=False must be True with catalogue='full': its products would give "
        "some 8 million generated goals, which every process would hold in memory "
        "(config keys env.human_goals, env.catalogue)"
      )

  def data_folder(self) -> pathlib.Path:
    """Where the data files are. Raises FileNotFoundError if no folder is set."""
    if self.data_dir:
      return pathlib.Path(self.data_dir).expanduser()
    root = os.environ.get(DATA_VARIABLE, "")
    if not root:
      raise FileNotFoundError(
        "no folder of WebShop data: set config key env.data_dir, or the variable "
        f"{DATA_VARIABLE} to the folder that contains webshop/"
      )
    return pathlib.Path(root).expanduser() / "webshop"

  def cache_folder(self) -> pathlib.Path:
    """Where derived files go."""
    if self.cache_dir:
      return pathlib.Path(self.cache_dir).expanduser()
    root = os.environ.get("XDG_CACHE_HOME", "") or "~/.cache"
    return pathlib.Path(root).expanduser() / "skilljax" / "webshop"
