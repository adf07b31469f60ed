"""A chat format from the Jinja template of a checkpoint.

A template is a program that prints a whole conversation. Here it prints one of known
words, which tells what stands between texts, and then others, whose ids must be those
that the format puts together; a template that changes what it has printed is refused.
Must not know about: prompts, environments, engines, configs.
"""

import dataclasses
import functools
import itertools
import json
import re
from collections.abc import Callable, Sequence
from typing import Any

import jinja2
import jinja2.ext
from jinja2 import nodes
from jinja2.sandbox import ImmutableSandboxedEnvironment

from skilljax.agents import chat
from skilljax.agents.chat import ChatFormat, Gap
from skilljax.data.tokenizer import Tokenizer

Messages = Sequence[dict[str, str]]

# System text, user, reply, user: words that no template prints of its own.
_WORDS = _SYSTEM, _USER, _REPLY, _NEXT = "Zqsystemqz", "Zquserqz", "Zqreplyqz", "Zqnextqz"
_PADDING = (" \n", "\n ")
_CLEAN: dict[tuple[bool, bool], Callable[[str], str]] = {  # white space that is kept
  (True, True): str,
  (False, True): str.lstrip,
  (True, False): str.rstrip,
  (False, False): str.strip,
}
_THOUGHTS = ("<think>Zqthoughtqz</think>", "<think>\nZqthoughtqz\n</think>\n\n")
_INSTRUCTION = "You act.\nBe short. "
_EXCHANGES = (
  ("\n\nYou see a fridge 1.  ", "Go to fridge 1"),
  ("Nothing happens: {'a': 1}.", "Look again!"),
  ("  Ünïcode 你好, 10 % <html> & more ", "I open the door."),
  ("The last one", ""),
)
# Between the system text and the first user text where a template has no system turn.
_BREAK = "\n\n"


def from_checkpoint(tokenizer: Tokenizer) -> ChatFormat:
  """The format of the chat template that a tokenizer's folder holds.

  The system text stands where the template puts it; in front of the first user text,
  after an empty line, where the template has no system turn (Gemma 2) or moves it along
  (Mistral). Sampling `eos_token` ends a response too.

  Raises:
    ValueError: there is no template, it fails, prints today's date, rewrites what it has
      printed, or opens turns with words that anyone can type. Says what to do instead.
  """
  try:
    template = Template(tokenizer)
    in_front = _lacks_system_turn(template)
    write = functools.partial(_conversation, in_front=in_front)
    found = _cut(tokenizer, template, write)
    _check_thinking(template, write)
    _check_ids(found, template, write)
  except ValueError as error:
    raise ValueError(f"{error}; {_way_out(tokenizer)}") from error
  return found.format


class Template:
  """A compiled template. Its text is a program from outside: it runs in a sandbox."""

  def __init__(self, tokenizer: Tokenizer):
    """Compiles; ValueError if there is no template, or if it is no Jinja."""
    self._tokens = tokenizer.files.special_tokens()
    environment = ImmutableSandboxedEnvironment(
      trim_blocks=True,
      lstrip_blocks=True,
      extensions=[_Generation, jinja2.ext.loopcontrols],
    )
    environment.filters["tojson"] = _to_json
    # No `strftime_now`: with today's date in the prompt no run could be repeated. The
    # templates of Llama 3.2 then print the date of their release.
    environment.globals["raise_exception"] = _refuse
    try:
      self._template = environment.from_string(tokenizer.files.chat_template())
    except jinja2.TemplateError as error:
      raise ValueError(f"the chat template is not valid Jinja: {error}") from error

  def render(self, messages: Messages) -> str:
    """The conversation, up to where the policy speaks; ValueError if that fails."""
    try:
      return self._template.render(
        messages=messages,
        tools=None,
        documents=None,
        add_generation_prompt=True,
        **self._tokens,
      )
    except Exception as error:  # whatever a program can raise
      reason = f"the chat template fails: {error}"
      if "strftime_now" in str(error):
        reason = "the chat template prints today's date, so that no run could be repeated"
      raise ValueError(reason) from error


