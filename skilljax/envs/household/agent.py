"""A scripted agent that plays `household` by reading and writing text only.

Purpose: expert (rules given), explorer (no skills) and reader (skills in its prompt) in
one class; cold-start data and the ground truth of what a skill is worth.
Must not know about: the running world, estates, prompts' layout, skill banks.
"""

import random
import re
from collections.abc import Mapping

from skilljax.envs.household import review, rules, sentences, tasks
from skilljax.envs.replies import REVIEW_MARK, act_reply

GOAL_MARK = "Your task is to:"

_GOAL = re.compile(
  r"(?:put (?:a|some|two) (?:(?P<state>hot|cool|clean) )?(?P<noun>[a-z]+) in "
  r"(?P<target>[a-z]+)|look at (?P<looked>[a-z]+) under the lamp)\."
)
_ARRIVE = re.compile(r"You arrive at ([a-z]+ 1)\.")
_SEE = re.compile(r"You see ([^.]*)\.")
_THING = re.compile(r"[a-z]+ \d")
_TAKE = re.compile(r"You take the ([a-z]+ \d)\.")
_PUT = re.compile(r"You move the ([a-z]+ \d) to")
_TREATED = re.compile(r"You (heat|cool|clean) the")
_SHUT = re.compile(r"The ([a-z]+ 1) is closed\.")
_BROKEN = re.compile(r"The ([a-z]+) 1 is broken\.")
_BLOCKED = re.compile(r"The ([a-z]+) 1 (is off|is open|holds a tray 1)\.|is (dirty)\.")
_FIRST = {"is off": "on", "is open": "close", "holds a tray 1": "empty", "dirty": "clean"}
_SLOT_OF_STATE = {"hot": "heat", "cool": "cool", "clean": "clean"}


