"""Products: from the published records to derived files, and one product by its number.

Purpose: apply the published loader's rules once, keep products as lines of a file whose
offsets are known, so that a worker of the full catalogue parses only what it shows.
Must not know about: goals, pages, rewards.
"""

import dataclasses
import hashlib
import json
import mmap
import pathlib
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from skilljax.envs import data_files
from skilljax.envs.data_files import DataError
from skilljax.envs.webshop import files, search

_FORMAT = "2"
_NO_ATTRIBUTES = ("DUMMY_ATTR",)
_NO_PRICE = 100.0
# Digest of the derived products of the official small catalogue, from either layout.
OFFICIAL_SMALL = "013b93d0739478289a3542f861c52868cd72ba7f7bcf5fb5638b9206ab2aaf04"


@dataclasses.dataclass(frozen=True)
class Product:
  """One product as the web site knows it.

  Attributes:
    number: position in the catalogue.
    asin: the shop's product id, upper case.
    title, description: texts.
    bullets: the feature list.
    price_tag: what pages show, '$10.0' or '$10.0 to $12.5'.
    prices: dollars; one, or the ends of a range.
    options: option name -> its values, all lower case, in page order.
    category: one of the shop's departments.
    query: the search that the product was collected with, lower case.
    product_category: levels joined by ' › '.
    attributes: what the goals are made of.
    instruction: generated goal sentence; None for most products.
    wanted: the attributes that the instruction asks for.
  """

  number: int
  asin: str
  title: str
  description: str
  bullets: tuple[str, ...]
  price_tag: str
  prices: tuple[float, ...]
  options: Mapping[str, Sequence[str]]
  category: str
  query: str
  product_category: str
  attributes: tuple[str, ...]
  instruction: str | None
  wanted: tuple[str, ...]

  def search_text(self) -> str:
    """What the search engine indexes."""
    options = ", and ".join(f"{k}: {', '.join(v)}" for k, v in self.options.items())
    first = self.bullets[0] if self.bullets else ""
    return " ".join((self.title, self.description, first, options)).lower()


class Catalogue:
  """All products by number, and the search engine over them.

  Attributes:
    searcher: the search engine.
    digest: of all products.
    without_attributes: ids of products that the attributes file does not know.
  """

  def __init__(self, folder: pathlib.Path):
    """Opens a folder that `derive` wrote; reads almost nothing of it."""
    with open(folder / "products.jsonl", "rb") as file:
      self._lines = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    self._ends = _load(folder, "ends")
    names = [field.name for field in dataclasses.fields(search.Index)]
    index = search.Index(**{name: _load(folder, f"index-{name}") for name in names})
    self.searcher = search.Searcher(index)
    self.digest = (folder / "digest").read_text("ascii")
    missing = (folder / "without_attributes.json").read_text("utf-8")
    self.without_attributes = tuple(json.loads(missing))

  def __len__(self) -> int:
    return len(self._ends)

  def __iter__(self) -> Iterator[Product]:
    return map(self.product, range(len(self)))

  def product(self, number: int) -> Product:
    """One product. Raises IndexError for a number that is not in the catalogue."""
    if not 0 <= number < len(self):
      raise IndexError(f"number={number} must be in [0, {len(self)})")
    begin = int(self._ends[number - 1]) if number else 0
    row = json.loads(self._lines[begin : int(self._ends[number])])
    for name in ("bullets", "prices", "attributes", "wanted"):
      row[name] = tuple(row[name])
    return Product(number=number, **row)


def open_catalogue(
  sources: files.DataFiles, cache: pathlib.Path, *, official: bool, all_known: bool
) -> Catalogue:
  """The catalogue of these files; derives it on the first call.

  Args:
    sources: where the data are.
    cache: folder for derived files.
    official: the result must be the official small catalogue.
    all_known: every product must have an entry in the attributes file, as the published
      loader asks for when it makes the goals itself. With instructions that people wrote
      it takes what is there.
  Raises:
    DataError: a file is damaged, or not the official one.
  """
  name = hashlib.sha256(f"{_FORMAT}/{sources.fingerprint()}".encode("ascii")).hexdigest()
  folder = cache / f"products-{name[:24]}"
  catalogue = Catalogue(
    data_files.derived_folder(folder, lambda work: derive(sources, work))
  )
  if (missing := catalogue.without_attributes) and (
    all_known or len(missing) == len(catalogue)
  ):
    raise DataError(
      f"{sources.products}: {missing[0]} has no entry in the attributes file "
      f"{sources.attributes.name}, like {len(missing)} of {len(catalogue)} products; it "
      "belongs to another catalogue, or is incomplete (config key env.human_goals: only "
      "with True may some be missing)"
    )
  if official and catalogue.digest != OFFICIAL_SMALL:
    raise DataError(
      f"{sources.products}, {sources.attributes}: their contents are not those of the "
      f"official small catalogue (digest {catalogue.digest[:16]}, expected "
      f"{OFFICIAL_SMALL[:16]}); copy them again, or set env.require_official=False to "
      "use other products"
    )
  return catalogue


