"""Strict, total readers of what the policy wrote, and their inverses.

A reader answers any string with a value or with one short, stable reason; it never
raises and never guesses. What is almost right is rejected: a policy that is paid for
sloppy output learns sloppy output.
Must not know about: banks (does the skill exist?), environments, token ids.
"""

import dataclasses
import json
import re
from collections.abc import Collection

from skilljax.data.tokenizer import AGENT_TAGS
from skilljax.types import Edit

# Tool name -> (edit kind, required string arguments in their written order).
TOOLS = {
  "propose_skill": (
    "propose",
    ("category", "title", "principle", "when_to_apply", "evidence"),
  ),
  "update_skill": (
    "update",
    ("skill_id", "title", "principle", "when_to_apply", "reason"),
  ),
  "keep_skill": ("keep", ("reason",)),
}

MAX_RESPONSE_CHARS = 16_384
MAX_ACTION_CHARS = 256
MAX_CODE_CHARS = 8_192
MAX_FIELD_CHARS = 1_024

_LINES = str.maketrans("", "", "\n\t")
_CONTROL = re.compile(r"<\|[^|<>\s]{1,64}\|>")
# First words of names that a policy uses when it plays on instead of reviewing.
_ACTION_WORDS = (
  *("act", "action", "buy", "clean", "click", "close", "cool", "examine", "go", "heat"),
  *("help", "inventory", "look", "move", "open", "put", "search", "step", "take", "use"),
)
_PLACEHOLDERS = (
  *("string", "str", "text", "todo", "tbd", "none", "null", "n/a", "na", "xxx"),
  *("placeholder", "example"),
)
_BRACKETED = re.compile(r"<[^<>]*>|\[[^\[\]]*\]|\{[^{}]*\}")

_BLOCK_REASONS = (
  "too_long",  # the response, the action or an argument
  "control_token",  # spells a chat template's control token
  "no_think",
  "text_before_think",
  "unclosed_think",
  "several_thinks",
  "tag_in_think",
  "text_between",  # between the two blocks
  "trailing_text",
  "unprintable",
)
ACTION_REJECTIONS = (
  *_BLOCK_REASONS,
  *("no_action", "unclosed_action", "several_actions", "tag_in_action", "empty_action"),
)
EDIT_REJECTIONS = (
  *_BLOCK_REASONS,
  *("no_call", "unclosed_call", "several_calls", "tag_in_call"),
  "action_in_review",
  "bad_json",
  "duplicate_key",
  "not_finite",  # NaN or Infinity
  "not_an_object",  # the call or its arguments
  "call_fields",  # keys other than exactly name and arguments
  "environment_tool",  # the name of an environment action
  "unknown_tool",
  "missing_field",
  "extra_field",
  "wrong_type",
  "empty_field",
  "placeholder",
  "wrong_category",
)


@dataclasses.dataclass(frozen=True)
class ParsedAction:
  """An action, or why there is none (`ACTION_REJECTIONS`); exactly one is ''."""

  action: str
  rejection: str
  think: str = ""


@dataclasses.dataclass(frozen=True)
class ParsedEdit:
  """An edit, or why there is none (`EDIT_REJECTIONS`); exactly one is set."""

  edit: Edit | None
  rejection: str
  think: str = ""


class _Rejected(Exception):
  """Carries a reason from a rule to its reader; never leaves this file."""


def parse_action(text: str, *, code: bool = False) -> ParsedAction:
  """Reads `<think>…</think><action>…</action>`; white space around blocks is allowed.

  The action is stripped, lower-cased and its white space folded.

  Args:
    text: the whole response.
    code: actions are program text, in which case and lines matter: only stripped.
  """
  try:
    think, body = _two_blocks(text, "action", "action")
    action = body.strip() if code else _fold(body).lower()
    _require(action, "empty_action")
    _require(len(action) <= (MAX_CODE_CHARS if code else MAX_ACTION_CHARS), "too_long")
    shown = action.translate(_LINES) if code else action
    _require(shown.isprintable(), "unprintable")
  except _Rejected as rejected:
    return ParsedAction("", str(rejected))
  return ParsedAction(action, "", think)


def parse_edit(text: str, categories: Collection[str]) -> ParsedEdit:
  """Reads `<think>…</think><tool_call>{"name": …, "arguments": {…}}</tool_call>`.

  Arguments are stripped and their white space folded.

  Args:
    text: the whole response.
    categories: what `propose_skill` may name: the task's family and 'general'.
  """
  try:
    _require("<tool_call>" in text or "<action>" not in text, "action_in_review")
    think, body = _two_blocks(text, "tool_call", "call")
    kind, fields = _read_call(body)
    if kind == "propose":
      _require(fields["category"] in categories, "wrong_category")
  except _Rejected as rejected:
    return ParsedEdit(None, str(rejected))
  return ParsedEdit(Edit(kind=kind, **fields), "", think)