class HouseholdAgent:
  """Text in, text out. One instance plays one episode after another.

  Attributes:
    known: rules that the current episode has revealed, by slot.
  """

  def __init__(
    self,
    *,
    seed: int,
    knowledge: Mapping[str, rules.Value] | None = None,
    heeds: bool = True,
  ):
    """Makes an agent.

    Args:
      seed: decides the order in which it explores.
      knowledge: rules it trusts without having read them (expert).
      heeds: it follows the skills that it is shown; False: it explores all the same,
        and only its review takes note of them.
    """
    self._seed = seed
    self._heeds = heeds
    self._given = dict(knowledge or {})
    self._episodes = 0
    self.known: dict[str, rules.Value] = {}

  def reply(self, context_text: str) -> str:
    """Answers the newest piece of context: an opening, an observation or a review."""
    before_review, mark, _ = context_text.partition(REVIEW_MARK)
    opening, known = GOAL_MARK in before_review, dict(self.known)
    if opening:
      self._open_episode(before_review)
    else:
      self._absorb(before_review)
    if mark:
      return review.review_reply(
        self._shown, self.known, kind=self._kind, own_slot=self._own_slot
      )
    thought, self._action = self._decide()
    if opening:
      thought = self._plan()
    else:
      thought = ", ".join([*self._notes(known), thought])
    return act_reply(thought, self._action)

  # Reading.

  def _open_episode(self, text: str) -> None:
    head, _, goal_text = text.rpartition(GOAL_MARK)
    goal = _GOAL.search(goal_text)
    if goal is None:
      raise ValueError(f"no known goal after {GOAL_MARK!r}: {goal_text[:80]!r}")
    room = {thing.split()[0] for thing in _THING.findall(head.rpartition("You see")[2])}
    self._noun = goal["noun"] or goal["looked"]
    self._kind = rules.KIND_OF[self._noun]
    self._target = goal["target"] or ""
    if goal["looked"]:
      self._own_slot = "look"
    else:
      self._own_slot = _SLOT_OF_STATE.get(goal["state"] or "", "lock")
    self._needed = 2 if "two" in goal.group().split() else 1
    self._shown = sentences.find_rules(head)
    self._told = {(slot, value) for _, slot, value in self._shown}
    self._told.update(self._given.items())
    self._start_beliefs(room)

  def _start_beliefs(self, room: set[str]) -> None:
    """Fixes the order of exploring: from what is trusted, else from a random start, on
    through the vocabulary and round. So the next try follows from the last one.
    """
    rng = random.Random(f"agent/{self._seed}/{self._episodes}")
    self._episodes += 1
    self.known = {}
    self._trusted: dict[str, list[rules.Value]] = {slot: [] for slot in rules.SLOTS}
    for slot, value in self._given.items():
      self._trusted[slot].append(value)
    for _, slot, value in self._shown if self._heeds else ():
      self._trusted[slot].append(value)
    self._options: dict[str, list[str]] = {}
    groups = {
      f"place:{self._kind}": rules.PLACES,
      **rules.TOOLS,
      "lock": rules.DEVICES,
    }
    for slot, names in groups.items():
      trusted = [_tool(value) for value in self._trusted[slot]]
      start = names.index(trusted[-1]) if trusted else rng.randrange(len(names))
      order = dict.fromkeys([*trusted, *names[start:], *names[:start]])
      self._options[slot] = [name for name in order if name in room]
    self._action = ""
    self._at = ""
    self._shut: set[str] = set()
    self._opened: set[str] = set()
    self._found: dict[str, str] = {}  # object: place
    self._held: list[str] = []
    self._stored = 0
    self._ready: set[str] = set()  # slots whose precondition was dealt with
    self._treated: set[str] = set()

  def _absorb(self, text: str) -> None:
    """Updates the beliefs from one observation."""
    nothing = "Nothing happens." in text
    words = self._action.split()
    if match := _ARRIVE.search(text):
      self._at = match[1]
    if match := _SHUT.search(text):
      self._shut.add(match[1])
    if words[:1] == ["open"] and not nothing:
      self._shut.discard(" ".join(words[1:]))
    if match := _SEE.search(text):
      self._look_over(_THING.findall(match[1]))
    if match := _TAKE.search(text):
      self._held.append(match[1])
      self._found.pop(match[1], None)
    if match := _PUT.search(text):
      self._held.remove(match[1])
      self._stored += 1
    self._absorb_rules(text, nothing)

  def _look_over(self, things: list[str]) -> None:
    place = self._at.split()[0]
    if place in rules.PLACES:
      self._opened.add(place)
      for thing in things:
        noun = thing.split()[0]
        kind = rules.KIND_OF.get(noun)
        if noun == self._noun:
          self._found[thing] = place
        # A place where the agent has put something itself tells nothing new.
        if kind and not self._stored:
          self.known[f"place:{kind}"] = place

  def _absorb_rules(self, text: str, nothing: bool) -> None:
    if "The safe 1 opens." in text:
      self.known["lock"] = self._action.split()[1]
    elif self._action.startswith("use ") and nothing:
      self._drop("lock", self._action.split()[1])
    if match := _BROKEN.search(text):
      self._drop(rules.TOOL_SLOT[match[1]], match[1])
      return
    tool = self._at.split()[0] if self._at else ""
    slot = rules.TOOL_SLOT.get(tool)
    if slot is None:
      return
    if match := _BLOCKED.search(text):
      self.known[slot] = rules.Method(tool, _FIRST[match[2] or match[3]])
      self._ready.discard(slot)
      return
    first = self._first(slot, tool)
    if self._action == self._preparation(slot, tool, first):
      self._ready.add(slot)
      if nothing:  # the trusted precondition does not exist here
        self._trusted[slot] = [v for v in self._trusted[slot] if _tool(v) != tool]
      elif slot not in self.known:
        self.known[slot] = rules.Method(tool, first)
    if (match := _TREATED.search(text)) and match[1] == slot:
      self.known.setdefault(slot, rules.Method(tool, first))
      self._treated.add(slot)
    elif f"You turn on the {tool} 1." in text and slot == "look":
      self.known.setdefault(slot, rules.Method(tool, first))

  def _drop(self, slot: str, name: str) -> None:
    if name in self._options[slot]:
      self._options[slot].remove(name)

  # Acting.

  def _decide(self) -> tuple[str, str]:
    """(thought, action) of the next turn."""
    if len(self._held_goal()) + self._stored < self._needed:
      return self._fetch()
    if self._own_slot == "look":
      return self._light()
    if self._own_slot != "lock" and self._own_slot not in self._treated:
      return self._treat(self._own_slot)
    return self._store()

  def _plan(self) -> str:
    """The first thought: what is known about each part of the task.

    Later thoughts repeat its phrases, so a small policy looks the skills up once.
    """
    parts = []
    unknown = {
      f"place:{self._kind}": f"find {self._noun}",
      self._own_slot: f"try {'safe' if self._own_slot == 'lock' else self._own_slot}",
    }
    for slot, otherwise in unknown.items():
      value = next(iter(self._trusted[slot]), None)
      parts.append(otherwise if value is None else sentences.rule_phrase(slot, value))
    if self._target:
      parts.append(f"{self._noun} in {self._target}")
    return ", ".join(parts)

  def _notes(self, known: Mapping[str, rules.Value]) -> list[str]:
    """What the last observation has revealed beyond `known` and beyond the skills.

    Written down next to the observation, it need not be searched for in the review.
    """
    return [
      sentences.rule_note(slot, value)
      for slot, value in self.known.items()
      if known.get(slot) != value and (slot, value) not in self._told
    ]

  def _verb(self, slot: str) -> str:
    return "look under" if slot == "look" else f"{slot} with"

  def _held_goal(self) -> list[str]:
    return [item for item in self._held if item.split()[0] == self._noun]

  def _fetch(self) -> tuple[str, str]:
    for item, place in self._found.items():
      if self._at != f"{place} 1":
        return f"take {self._noun}", f"go to {place} 1"
      return f"find {item}", f"take {item} from {place} 1"
    slot = f"place:{self._kind}"
    places = [name for name in self._options[slot] if name not in self._opened]
    if not places:
      return "lost", "look"
    place, looked = places[0], self._at.removesuffix(" 1") in self._opened
    thought = f"find {self._noun} not here" if looked else f"find {self._noun}"
    if place in self._trusted[slot]:
      thought = f"use {self._kind} {place}"
    return thought, self._approach(place)

  def _approach(self, place: str) -> str:
    """Go there, or open it once there."""
    if self._at != f"{place} 1":
      return f"go to {place} 1"
    return f"open {place} 1"

  def _first(self, slot: str, tool: str) -> str:
    """The precondition that the agent expects of an appliance."""
    beliefs = [self.known[slot]] if slot in self.known else self._trusted[slot]
    return next((value.first for value in beliefs if value.tool == tool), "none")

  def _preparation(self, slot: str, tool: str, first: str) -> str:
    if first in ("none", "clean"):
      return ""
    return tasks.preparation(slot, tool, first)

  def _treat(self, slot: str) -> tuple[str, str]:
    """Heat, cool or clean the object in the hand."""
    if not self._options[slot]:
      return "lost", "look"
    tool = self._options[slot][0]
    if slot in self.known:
      tool = self.known[slot].tool
    first = self._first(slot, tool)
    if first == "clean" and slot != "clean" and "clean" not in self._treated:
      return self._treat("clean")
    sure = slot in self.known or any(_tool(v) == tool for v in self._trusted[slot])
    if self._at != f"{tool} 1":
      return f"{self._verb(slot)} {tool}" if sure else f"try {tool}", f"go to {tool} 1"
    preparation = self._preparation(slot, tool, first)
    if preparation and slot not in self._ready:
      return f"first {preparation.split()[0]}", preparation
    item = self._held_goal()[0]
    return f"{slot} {self._noun}", f"{slot} {item} with {tool} 1"

  def _light(self) -> tuple[str, str]:
    if not self._options["look"]:
      return "lost", "look"
    tool = self._options["look"][0]
    first = self._first("look", tool)
    sure = any(_tool(value) == tool for value in self._trusted["look"])
    if self._at != f"{tool} 1":
      return f"{self._verb('look')} {tool}" if sure else f"try {tool}", f"go to {tool} 1"
    preparation = self._preparation("look", tool, first)
    if preparation and "look" not in self._ready:
      return f"first {preparation.split()[0]}", preparation
    return f"look at {self._noun}", f"use {tool} 1"

  def _store(self) -> tuple[str, str]:
    item = self._held_goal()[0]
    thought = f"{self._noun} in {self._target}"
    if self._at != f"{self._target} 1":
      return thought, f"go to {self._target} 1"
    if self._target == "safe" and "lock" not in self.known:
      if not self._options["lock"]:
        return "lost", "look"
      device = self._options["lock"][0]
      sure = device in self._trusted["lock"]
      return f"safe opens by {device}" if sure else f"try {device}", f"use {device} 1"
    if f"{self._target} 1" in self._shut:
      return thought, f"open {self._target} 1"
    return thought, f"move {item} to {self._target} 1"


def _tool(value: rules.Value) -> str:
  """The appliance, place or device that a rule value names."""
  return value.tool if isinstance(value, rules.Method) else value
