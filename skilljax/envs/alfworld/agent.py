"""Scripted agents that play ALFWorld by reading and writing text only.

`WalkthroughAgent` knows the game's own plan; `ExplorerAgent` knows only what it has read
and searches. Both give cold-start demonstrations in the policy's own format.

Must not know about: the engine, games, models, skill banks.
"""

import random
import re
from collections.abc import Sequence

from skilljax.envs.alfworld import review
from skilljax.envs.alfworld.goals import (
  APPLIANCE_OF,
  GOAL_MARK,
  likely_places,
  parse_goal,
)
from skilljax.envs.replies import REVIEW_MARK, act_reply

_CLOSABLE = ("cabinet", "drawer", "fridge", "microwave", "safe")
_THING = re.compile(r"\ban? (\w+ \d+)")
_ROOM = re.compile(r"Looking quickly around you, you see (.*?)\.", re.DOTALL)
_CONTENTS = re.compile(r"(?:On the (\w+ \d+)|In it), you see (.*?)\.")
_TAKEN = re.compile(r"You pick up the (\w+ \d+) from the (\w+) \d+")
_MOVED = re.compile(r"You move the (\w+ \d+) to the (\w+ \d+)")
_NOTHING = "Nothing happens."
_SUCCESS = "Outcome: success"


class WalkthroughAgent:
  """Plays a game's own plan. One instance plays one episode."""

  def __init__(self, walkthrough: Sequence[str]):
    """Takes the plan, one command each, as `AlfworldSource.walkthrough` gives it."""
    self._plan = tuple(walkthrough)
    self._turn = 0
    self._found_at = ""

  def reply(self, context_text: str) -> str:
    """Answers the newest piece of context: an opening, an observation or a review.

    Raises:
      ValueError: an opening without a goal that can be read.
    """
    text, mark, rest = context_text.partition(REVIEW_MARK)
    if GOAL_MARK in text:
      self._goal = parse_goal(text)
      self._shown = review.read_shown(text)
    if taken := _TAKEN.search(text):
      self._found_at = taken[2]
    if mark:
      return review.review_reply(
        self._goal, self._shown, success=_SUCCESS in rest, found_at=self._found_at
      )
    action = self._plan[self._turn] if self._turn < len(self._plan) else "look"
    thought = self._thought()
    self._turn += 1
    return act_reply(thought, action)

  def _thought(self) -> str:
    """What the next command that changes the world is for."""
    for position, command in enumerate(self._plan[self._turn :]):
      verb, thing = command.split()[:2]
      if verb in ("go", "open", "close"):
        continue
      if verb == "take" and position:
        return f"find {thing}"
      *_, place, number = command.split()
      return _THOUGHTS[verb].format(noun=thing, place=place, number=number)
    return "done"


_THOUGHTS = {
  "take": "take {noun}",
  "move": "put {noun} in {place}",
  "use": "use {noun}",
  "heat": "heat {noun} with {place} {number}",
  "cool": "cool {noun} with {place} {number}",
  "clean": "clean {noun} with {place} {number}",
}


def thought_after(observation: str, thought: str) -> str:
  """A thought as it is written after an observation: a refusal is said first.

  So no turn looks like the one that was refused: a small policy copies.
  """
  return f"refused, {thought}" if _NOTHING in observation else thought


