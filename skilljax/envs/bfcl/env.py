"""BFCL v4 multi-turn behind the `Env` protocol: a user, tools, a state.

An episode is one conversation of the benchmark. Reset gives the functions and the user's
first message. An action is one or more calls, `[ls(a=True), cd(folder="x")]`, and is
answered with a JSON list of their results; `done` (or `[]`) ends the answer, and the next
message follows. After the last one the package's own checkers compare state and results.

Differences from the benchmark's own loop: text that is neither calls nor `done` is an
error and takes a step, it does not end the answer; arguments must be literals, and may be
given by position.

Must not know about: models, prompts, skills, worker processes.
"""

import functools
import json
from collections.abc import Mapping, Sequence
from typing import Any

from skilljax.envs.base import UnplayableTask
from skilljax.envs.bfcl.data import Benchmark, package_module
from skilljax.envs.bfcl.judge import Judge, RightAnswer, right_answers
from skilljax.envs.bfcl.source import DONE, ENV_NAME, BfclSettings
from skilljax.envs.bfcl.tools import CallError, Toolbox, pack_tools, parse_calls
from skilljax.types import Observation, Task

_RULES = (
  "Answer the user by calls of these functions, as [name(argument=value), ...]. "
  f"When nothing is left to call: {DONE}."
)
# A long history has 84,000 characters, and one action may ask for it many times.
_MAX_ANSWER_CHARS = 100_000
_OVER = "The conversation is over."
_NO_CALL = f"Error: {{}}. Write [name(argument=value), ...] or {DONE}."


class BfclEnv:
  """One conversation at a time (Env protocol)."""

  def __init__(self, settings: BfclSettings):
    """Reads the benchmark (40 ms).

    Raises:
      ModuleNotFoundError: the package is not installed; the message says how.
    """
    self._settings = settings
    self._benchmark = Benchmark()
    # A group plays one task many times in a row.
    self._prepared = functools.lru_cache(maxsize=16)(self._prepare)
    self._doc = functools.cache(self._write_doc)  # no two tools share a name
    prompts = package_module("constants.default_prompts")
    self._more_functions: str = prompts.DEFAULT_USER_PROMPT_FOR_ADDITIONAL_FUNCTION_FC
    self._step_limit: int = prompts.MAXIMUM_STEP_LIMIT
    self._ended = True

  def reset(self, task: Task) -> Observation:
    """Starts a conversation.

    Raises:
      UnplayableTask: not a task of this benchmark.
    """
    if task.env != ENV_NAME or task.name not in self._benchmark.scenarios:
      raise UnplayableTask(f"task {task.key!r} is not one of {ENV_NAME!r}")
    self._scenario = self._benchmark.scenarios[task.name]
    packed, answers = self._prepared(task.name)
    self._tools, self._judge = Toolbox(packed), Judge(answers)
    late = {name for names in self._scenario.held_out.values() for name in names}
    self._turn, self._message, self._steps = 0, 0, 0
    self._ended = False
    goal = self._scenario.messages[0]
    docs = self._benchmark.docs
    shown = [name for c in self._scenario.classes for name in docs[c] if name not in late]
    functions = self._documentation(shown)
    return Observation(
      text=f"{_RULES}\n{functions}\n\nUser: {goal}",
      goal=goal,
      max_turns=self._settings.max_turns,
    )

  def step(self, action: str) -> Observation:
    """Plays calls, or ends the answer; anything else changes nothing but takes a step.

    Raises:
      ValueError: the episode has ended, or was never started.
    """
    if self._ended:
      raise ValueError("step: the episode has ended; call reset first")
    self._turn += 1
    over = False
    if action.strip().lower() in (DONE, "[]"):
      text = self._next_message()
      over = self._message == len(self._scenario.messages)
    else:
      text = self._call(action)
    success = over and self._judge.passed
    out_of_steps = (
      self._steps > self._step_limit or self._turn >= self._settings.max_turns
    )
    self._ended = over or out_of_steps
    return Observation(
      text=text,
      reward=float(success),
      terminated=over,
      truncated=out_of_steps and not over,
      success=success,
    )

  def close(self):
    """Forgets the episode."""
    self._ended = True

  def _call(self, action: str) -> str:
    self._steps += 1
    try:
      calls = parse_calls(action)
    except CallError as error:
      return _NO_CALL.format(error)
    results = [self._tools.run(call) for call in calls]
    self._judge.add(results)
    text = f"[{', '.join(map(_as_json, results))}]"
    if len(text) <= _MAX_ANSWER_CHARS:
      return text
    return f"{text[:_MAX_ANSWER_CHARS]} ... (cut, {len(text)} characters)"

  def _next_message(self) -> str:
    """Ends the answer to a message; the next one, with functions that come with it."""
    self._judge.end_answer(self._tools)
    self._message += 1
    self._steps = 0
    if self._message == len(self._scenario.messages):
      return _OVER
    if self._message not in self._scenario.held_out:
      return f"User: {self._scenario.messages[self._message]}"
    names = self._scenario.held_out[self._message]
    return f"{self._documentation(names)}\n\nUser: {self._more_functions}"

  def _documentation(self, names: Sequence[str]) -> str:
    return "\n".join(map(self._doc, names))

  def _write_doc(self, name: str) -> str:
    docs = self._benchmark.docs
    (doc,) = (docs[c][name] for c in self._scenario.classes if name in docs[c])
    return json.dumps(doc) if self._settings.docs == "full" else signature(doc)

  def _prepare(self, name: str) -> tuple[bytes, tuple[RightAnswer, ...]]:
    scenario = self._benchmark.scenarios[name]
    packed = pack_tools(scenario)
    return packed, right_answers(packed, scenario.truth)


def signature(doc: Mapping[str, Any]) -> str:
  """A function's documentation on one short line: `ls(a: boolean = False)`."""
  parameters = doc["parameters"]
  required = parameters.get("required", ())
  words = []
  for name, about in parameters["properties"].items():
    default = "" if name in required else f" = {about.get('default', 'None')}"
    words.append(f"{name}: {about['type']}{default}")
  return f"{doc['name']}({', '.join(words)})"


def _as_json(result: str) -> str:
  """Dictionaries are JSON already, all else is a string."""
  try:
    told = json.loads(result)
  except (ValueError, RecursionError):
    told = None
  return result if isinstance(told, dict) else json.dumps(result)


def why_unavailable() -> str:
  """Why the benchmark cannot be played here; '' if it can. For tests and notebooks."""
  try:
    Benchmark().scenarios  # noqa: B018
  except ModuleNotFoundError as error:
    return str(error)
  return ""