class _Generation(jinja2.ext.Extension):
  """Reads `{% generation %}`, with which some templates mark what is trained."""

  tags = {"generation"}  # noqa: RUF012  (as Jinja declares it)

  def parse(self, parser: Any) -> Any:
    """What is inside, as if the mark were not there."""
    line = next(parser.stream).lineno
    body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
    return nodes.Scope(body).set_lineno(line)


def _to_json(
  value: Any,
  ensure_ascii: bool = False,
  indent: int | None = None,
  separators: tuple[str, str] | None = None,
  sort_keys: bool = False,
) -> str:
  return json.dumps(
    value,
    ensure_ascii=ensure_ascii,
    indent=indent,
    separators=separators,
    sort_keys=sort_keys,
  )


def _refuse(message: str) -> None:
  raise jinja2.TemplateError(message)


@dataclasses.dataclass(frozen=True)
class _Cut:
  """What was found.

  Attributes:
    format: the pieces.
    reply_lead: white space that the template prints before a reply; the policy samples
      it (Mistral).
  """

  format: ChatFormat
  reply_lead: str


def _conversation(system: str, *texts: str, in_front: bool = False) -> Messages:
  """Messages of the system text, then user and assistant in turn."""
  first = []
  if in_front:
    texts = (system + _BREAK + texts[0], *texts[1:])
  else:
    first = [{"role": "system", "content": system}]
  roles = itertools.cycle(("user", "assistant"))
  return [
    *first,
    *({"role": r, "content": t} for r, t in zip(roles, texts, strict=False)),
  ]


def _lacks_system_turn(template: Template) -> bool:
  """Whether a system message is refused, left out, or not kept where it was."""
  try:
    one = template.render(_conversation(_SYSTEM, _USER))
    two = template.render(_conversation(_SYSTEM, _USER, _REPLY, _NEXT))
  except ValueError:
    return True
  before = two.partition(_USER)[0]
  return one.count(_SYSTEM) != 1 or _SYSTEM not in before


def _cut(
  tokenizer: Tokenizer, template: Template, write: Callable[..., Messages]
) -> _Cut:
  """Cuts a conversation of known words at its control tokens."""
  one = template.render(write(_SYSTEM, _USER))
  two = template.render(write(*_WORDS))
  if not two.startswith(one):
    raise ValueError("the chat template rewrites earlier turns as a conversation grows")
  if any(two.count(word) != 1 for word in _WORDS):
    raise ValueError("the chat template prints a text twice, or not at all")
  first, user, reply, following, last = gaps = _gaps(tokenizer, two)
  if not reply.ids or not following.ids:
    raise ValueError(
      "the chat template separates turns by words that anyone can type, not by control "
      "tokens"
    )
  added = reply.lead.removeprefix(last.lead)
  if reply.ids != last.ids or reply.lead != last.lead + added or added.strip():
    raise ValueError("the chat template opens a reply that is over in another way")
  padded = template.render(write(*(word.join(_PADDING) for word in _WORDS)))
  clean = _cleaning(tokenizer, padded, gaps)
  end, *between = following.ids
  return _Cut(
    ChatFormat(
      tokenizer=tokenizer,
      before_system=dataclasses.replace(first, clean=clean[0]),
      before_user=dataclasses.replace(user, clean=clean[1]),
      before_reply=last,
      after_reply=Gap(tuple(between), following.lead, clean[3]),
      end_id=end,
      stop_ids=tuple(dict.fromkeys((end, *_end_of_text(tokenizer)))),
    ),
    reply_lead=added,
  )


def _end_of_text(tokenizer: Tokenizer) -> tuple[int, ...]:
  name = tokenizer.files.special_tokens().get("eos_token", "")
  return (tokenizer.token_id(name),) if name and tokenizer.has_token(name) else ()