def format_action(think: str, action: str) -> str:
  """The response that `parse_action` reads as (action, think).

  Raises:
    ValueError: no response does (tags inside, upper case, double spaces, …).
  """
  text = f"<think>{think}</think><action>{action}</action>"
  parsed = parse_action(text)
  if (parsed.action, parsed.think) != (action, think):
    raise ValueError(
      f"action={action!r} with think={think!r} cannot be written: "
      f"{parsed.rejection or 'they would be read back normalised'}"
    )
  return text


def format_edit(think: str, edit: Edit) -> str:
  """The response that `parse_edit` reads as (edit, think).

  Raises:
    ValueError: no response does (kind 'retire', empty or placeholder fields, …).
  """
  names = [name for name, (kind, _) in TOOLS.items() if kind == edit.kind]
  if not names:
    kinds = [kind for kind, _ in TOOLS.values()]
    raise ValueError(f"edit.kind={edit.kind!r} has no tool; allowed: {kinds}")
  values = dataclasses.asdict(edit)
  arguments = {field: values[_edit_field(field)] for field in TOOLS[names[0]][1]}
  call = json.dumps({"name": names[0], "arguments": arguments}, ensure_ascii=False)
  text = f"<think>{think}</think><tool_call>{call}</tool_call>"
  parsed = parse_edit(text, (edit.category,))
  if (parsed.edit, parsed.think) != (edit, think):
    raise ValueError(
      f"{edit} with think={think!r} cannot be written: "
      f"{parsed.rejection or 'it would be read back normalised'}"
    )
  return text


def _require(condition: object, reason: str):
  if not condition:
    raise _Rejected(reason)


def _edit_field(argument: str) -> str:
  """The field of `Edit` that holds an argument."""
  return "reason" if argument == "evidence" else argument


def _fold(text: str) -> str:
  return " ".join(text.split())


def _two_blocks(text: str, tag: str, noun: str) -> tuple[str, str]:
  """The contents of one think block and one `tag` block, and nothing beside them."""
  _require(len(text) <= MAX_RESPONSE_CHARS, "too_long")
  _require(not _CONTROL.search(text), "control_token")
  text = text.strip()
  _require("<think>" in text, "no_think")
  _require(text.startswith("<think>"), "text_before_think")
  think, closed, rest = text.removeprefix("<think>").partition("</think>")
  _require(closed, "unclosed_think")
  _require("<think>" not in think + rest and "</think>" not in rest, "several_thinks")
  _require(not any(name in think for name in AGENT_TAGS), "tag_in_think")
  between, opened, rest = rest.partition(f"<{tag}>")
  _require(opened, f"no_{noun}")
  _require(not between.strip(), "text_between")
  body, closed, trailing = rest.partition(f"</{tag}>")
  _require(closed, f"unclosed_{noun}")
  _require(f"<{tag}>" not in rest and f"</{tag}>" not in trailing, f"several_{noun}s")
  _require(not any(name in body for name in AGENT_TAGS), f"tag_in_{noun}")
  _require(not trailing.strip(), "trailing_text")
  return think, body


def _unique_keys(pairs: list[tuple[str, object]]) -> dict[str, object]:
  record = dict(pairs)
  _require(len(record) == len(pairs), "duplicate_key")
  return record


def _not_finite(name: str):
  raise _Rejected("not_finite")


def _read_call(body: str) -> tuple[str, dict[str, str]]:
  """Edit kind and the fields of `Edit` from the JSON text of a call."""
  try:
    call = json.loads(body, object_pairs_hook=_unique_keys, parse_constant=_not_finite)
  except (ValueError, RecursionError):  # not JSON, endless digits, nested too deeply
    raise _Rejected("bad_json") from None
  _require(isinstance(call, dict), "not_an_object")
  _require(call.keys() == {"name", "arguments"}, "call_fields")
  name, arguments = call["name"], call["arguments"]
  _require(isinstance(name, str), "wrong_type")
  if name not in TOOLS:
    first = re.split(r"[^a-z]+", name.lower().strip(), maxsplit=1)[0]
    raise _Rejected("environment_tool" if first in _ACTION_WORDS else "unknown_tool")
  _require(isinstance(arguments, dict), "not_an_object")
  kind, required = TOOLS[name]
  _require(arguments.keys() >= set(required), "missing_field")
  _require(arguments.keys() <= set(required), "extra_field")
  return kind, {
    _edit_field(field): _read_field(field, arguments[field]) for field in required
  }


def _read_field(field: str, value: object) -> str:
  _require(isinstance(value, str), "wrong_type")
  value = _fold(value)
  _require(value, "empty_field")
  _require(len(value) <= MAX_FIELD_CHARS, "too_long")
  # JSON escapes can spell what text cannot hold: control characters, lone surrogates.
  _require(value.isprintable(), "unprintable")
  # …and what the rules for the raw response do not see (`\u003c|end|>`).
  _require(not _CONTROL.search(value), "control_token")
  _require(not any(name in value for name in AGENT_TAGS), "tag_in_call")
  lowered = value.lower()
  empty = not any(character.isalnum() for character in value)
  _require(
    not empty
    and lowered not in _PLACEHOLDERS
    and lowered != field
    and not _BRACKETED.fullmatch(value),
    "placeholder",
  )
  return value