def derive(sources: files.DataFiles, folder: pathlib.Path):
  """Writes products, offsets and search index into a folder.

  Raises:
    DataError: a file is damaged.
  """
  sources.check_large()
  digest, ends, asins, position = hashlib.sha256(), [], [], 0
  missing: list[str] = []

  def texts() -> Iterator[str]:
    nonlocal position
    with open(folder / "products.jsonl", "wb") as out:
      for number, row in enumerate(_rows(sources, missing)):
        line = json.dumps(row, ensure_ascii=False).encode("utf-8") + b"\n"
        out.write(line)
        digest.update(line)
        position += len(line)
        ends.append(position)
        asins.append(row["asin"])
        yield Product(number=number, **row).search_text()

  index = search.build_index(texts(), asins)
  if not asins:
    raise DataError(f"{sources.products}: has no products; copy it again")
  np.save(folder / "ends.npy", np.array(ends, np.int64))
  for name, array in index.arrays().items():
    np.save(folder / f"index-{name}.npy", array)
  (folder / "digest").write_text(digest.hexdigest(), "ascii")
  (folder / "without_attributes.json").write_text(json.dumps(missing), "utf-8")


def _load(folder: pathlib.Path, name: str) -> np.ndarray:
  # A plain array over the map: numpy's own class for maps makes every slice slow.
  return np.asarray(np.load(folder / f"{name}.npy", mmap_mode="r"))


def _rows(sources: files.DataFiles, missing: list[str]) -> Iterator[dict[str, Any]]:
  """Products as records; `missing` gets the ids without attributes."""
  attributes = files.read_object(sources.attributes)
  seen = set()
  for position, raw in enumerate(files.read_list(sources.products)):
    try:
      asin = raw["asin"]
      if asin == "nan" or len(asin) > 10 or asin in seen:
        continue
      seen.add(asin)
      if asin not in attributes:
        missing.append(asin)
      yield _row(raw, attributes.get(asin, {}))
    except (KeyError, TypeError, AttributeError, ValueError) as error:
      raise DataError(
        f"{sources.products}: product {position} ({type(error).__name__}: {error}); the "
        f"file is damaged, or {sources.attributes.name} belongs to another catalogue"
      ) from error


def _row(raw: Mapping[str, Any], extra: Mapping[str, Any]) -> dict[str, Any]:
  bullets = raw["small_description"]
  prices = _prices(raw.get("pricing"))
  instruction = extra.get("instruction")
  wanted = extra.get("instruction_attributes") or []
  if instruction is not None and not wanted:
    raise ValueError(f"{raw['asin']} has an instruction without attributes")
  row = {
    "asin": raw["asin"],
    "title": raw["name"],
    "description": raw["full_description"],
    "bullets": bullets if isinstance(bullets, list) else [bullets],
    "price_tag": " to ".join(f"${price}" for price in prices),
    "prices": prices,
    "options": _options(raw["customization_options"]),
    "category": raw["category"],
    "query": raw["query"].lower().strip(),
    "product_category": raw["product_category"],
    "attributes": list(extra.get("attributes", _NO_ATTRIBUTES)),
    "instruction": instruction,
    "wanted": wanted,
  }
  for name in ("title", "description", "category", "product_category"):
    if not isinstance(row[name], str):
      raise TypeError(f"{raw['asin']}: its {name} is no text but {row[name]!r}")
  return row


def _prices(text: str | None) -> list[float]:
  if not text:
    return [_NO_PRICE]
  prices = [float(re.sub(r"[^\d.]", "", part)) for part in text.split("$")[1:]]
  if not prices:
    raise ValueError(f"its pricing {text!r} has no dollar sign")
  return prices[:2]


def _options(raw: Any) -> dict[str, list[str]]:
  # An option list may be null or empty: a product without a choice, not a defect.
  return {
    name.lower(): [
      entry["value"].strip().replace("/", " | ").lower() for entry in entries
    ]
    for name, entries in (raw or {}).items()
    if entries is not None
  }