def _gaps(tokenizer: Tokenizer, text: str) -> list[Gap]:
  """What stands before each of `_WORDS`, and at the end of the text."""
  ids, spans = tokenizer.encode_trusted(text)
  controls = [i for i, index in enumerate(ids) if index in tokenizer.special_ids]
  gaps: list[Gap] = []
  begin = at = 0  # the first token and character after the last word
  for word in (*_WORDS, ""):
    start = text.index(word, at) if word else len(text)
    passed = [i for i in controls if i >= begin and spans[i][1] <= start]
    if passed and gaps and spans[passed[0]][0] != at:
      raise ValueError(
        f"the chat template ends a turn with {text[at : spans[passed[0]][0]]!r}, words "
        "that anyone can type, before any control token"
      )
    if passed:
      stop = passed[-1] + 1
      gaps.append(Gap(tuple(ids[begin:stop]), text[spans[stop - 1][1] : start]))
    else:
      gaps.append(Gap((), text[at:start]))
    at = start + len(word)
    begin = next((i for i in controls if spans[i][0] >= at), len(ids))
  return gaps


def _cleaning(
  tokenizer: Tokenizer, text: str, gaps: Sequence[Gap]
) -> list[Callable[[str], str]]:
  """What becomes of the white space around each of `_WORDS`.

  Templates strip it, and so do control tokens that take it in (Phi-3).
  """
  ids, spans = tokenizer.encode_trusted(text)
  controls = [spans[i] for i, index in enumerate(ids) if index in tokenizer.special_ids]
  before, after = map(re.escape, _PADDING)
  regions: dict[tuple[int, int], str] = {}
  for word, gap in zip(_WORDS, gaps, strict=False):
    start = text.index(word)
    stop = start + len(word)
    region = (
      max((end for _, end in controls if end <= start), default=0),
      min((begin for begin, _ in controls if begin >= stop), default=len(text)),
    )
    pattern = f"{re.escape(gap.lead)}({before})?{word}({after})?"
    regions[region] = regions.get(region, "") + pattern
  kept: list[bool] = []
  for (start, stop), pattern in regions.items():
    match = re.fullmatch(pattern, text[start:stop])
    if not match:
      raise ValueError(
        f"the chat template changes the text that it is given: {text[start:stop]!r}"
      )
    kept += [group is not None for group in match.groups()]
  return [_CLEAN[sides] for sides in zip(kept[::2], kept[1::2], strict=True)]


def _check_thinking(template: Template, write: Callable[..., Messages]) -> None:
  """Raises a ValueError if a reply loses its thinking when the conversation goes on."""
  for thought in _THOUGHTS:
    text = template.render(write(_SYSTEM, _USER, thought + _REPLY, _NEXT))
    if thought + _REPLY not in text:
      raise ValueError(
        "the chat template rewrites earlier turns: it takes the thinking out of them"
      )


def _check_ids(found: _Cut, template: Template, write: Callable[..., Messages]) -> None:
  """Raises a ValueError unless the pieces give the ids of whole conversations."""
  form, texts, ours = found.format, [], []
  for user, reply in _EXCHANGES:
    if not texts:
      ours += form.opening(_INSTRUCTION, user)
    else:
      ours += form.following(user, closed=True)
    texts.append(user)
    whole, _ = form.tokenizer.encode_trusted(template.render(write(_INSTRUCTION, *texts)))
    if whole != ours:
      same = sum(1 for _ in itertools.takewhile(bool, map(int.__eq__, whole, ours)))
      raise ValueError(
        f"turn {len(texts) // 2 + 1} of a conversation has other ids as a whole than "
        f"turn by turn, from {form.tokenizer.decode(whole[same : same + 5])!r} on"
      )
    ours += [*form.tokenizer.encode(found.reply_lead + reply), form.end_id]
    texts.append(reply)


def _way_out(tokenizer: Tokenizer) -> str:
  """What to set where the template cannot be used."""
  fits = []
  for make in (chat.compact, chat.chatml, chat.llama3):
    try:
      make(tokenizer)
    except ValueError:
      continue
    fits.append(make.__name__)
  if fits:
    return f"set agent.chat={fits[0]!r}, for which this tokenizer has the tokens"
  return (
    "write one that can be used into the chat_template.jinja of a copy of the folder, or "
    "train another checkpoint"
  )
