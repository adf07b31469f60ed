"""What an ALFWorld goal sentence says, and where things of a kind usually are.

Must not know about: games, agents, skills.
"""

import dataclasses
import re

GOAL_MARK = "Your task is to:"
APPLIANCE_OF = {"heat": "microwave 1", "cool": "fridge 1", "clean": "sinkbasin 1"}
_FAMILY_OF_WORD = {"hot": "heat", "heat": "heat", "cool": "cool", "clean": "clean"}

# The benchmark's own twelve templates; object, place and lamp names are one word.
_TEMPLATES = (
  r"(?P<look>look at|examine the) (?P<noun>\w+) (?:under|with) the (?P<lamp>\w+)",
  r"(?P<two>put two|find two) (?P<noun>\w+) (?:in|and put them in) (?P<target>\w+)",
  r"(?P<state>clean|cool|heat) some (?P<noun>\w+) and put it in (?P<target>\w+)",
  r"put a (?P<state>clean|cool|hot) (?P<noun>\w+) in (?P<target>\w+)",
  r"put (?:a|some) (?P<noun>\w+) (?:in|on) (?P<target>\w+)",
)
_GOALS = tuple(re.compile(template + r"\b") for template in _TEMPLATES)

# Common sense about homes, most likely first.
_PLACES_OF_KIND = {
  "food": "countertop diningtable garbagecan fridge sinkbasin microwave",
  "dish": "countertop diningtable cabinet sinkbasin shelf fridge coffeemachine desk",
  "cutlery": "countertop diningtable drawer sinkbasin sidetable",
  "shaker": "countertop diningtable cabinet sidetable shelf drawer",
  "pan": "stoveburner countertop diningtable cabinet",
  "bath": "countertop toilet garbagecan bathtubbasin cabinet shelf sinkbasin "
  "handtowelholder toiletpaperhanger sidetable dresser",
  "study": "desk sidetable dresser bed shelf diningtable coffeetable drawer",
  "living": "sidetable coffeetable diningtable sofa dresser shelf armchair tvstand desk",
  "soft": "bed sofa armchair",
}
_KIND_OF_NOUNS = {
  "food": "apple bread egg lettuce potato tomato",
  "dish": "bowl cup glassbottle mug plate winebottle",
  "cutlery": "butterknife fork knife ladle spatula spoon",
  "shaker": "peppershaker saltshaker",
  "pan": "kettle pan pot",
  "bath": "candle cloth dishsponge handtowel soapbar soapbottle spraybottle tissuebox "
  "toiletpaper",
  "study": "alarmclock book cd cellphone laptop pen pencil",
  "soft": "pillow",
}
_KIND_OF = {
  noun: kind for kind, nouns in _KIND_OF_NOUNS.items() for noun in nouns.split()
}
NOUNS = tuple(sorted(_KIND_OF))  # object types with a known kind
PLACES = tuple(sorted({p for kinds in _PLACES_OF_KIND.values() for p in kinds.split()}))
_LAMP_PLACES = ("desk", "sidetable", "dresser", "shelf", "coffeetable", "drawer")


@dataclasses.dataclass(frozen=True)
class Goal:
  """A parsed goal sentence.

  Attributes:
    family: short family name.
    noun: object type, for example 'apple'.
    target: receptacle type, for example 'fridge'; '' for look_in_light.
    lamp: lamp type; '' for all other families.
  """

  family: str
  noun: str
  target: str = ""
  lamp: str = ""

  @property
  def count(self) -> int:
    """How many objects must be placed."""
    return 2 if self.family == "pick_two" else 1


def parse_goal(text: str) -> Goal:
  """The goal after the last 'Your task is to:' of a text, or the text itself.

  Raises:
    ValueError: the sentence fits none of the benchmark's templates.
  """
  sentence = text.rpartition(GOAL_MARK)[2]
  for pattern in _GOALS:
    match = pattern.search(sentence)
    if match is None:
      continue
    found = match.groupdict()
    if "look" in found:
      return Goal("look_in_light", found["noun"], lamp=found["lamp"])
    family = "pick_two" if "two" in found else "pick_and_place"
    family = _FAMILY_OF_WORD.get(found.get("state", ""), family)
    return Goal(family, found["noun"], target=found["target"])
  raise ValueError(f"goal {sentence.strip()[:80]!r} fits no template of ALFWorld")


def likely_places(noun: str) -> tuple[str, ...]:
  """Receptacle types where a thing usually is, most likely first."""
  if noun.endswith("lamp"):
    return _LAMP_PLACES
  return tuple(_PLACES_OF_KIND[_KIND_OF.get(noun, "living")].split())