class ExplorerAgent:
  """Searches likely places first, in a seeded order. One instance plays one episode.

  Skills in its prompt are followed: a named place is searched first, a named appliance
  is tried first.

  Attributes:
    thought, action: of the last task turn, as if nothing had been refused.
  """

  def __init__(self, *, seed: int):
    """`seed` decides the order among places that are about equally likely."""
    self._rng = random.Random(f"alfworld/explorer/{seed}")
    self.thought, self.action = "", ""

  def reply(self, context_text: str) -> str:
    """As `WalkthroughAgent.reply`."""
    text, mark, rest = context_text.partition(REVIEW_MARK)
    if GOAL_MARK in text:
      self._open_episode(text)
    else:
      self._absorb(text)
    if mark:
      return review.review_reply(
        self._goal, self._shown, success=_SUCCESS in rest, found_at=self._found_at
      )
    self.thought, self.action = self._decide()
    return act_reply(thought_after(text, self.thought), self.action)

  def overrule(self, action: str) -> None:
    """Says that another command was sent than the last `action`.

    If nothing comes of it, the player goes on as if it had not been sent.
    """
    self.action, self._overruled = action, True

  def _open_episode(self, text: str):
    self._goal = parse_goal(text)
    self._shown = review.read_shown(text)
    room = _ROOM.search(text.rpartition(GOAL_MARK)[0])
    self._places = _THING.findall(room[1]) if room else []
    self._overruled = False
    self._at = ""
    self._shut: set[str] = set()
    self._searched: set[str] = set()
    self._unread: set[str] = set()  # in reach, but what it holds was not told
    self._seen: dict[str, str] = {}  # thing: place
    self._held = ""
    self._treated = False
    self._found_at = ""
    self._stored: dict[str, str] = {}  # thing: place
    self._refused: set[str] = set()  # places and appliances that did not work
    self._order = {
      noun: self._search_order(noun)
      for noun in (self._goal.noun, self._goal.lamp)
      if noun
    }

  def _search_order(self, noun: str) -> list[str]:
    """Likely kinds of places first; those of one kind by number.

    So the next place mostly follows from the last, and need not be searched for in all
    that was visited.
    """
    hinted, likely = review.hinted_places(self._shown, noun), likely_places(noun)

    def cost(kind: str) -> float:
      if kind in hinted:  # before all others
        return hinted.index(kind) - len(hinted) - 10.0
      rank = likely.index(kind) if kind in likely else len(likely) + 2
      if kind == self._goal.target and self._goal.family == "pick_and_place":
        rank += len(likely)  # what must go there is not there
      return rank + (1.0 if kind in _CLOSABLE else 0.0) + self._rng.gauss(0.0, 0.7)

    kinds = sorted({place.split()[0] for place in self._places})
    costs = {kind: cost(kind) for kind in kinds}

    def order(place: str) -> tuple[float, int]:
      kind, number = place.split()
      return costs[kind], int(number)

    return sorted(self._places, key=order)

  # Reading.

  def _absorb(self, text: str):
    overruled, self._overruled = self._overruled, False
    if overruled and _NOTHING in text:
      return
    words = self.action.split()
    name = " ".join(words[-2:])
    if words[0] == "examine":
      self._unread.discard(name)
    if _NOTHING in text:
      self._absorb_refusal(words, name)
      return
    if words[0] == "go":
      self._at = name
      self._searched.add(name)
    for place in re.findall(r"The (\w+ \d+) is closed", text):
      self._shut.add(place)
      self._searched.discard(place)
    for place in re.findall(r"The (\w+ \d+) is open", text):
      self._shut.discard(place)
      self._searched.add(place)
    for place, things in _CONTENTS.findall(text):
      self._seen.update(dict.fromkeys(_THING.findall(things), place or self._at))
    if taken := _TAKEN.search(text):
      self._held, self._found_at = taken[1], taken[2]
      self._seen.pop(taken[1], None)
    if moved := _MOVED.search(text):
      self._held = ""
      done = moved[2].split()[0] == self._goal.target and not self._untreated()
      (self._stored if done else self._seen)[moved[1]] = moved[2]
    if words[0] == self._goal.family and words[0] in APPLIANCE_OF:
      self._treated = True

  def _absorb_refusal(self, words: list[str], name: str):
    if words[0] == "go":
      # It stands where the agent stands: things there are in reach without going.
      self._at = name
      self._unread.add(name)
      self._searched.add(name)
    elif words[0] == "take":
      self._seen.pop(" ".join(words[1:3]), None)
    else:
      self._refused.add(name)

  # Acting.

  def _decide(self) -> tuple[str, str]:
    goal = self._goal
    if not self._held:
      return self._fetch()
    if goal.lamp:
      return self._use_lamp()
    if self._untreated():
      return self._treat(goal.family)
    return self._store()

  def _untreated(self) -> bool:
    return self._goal.family in APPLIANCE_OF and not self._treated

  def _fetch(self) -> tuple[str, str]:
    noun = self._goal.noun
    for thing, place in self._seen.items():
      # Of two that are wanted at the target, one that is there already may stay.
      stays = self._goal.count == 2 and place.split()[0] == self._goal.target
      if thing.split()[0] != noun or thing in self._stored or stays:
        continue
      if self._at != place:
        return f"take {noun}", f"go to {place}"
      return f"find {thing}", f"take {thing} from {place}"
    return self._search(noun)

  def _search(self, noun: str) -> tuple[str, str]:
    """(thought, action) of looking for an object type; skills are cited."""
    action = self._explore(noun)
    if action.startswith("go ") and self._at in self._searched:
      return f"find {noun} not here", action
    kind = action.split()[-2] if action.startswith("go ") else ""
    if kind in review.hinted_places(self._shown, noun):
      return f"find {noun} in {kind}", action
    return f"find {noun}", action

  def _explore(self, noun: str) -> str:
    if self._at in self._shut and self._at not in self._refused:
      return f"open {self._at}"
    if self._at in self._unread:
      return f"examine {self._at}"
    for place in self._order[noun]:
      if place not in self._searched:
        return f"go to {place}"
    return "look"

  def _use_lamp(self) -> tuple[str, str]:
    lamp = self._goal.lamp
    for thing, place in self._seen.items():
      if thing.split()[0] == lamp:
        action = f"use {thing}" if self._at == place else f"go to {place}"
        return f"use {lamp}", action
    return self._search(lamp)

  def _treat(self, verb: str) -> tuple[str, str]:
    tools = [review.hinted_tool(self._shown, verb), APPLIANCE_OF[verb]]
    kind = APPLIANCE_OF[verb].split()[0]
    tools += [place for place in self._places if place.split()[0] == kind]
    for tool in tools:
      if tool in self._places and tool not in self._refused:
        thought = f"{verb} {self._goal.noun} with {tool}"
        if self._at != tool:
          return thought, f"go to {tool}"
        return thought, f"{verb} {self._held} with {tool}"
    return "lost", "look"

  def _store(self) -> tuple[str, str]:
    thought = f"put {self._goal.noun} in {self._goal.target}"
    taken = [*self._stored.values(), *self._homes()]
    places = [place for place in self._places if place.split()[0] == self._goal.target]
    # Two objects must share one receptacle, so the one that has the first comes first.
    for place in sorted(places, key=lambda p: p not in taken):
      if place in self._refused:
        continue
      if self._at != place:
        return thought, f"go to {place}"
      if place in self._shut:
        return thought, f"open {place}"
      return thought, f"move {self._held} to {place}"
    return "lost", "look"

  def _homes(self) -> list[str]:
    """Receptacles that hold an object of the wanted kind already."""
    noun = self._goal.noun
    return [place for thing, place in self._seen.items() if thing.split()[0] == noun]
