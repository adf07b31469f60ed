"""The goal list and the drawn prices as derived files.

Purpose: goals follow from the catalogue, the human instructions and one seed; they are
made once per machine, and read back in some milliseconds.
Must not know about: pages, rewards, tasks.
"""

import dataclasses
import functools
import hashlib
import json
import pathlib
from typing import Any

import numpy as np

from skilljax.envs import data_files
from skilljax.envs.data_files import DataError
from skilljax.envs.webshop import catalogue, files, goals
from skilljax.envs.webshop.settings import WebshopSettings

_FORMAT = "1"


@dataclasses.dataclass(frozen=True, eq=False)
class GoalList:
  """What one seed gives.

  Attributes:
    goals: in the published order; the index is a goal's published number.
    prices: [D] float64, dollars, of every product.
  """

  goals: tuple[goals.Goal, ...]
  prices: np.ndarray


def open_data(settings: WebshopSettings) -> tuple[catalogue.Catalogue, GoalList]:
  """Catalogue and goals of these settings; derives files on the first call.

  Raises:
    FileNotFoundError: no data; the message names the config key.
    DataError: a file is damaged, or goals and catalogue do not fit together.
  """
  sources = files.find_files(settings.data_folder(), settings.catalogue)
  return open_once(settings, sources, sources.stamp())


@functools.lru_cache(maxsize=4)
def open_once(
  settings: WebshopSettings, sources: files.DataFiles, stamp: tuple
) -> tuple[catalogue.Catalogue, GoalList]:
  """One copy for all environments of a process, while the files are the same."""
  del stamp
  official = settings.require_official and settings.catalogue == "small"
  products = catalogue.open_catalogue(
    sources,
    settings.cache_folder(),
    official=official,
    all_known=not settings.human_goals,
  )
  kind = "human" if settings.human_goals else "generated"
  entry = f"{_FORMAT}/{sources.fingerprint()}/{kind}/{settings.price_seed}"
  name = f"goals-{kind}-{hashlib.sha256(entry.encode('ascii')).hexdigest()[:24]}"

  def build(folder: pathlib.Path):
    try:
      found, prices = goals.make_goals(
        products,
        _human(sources) if settings.human_goals else None,
        seed=settings.price_seed,
      )
    except (KeyError, TypeError, AttributeError) as error:
      raise DataError(
        f"{sources.human}: an instruction is incomplete ({type(error).__name__}: "
        f"{error}); copy the file again"
      ) from error
    rows = [dataclasses.asdict(goal) for goal in found]
    (folder / "goals.json").write_text(json.dumps(rows), "utf-8")
    np.save(folder / "prices.npy", np.array(prices))

  folder = data_files.derived_folder(settings.cache_folder() / name, build)
  rows = json.loads((folder / "goals.json").read_text("utf-8"))
  if not rows:
    raise DataError(
      f"{sources.human or sources.attributes}: has no instruction for any product of "
      f"{sources.products.name}; the two files belong to different catalogues (config "
      "keys env.catalogue and env.human_goals)"
    )
  prices = np.load(folder / "prices.npy", mmap_mode="r")
  return products, GoalList(tuple(map(_goal, rows)), prices)


def _goal(row: dict[str, Any]) -> goals.Goal:
  return goals.Goal(**{**row, "attributes": tuple(row["attributes"])})


def _human(sources: files.DataFiles) -> dict[str, Any]:
  if sources.human is None:
    raise FileNotFoundError(
      f"{sources.products.parent}: no items_human_ins.json (or .gz, .xz), which "
      "env.human_goals=True needs; copy it there, or set env.human_goals=False"
    )
  return files.read_object(sources.human)
