"""House rules of `household`: the vocabulary, the grammar and the draw of estates.

Purpose: an `Estate` is one hidden set of rules; `draw_estate` maps an integer to an
estate one to one, and `split_of` assigns each integer to train, dev or test.
Must not know about: tasks, worlds, text of observations, skills, agents.
"""

import collections.abc
import dataclasses
import functools
import itertools
from typing import NamedTuple

KINDS = {
  "food": ("apple", "potato", "tomato", "egg", "bread", "lettuce"),
  "dish": ("mug", "plate", "bowl", "cup", "pan", "kettle"),
  "cloth": ("towel", "shirt", "sock", "scarf", "glove", "hat"),
  "paper": ("book", "letter", "newspaper", "card", "map", "poster"),
}
KIND_OF = {noun: kind for kind, nouns in KINDS.items() for noun in nouns}

CLOSED_PLACES = ("cabinet", "drawer", "box")
PLACES = (*CLOSED_PLACES, "shelf", "table", "desk")
TOOLS = {
  "heat": ("microwave", "stoveburner", "toaster"),
  "cool": ("fridge", "freezer", "cooler"),
  "clean": ("sinkbasin", "bathtub", "dishwasher"),
  "look": ("desklamp", "floorlamp", "ceilinglamp"),
}
TOOL_SLOT = {tool: slot for slot, tools in TOOLS.items() for tool in tools}
DEVICES = ("keypad", "lever", "bell", "dial")
SLOTS = (*(f"place:{kind}" for kind in KINDS), *TOOLS, "lock")


class Method(NamedTuple):
  """The appliance that works and what must be done before it does.

  `first` is 'none', 'on', 'close', 'empty' or, for heat and cool, 'clean'.
  """

  tool: str
  first: str


Value = str | Method  # of place and lock rules · of heat, cool, clean, look rules

_PLAIN = ("none", "on", "close", "empty")


def _methods(verb: str, firsts: tuple[str, ...]) -> tuple[Method, ...]:
  return tuple(Method(tool, first) for tool in TOOLS[verb] for first in firsts)


METHODS = {
  "heat": _methods("heat", (*_PLAIN, "clean")),
  "cool": _methods("cool", (*_PLAIN, "clean")),
  "clean": _methods("clean", _PLAIN),
  "look": _methods("look", ("none", "on", "close")),
}


def slot_values(slot: str) -> tuple[Value, ...]:
  """All values that a rule slot can take.

  Raises:
    ValueError: unknown slot.
  """
  if slot not in SLOTS:
    raise ValueError(f"slot={slot!r} is not one of {SLOTS}")
  if slot.startswith("place:"):
    return PLACES
  return DEVICES if slot == "lock" else METHODS[slot]


@functools.cache
def _appliances() -> tuple[tuple[Method, Method, Method], ...]:
  """All (heat, cool, clean) triples.

  "Clean it first" appears only where cleaning has no precondition of its own. That keeps
  the longest plans short and gives the order the smaller share (7 % of estates).
  """
  triples = itertools.product(METHODS["heat"], METHODS["cool"], METHODS["clean"])
  return tuple(
    (heat, cool, clean)
    for heat, cool, clean in triples
    if clean.first == "none" or "clean" not in (heat.first, cool.first)
  )


NUM_PLACEMENTS = len(PLACES) ** len(KINDS)  # 1,296
NUM_REST = len(_appliances()) * len(METHODS["look"]) * len(DEVICES)  # 70,956
NUM_ESTATES = NUM_PLACEMENTS * NUM_REST  # 91,958,976

# (factor, shift) of three affine maps; each factor is coprime to NUM_ESTATES (tested).
_ROUNDS = ((56_833_933, 12_345_701), (35_125_237, 77_777_791), (20_614_723, 5_000_011))


@dataclasses.dataclass(frozen=True)
class Estate:
  """One set of house rules.

  Attributes:
    index: in [0, NUM_ESTATES); distinct indices are distinct rules.
    rules: slot and value, in the order of `SLOTS`.
  """

  index: int
  rules: tuple[tuple[str, Value], ...]

  def as_dict(self) -> dict[str, Value]:
    """The rules by slot, in a new dict."""
    return dict(self.rules)


def _permute(index: int) -> int:
  """A fixed bijection on [0, NUM_ESTATES).

  Affine maps with the halves swapped between them: one alone would leave the lowest
  digit periodic in the index, and so correlated with the split.
  """
  code = index
  for factor, shift in _ROUNDS:
    high, low = divmod(code, NUM_REST)
    code = (factor * (low * NUM_PLACEMENTS + high) + shift) % NUM_ESTATES
  return code


@functools.lru_cache(maxsize=4096)
def draw_estate(index: int) -> Estate:
  """The estate of an integer; a bijection from [0, NUM_ESTATES) to rule sets.

  Raises:
    ValueError: index outside of the range.
  """
  if not 0 <= index < NUM_ESTATES:
    raise ValueError(f"estate index={index} is outside of [0, {NUM_ESTATES})")
  code = _permute(index)
  values: list[Value] = []
  for _ in KINDS:
    code, digit = divmod(code, len(PLACES))
    values.append(PLACES[digit])
  code, digit = divmod(code, len(_appliances()))
  values.extend(_appliances()[digit])
  code, digit = divmod(code, len(METHODS["look"]))
  values.append(METHODS["look"][digit])
  values.append(DEVICES[code])
  return Estate(index=index, rules=tuple(zip(SLOTS, values, strict=True)))


_RESIDUES = {"train": tuple(range(8)), "dev": (8,), "test": (9,)}
SPLITS = tuple(_RESIDUES)


def split_of(index: int) -> str:
  """'train' (80 %), 'dev' (10 %) or 'test' (10 %), by index modulo 10."""
  residue = index % 10
  return next(split for split, residues in _RESIDUES.items() if residue in residues)


class SplitIndices(collections.abc.Sequence):
  """The estate indices of one split in increasing order, without storing them."""

  def __init__(self, split: str):
    if split not in _RESIDUES:
      raise ValueError(f"split={split!r} is not one of {SPLITS}")
    self._residues = _RESIDUES[split]
    rest = NUM_ESTATES % 10
    tail = sum(residue < rest for residue in self._residues)
    self._len = NUM_ESTATES // 10 * len(self._residues) + tail

  def __len__(self) -> int:
    return self._len

  def __getitem__(self, item):
    if isinstance(item, slice):
      return tuple(self[i] for i in range(*item.indices(self._len)))
    if not -self._len <= item < self._len:
      raise IndexError(f"position {item} is outside of a split of {self._len} estates")
    block, position = divmod(item % self._len, len(self._residues))
    return 10 * block + self._residues[position]
