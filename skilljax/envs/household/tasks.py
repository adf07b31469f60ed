"""Tasks of `household`: six families, what a task asks for, and oracle plans.

Purpose: everything about a task follows from (estate index, task index, seed).
Must not know about: splits and settings, the running world, observations, agents, skills.
"""

import dataclasses
import functools
import random

from skilljax.envs.household import rules
from skilljax.types import Task

FAMILIES = ("pick_and_place", "pick_two", "look_in_light", "heat", "cool", "clean")
OBJECTS_PER_KIND = 2
OBSTACLES = {"on": "is off", "close": "is open", "empty": "holds a tray 1"}
_KINDS_OF = {
  "pick_and_place": tuple(rules.KINDS),
  "pick_two": tuple(rules.KINDS),
  "look_in_light": tuple(rules.KINDS),
  "heat": ("food", "dish"),
  "cool": ("food", "dish"),
  "clean": ("dish", "cloth"),
}
_GOALS = {
  "pick_and_place": "put some {noun} in safe.",
  "pick_two": "put two {noun} in safe.",
  "look_in_light": "look at {noun} under the lamp.",
  "heat": "put a hot {noun} in {target}.",
  "cool": "put a cool {noun} in {target}.",
  "clean": "put a clean {noun} in {target}.",
}


@dataclasses.dataclass(frozen=True)
class TaskSpec:
  """What a task asks for and what lies where, apart from the rules.

  Attributes:
    family: one of `FAMILIES`.
    kind, noun: of the goal object, for example 'food', 'apple'.
    count: how many are needed and exist, 1 or 2.
    target: 'safe', a place, or '' for look_in_light.
    others: the other objects. With the goal's there are two of every kind, so that the
      number of things in a place does not tell whether the goal's is among them.
    goal: the goal sentence.
  """

  family: str
  kind: str
  noun: str
  count: int
  target: str
  others: tuple[str, ...]
  goal: str


@functools.lru_cache(maxsize=4096)
def _round_order(estate_index: int, number: int) -> tuple[str, ...]:
  order = list(FAMILIES)
  random.Random(f"families/{estate_index}/{number}").shuffle(order)
  return tuple(order)


def family_at(estate_index: int, task_index: int) -> str:
  """The family of a task; each round of six tasks holds every family once."""
  number, position = divmod(task_index, len(FAMILIES))
  return _round_order(estate_index, number)[position]


def task_spec(estate: rules.Estate, task_index: int, seed: int = 0) -> TaskSpec:
  """The task at one position of an estate's stream.

  Object and target depend on (estate, task_index); the seed changes only which other
  objects lie about.
  """
  family = family_at(estate.index, task_index)
  rng = random.Random(f"task/{estate.index}/{task_index}")
  kind = rng.choice(_KINDS_OF[family])
  noun = rng.choice(rules.KINDS[kind])
  target = ""
  if family in ("pick_and_place", "pick_two"):
    target = "safe"
  elif family != "look_in_light":
    home = estate.as_dict()[f"place:{kind}"]
    target = rng.choice([place for place in rules.PLACES if place != home])
  rng = random.Random(f"others/{estate.index}/{task_index}/{seed}")
  count = 2 if family == "pick_two" else 1
  others: list[str] = []
  for other_kind, nouns in rules.KINDS.items():
    free = [other for other in nouns if other != noun]
    others += rng.sample(free, OBJECTS_PER_KIND - (count if other_kind == kind else 0))
  return TaskSpec(
    family=family,
    kind=kind,
    noun=noun,
    count=count,
    target=target,
    others=tuple(others),
    goal=_GOALS[family].format(noun=noun, target=target),
  )


def oracle_plan(estate: rules.Estate, spec: TaskSpec) -> tuple[str, ...]:
  """A shortest command sequence that reaches the goal by the rules of the estate."""
  values = estate.as_dict()
  home = values[f"place:{spec.kind}"]
  objects = [f"{spec.noun} {number + 1}" for number in range(spec.count)]
  plan = _approach(home) + [f"take {item} from {home} 1" for item in objects]
  if spec.family == "look_in_light":
    return tuple(plan + _treat("look", objects[0], values))
  if spec.target == "safe":
    plan += ["go to safe 1", f"use {values['lock']} 1"]
  else:
    plan += _treat(spec.family, objects[0], values) + _approach(spec.target)
  return tuple(plan + [f"move {item} to {spec.target} 1" for item in objects])


def _approach(place: str) -> list[str]:
  plan = [f"go to {place} 1"]
  if place in rules.CLOSED_PLACES:
    plan.append(f"open {place} 1")
  return plan


def _treat(slot: str, item: str, values: dict[str, rules.Value]) -> list[str]:
  """Commands that heat, cool, clean or light up an object in the hand."""
  tool, first = values[slot]
  plan = _treat("clean", item, values) if first == "clean" else []
  plan.append(f"go to {tool} 1")
  if first in ("on", "close", "empty"):
    plan.append(preparation(slot, tool, first))
  plan.append(f"use {tool} 1" if slot == "look" else f"{slot} {item} with {tool} 1")
  return plan


def preparation(slot: str, tool: str, first: str) -> str:
  """The command that meets the precondition 'on', 'close' or 'empty'."""
  if slot == "look":
    return {"on": "use switch 1", "close": "close curtain 1"}[first]
  return {
    "on": f"use {tool} 1",
    "close": f"close {tool} 1",
    "empty": f"take tray 1 from {tool} 1",
  }[first]


def obstacle(slot: str, tool: str, first: str) -> str:
  """What the world says where the precondition 'on', 'close' or 'empty' is not met."""
  thing = {"on": "switch", "close": "curtain"}[first] if slot == "look" else tool
  return f"The {thing} 1 {OBSTACLES[first]}."


def parse_name(task: Task) -> tuple[int, int]:
  """(estate index, task index) of a task name 'estate-<index>/<task index>'.

  Raises:
    ValueError: the name has another form.
  """
  estate, _, position = task.name.removeprefix("estate-").partition("/")
  if not (
    task.name.startswith("estate-") and estate.isdecimal() and position.isdecimal()
  ):
    raise ValueError(f"task.name={task.name!r} is not 'estate-<index>/<task index>'")
  return int(estate), int(position)
