"""The running world of `household`: commands in, short regular sentences out.

Purpose: one episode of one task under the hidden rules of its estate. Rewards come from
the state alone.
Must not know about: skills, agents, prompts, models.
"""

from collections.abc import Callable

from skilljax.envs.household import rules, source, tasks
from skilljax.types import Observation, Task

NOTHING = "Nothing happens."
MAX_HELD = 2
_DONE = {"heat": "hot", "cool": "cool", "clean": "clean"}


def things_of(spec: tasks.TaskSpec) -> tuple[str, ...]:
  """What stands in the room of a task, in alphabetical order, without the ' 1'.

  A room holds the places and what the family can need, to keep prompts short.
  """
  if spec.target == "safe":
    extra = ("safe", *rules.DEVICES)
  elif spec.family == "look_in_light":
    extra = (*rules.TOOLS["look"], "switch", "curtain")
  elif spec.family == "clean":
    extra = rules.TOOLS["clean"]
  else:  # hot and cool things may have to be cleaned first
    extra = (*rules.TOOLS[spec.family], *rules.TOOLS["clean"])
  return tuple(sorted((*rules.PLACES, *extra)))


class HouseholdEnv:
  """One episode at a time (Env protocol)."""

  def __init__(self, settings: source.HouseholdSettings | None = None):
    self._settings = settings or source.HouseholdSettings()
    self._ended = True
    self._verbs: dict[str, Callable[[list[str]], str]] = {
      "go": self._go,
      "open": self._open,
      "close": self._close,
      "take": self._take,
      "move": self._move,
      "heat": self._treat,
      "cool": self._treat,
      "clean": self._treat,
      "use": self._use,
      "examine": self._examine,
      "look": self._look,
      "inventory": self._inventory,
    }

  def reset(self, task: Task) -> Observation:
    """Starts an episode.

    Raises:
      ValueError: the task is not one of `household`, or its split or family is not the
        one of its name.
    """
    index, position = tasks.parse_name(task)
    estate = rules.draw_estate(index)
    spec = tasks.task_spec(estate, position, task.seed)
    expected = ("household", rules.split_of(index), spec.family)
    if (task.env, task.split, task.family) != expected:
      raise ValueError(
        f"task {task.name!r} has (env, split, family) = {expected}, not "
        f"{(task.env, task.split, task.family)}"
      )
    self._spec = spec
    self._rules = estate.as_dict()
    self._cap = len(tasks.oracle_plan(estate, spec)) + self._settings.slack
    self._turn = 0
    self._ended = self._success = False
    self._lay_out(spec)
    text = (
      f"You are in the middle of a room. You see {_listing(sorted(self._room))}.\n\n"
      f"Your task is to: {spec.goal}"
    )
    return self._observe(text, reset=True)

  def _lay_out(self, spec: tasks.TaskSpec) -> None:
    """Puts everything where it is at the start of an episode."""
    self._room = frozenset(f"{thing} 1" for thing in things_of(spec))
    self._at = ""
    self._held: list[str] = []
    self._shut = {f"{place} 1" for place in rules.CLOSED_PLACES}
    self._locked = spec.target == "safe"
    self._goal_items = tuple(f"{spec.noun} {n + 1}" for n in range(spec.count))
    self._inside: dict[str, list[str]] = {f"{place} 1": [] for place in rules.PLACES}
    if self._locked:
      self._inside["safe 1"] = []
    for item in sorted((*self._goal_items, *(f"{other} 1" for other in spec.others))):
      kind = rules.KIND_OF[item[:-2]]
      self._inside[f"{self._rules[f'place:{kind}']} 1"].append(item)
    self._state: dict[str, set[str]] = {}  # object: adjectives
    # What still stands in the way of each working appliance: 'on', 'close', 'empty'.
    self._blocked = {
      f"{method.tool} 1": method.first
      for slot, method in self._rules.items()
      if slot in rules.TOOLS and method.first in tasks.OBSTACLES
    }

  def step(self, action: str) -> Observation:
    """Runs one command. Unknown or impossible ones answer 'Nothing happens.'.

    Raises:
      RuntimeError: no episode is open.
    """
    if self._ended:
      raise RuntimeError("step() needs an open episode: call reset(task) first")
    words = action.lower().split()
    handler = self._verbs.get(words[0]) if words else None
    text = handler(words) if handler else NOTHING
    self._turn += 1
    return self._observe(text)

  def close(self) -> None:
    """Ends the episode; nothing else is held."""
    self._ended = True

  def _observe(self, text: str, *, reset: bool = False) -> Observation:
    truncated = not self._success and self._turn >= self._cap
    self._ended = self._success or truncated
    offer = self._settings.admissible and not self._ended
    return Observation(
      text=text,
      reward=1.0 if self._success else 0.0,
      terminated=self._success,
      truncated=truncated,
      success=self._success,
      admissible=self.admissible() if offer else (),
      goal=self._spec.goal if reset else "",
      max_turns=self._cap if reset else 0,
    )

  # Commands. Each gets the words of the command and returns the answer.

  def _go(self, words: list[str]) -> str:
    place = _name(words, 2)
    if words[1:2] != ["to"] or place not in self._room or place == self._at:
      return NOTHING
    if place[:-2] in rules.DEVICES or place in ("switch 1", "curtain 1"):
      return NOTHING
    self._at = place
    return f"You arrive at {place}.{self._contents(place)}"

  def _open(self, words: list[str]) -> str:
    place = _name(words, 1)
    if place == self._at == "safe 1" and self._locked:
      return "The safe 1 is locked."
    if place != self._at or place not in self._shut:
      return NOTHING
    self._shut.discard(place)
    return f"You open the {place}.{self._contents(place)}"

  def _close(self, words: list[str]) -> str:
    name = _name(words, 1)
    if name == "curtain 1" and name in self._room:
      return self._draw("close", "You close the curtain 1.")
    if name != self._at:
      return NOTHING
    if self._blocked.get(name) == "close" and name[:-2] not in rules.TOOLS["look"]:
      del self._blocked[name]
      return f"You close the {name}."
    if name[:-2] in rules.CLOSED_PLACES and name not in self._shut:
      self._shut.add(name)
      return f"You close the {name}."
    return NOTHING

  def _draw(self, first: str, answer: str) -> str:
    """Switch and curtain: they act on the lamp from anywhere."""
    lamp = f"{self._rules['look'].tool} 1"
    if self._blocked.get(lamp) != first:
      return NOTHING
    del self._blocked[lamp]
    return answer

  def _take(self, words: list[str]) -> str:
    item, place = _pair(words, "from")
    if not place or place != self._at or len(self._held) >= MAX_HELD:
      return NOTHING
    if item == "tray 1" and self._blocked.get(place) == "empty":
      del self._blocked[place]
    elif place in self._inside:
      if place in self._shut:
        return f"The {place} is closed."
      if item not in self._inside[place]:
        return NOTHING
      self._inside[place].remove(item)
    else:
      return NOTHING
    self._held.append(item)
    return f"You take the {item}."

  def _move(self, words: list[str]) -> str:
    item, place = _pair(words, "to")
    if item not in self._held or place != self._at or place not in self._inside:
      return NOTHING
    if place == "safe 1" and self._locked:
      return "The safe 1 is locked."
    if place in self._shut:
      return f"The {place} is closed."
    self._held.remove(item)
    self._inside[place].append(item)
    self._success = self._stored()
    return f"You move the {item} to the {place}."

  def _stored(self) -> bool:
    """Whether the goal of a put task holds."""
    spec = self._spec
    if not spec.target:
      return False
    inside = self._inside[f"{spec.target} 1"]
    needed = _DONE.get(spec.family)
    return all(
      item in inside and (needed is None or needed in self._state.get(item, ()))
      for item in self._goal_items
    )

  def _obstacle(self, tool: str) -> str:
    """Why an appliance refuses to work, '' if it does not."""
    method = self._rules[rules.TOOL_SLOT[tool[:-2]]]
    if tool != f"{method.tool} 1":
      return f"The {tool} is broken."
    first = self._blocked.get(tool)
    slot = rules.TOOL_SLOT[method.tool]
    return "" if first is None else tasks.obstacle(slot, method.tool, first)

  def _treat(self, words: list[str]) -> str:
    verb = words[0]
    item, tool = _pair(words, "with")
    if item not in self._held or tool != self._at or tool[:-2] not in rules.TOOLS[verb]:
      return NOTHING
    if item == "tray 1":
      return NOTHING
    obstacle = self._obstacle(tool)
    if obstacle:
      return obstacle
    state = self._state.setdefault(item, set())
    if self._rules[verb].first == "clean" and "clean" not in state:
      return f"The {item} is dirty."
    state.add(_DONE[verb])
    return f"You {verb} the {item}."

  def _use(self, words: list[str]) -> str:
    name = _name(words, 1)
    if name not in self._room:
      return NOTHING
    if name == "switch 1":
      return self._draw("on", "You turn on the switch 1.")
    if name[:-2] in rules.DEVICES:
      if not self._locked or name != f"{self._rules['lock']} 1":
        return NOTHING
      self._locked = False
      return "The safe 1 opens."
    if name != self._at or name[:-2] not in rules.TOOL_SLOT:
      return NOTHING
    if rules.TOOL_SLOT[name[:-2]] == "look":
      obstacle = self._obstacle(name)
      if obstacle:
        return obstacle
      if self._spec.family == "look_in_light":
        self._success = self._goal_items[0] in self._held
      return f"You turn on the {name}."
    if self._obstacle(name).endswith("broken."):
      return f"The {name} is broken."
    if self._blocked.get(name) != "on":
      return NOTHING
    del self._blocked[name]
    return f"You turn on the {name}."

  def _examine(self, words: list[str]) -> str:
    name = _name(words, 1)
    if name in self._held:
      state = " ".join(sorted(self._state.get(name, ())))
      return f"The {name} is {state}." if state else f"The {name} is plain."
    if name and name == self._at:
      return f"You are at {name}.{self._contents(name)}"
    return NOTHING

  def _look(self, words: list[str]) -> str:
    if len(words) > 1:
      return NOTHING
    if not self._at:
      return "You are in the middle of a room."
    return f"You are at {self._at}.{self._contents(self._at)}"

  def _inventory(self, words: list[str]) -> str:
    if len(words) > 1:
      return NOTHING
    return f"You carry {_listing(self._held)}."

  def _contents(self, place: str) -> str:
    """' You see …' of a place, '' of an appliance."""
    if place == "safe 1" and self._locked:
      return " The safe 1 is locked."
    if place in self._shut:
      return f" The {place} is closed."
    if place not in self._inside:
      return ""
    return f" You see {_listing(self._inside[place])}."

  def admissible(self) -> tuple[str, ...]:
    """Commands that are well formed here, in a stable order.

    They follow from what the policy can see, so they do not give the rules away.
    """
    here, slot = self._at, rules.TOOL_SLOT.get(self._at[:-2])
    commands = ["look", "inventory"]
    for name in sorted(self._room):
      fixture = name in ("switch 1", "curtain 1")
      if name[:-2] in rules.DEVICES or name == "switch 1":
        commands.append(f"use {name}")
      elif name == "curtain 1":
        commands.append("close curtain 1")
      if not fixture and name[:-2] not in rules.DEVICES and name != here:
        commands.append(f"go to {name}")
    commands += [f"examine {name}" for name in (here, *self._held) if name]
    if here[:-2] in rules.CLOSED_PLACES:
      commands.append(f"{'open' if here in self._shut else 'close'} {here}")
    if here in self._inside and here not in self._shut:
      if len(self._held) < MAX_HELD:
        commands += [f"take {item} from {here}" for item in self._inside[here]]
      if here != "safe 1" or not self._locked:
        commands += [f"move {item} to {here}" for item in self._held]
    if slot:
      commands += [f"use {here}"]
      if slot != "look":
        commands += [f"close {here}", f"take tray 1 from {here}"]
        held = (item for item in self._held if item != "tray 1")
        commands += [f"{slot} {item} with {here}" for item in held]
    return tuple(commands)


def _name(words: list[str], start: int) -> str:
  """'apple 1' out of the last two words of a command; '' if it has another length."""
  return " ".join(words[start:]) if len(words) == start + 2 else ""


def _pair(words: list[str], link: str) -> tuple[str, str]:
  """('apple 1', 'shelf 1') out of 'verb apple 1 <link> shelf 1', else ('', '')."""
  if len(words) != 6 or words[3] != link:
    return "", ""
  return f"{words[1]} {words[2]}", f"{words[4]} {words[5]}"


def _listing(names) -> str:
  return ", ".join(f"a {name}" for name in names) if names else "nothing"
