"""Cleaning of untrusted text before it can reach a prompt or a tokenizer.

Purpose: one total, idempotent function that leaves no control character, no invisible
character and nothing that a tokenizer or a parser could take for a special token.
Must not know about: tokenizers, prompts, edits, files.
"""

import dataclasses
import re
import unicodedata
from collections.abc import Callable

from skilljax.skills.bank import SkillBank
from skilljax.types import Skill

# NFKC can make text 18 times longer, so the cut comes first.
MAX_RAW_CHARS = 65_536

# Findings that honest text does not produce; the others are folded without complaint.
DANGEROUS = frozenset({"control", "invisible", "special_token", "tag"})

_NEWLINES = frozenset("\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029")
# Blank when shown, yet not in Unicode's format category.
_BLANKS = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0")
_PIPES = re.compile(r"<\||\|>")
# What opens a tag (a name, perhaps after a sign), a comment, or a byte token.
_OPENER = r"<(?=[/!?]?[^\W\d]|!--|0x[0-9A-Fa-f]{2}>)"
_BRACKETS = re.compile(rf"<\||\|>|{_OPENER}|>")
# [INST], [/INST], [TOOL_CALLS], [SYSTEM_PROMPT] …
_SQUARE = re.compile(r"\[(/?[A-Z][A-Z_]{2,30})\]")
_FENCE = re.compile(r"`{3,}")


@dataclasses.dataclass(frozen=True)
class Finding:
  """One kind of thing that cleaning changed or noticed.

  Attributes:
    kind: 'control', 'invisible', 'special_token', 'tag', 'newline', 'normalised',
      'fence', 'too_long' or 'empty'; `DANGEROUS` names those that speak of an attack.
    field: where, for example 'title' or 's3.title'.
    detail: what, in printable ASCII.
  """

  kind: str
  field: str
  detail: str

  @property
  def dangerous(self) -> bool:
    """True when honest text does not look like this."""
    return self.kind in DANGEROUS


@dataclasses.dataclass(frozen=True)
class Cleaned:
  """Clean text and what had to be done to it."""

  text: str
  findings: tuple[Finding, ...]


def clean_text(text: str, *, field: str = "", max_chars: int = MAX_RAW_CHARS) -> Cleaned:
  """Makes a text safe to show to a policy. Idempotent; never raises on a string.

  Control, zero-width, bidirectional, private-use and tag characters go; line breaks and
  runs of white space become one space; text is NFKC, so that look-alike brackets are
  seen; `<|x|>`, `<x>`, `</x>` and `[X]` become `(x)`; code fences become quotes. The
  signs of `a < b` and `a -> b` stay.

  Args:
    text: any string.
    field: name for the findings.
    max_chars: longest result in characters, >= 1; what is beyond it is cut.
  Raises:
    ValueError: max_chars < 1.
  """
  if max_chars < 1:
    raise ValueError(f"max_chars={max_chars} must be >= 1")
  found: dict[str, str] = {}
  if len(text) > MAX_RAW_CHARS:
    found["too_long"] = f"{len(text)} characters, at most {MAX_RAW_CHARS}"
    text = text[:MAX_RAW_CHARS]
  # One pass suffices: characters go before NFKC joins what they kept apart, and tokens
  # become brackets instead of vanishing, so nothing new can form out of their halves.
  text = _cut(_neutralise(_characters(text, found), found), max_chars, found)
  findings = tuple(Finding(kind, field, detail) for kind, detail in found.items())
  return Cleaned(text, findings)


def check_bank(bank: SkillBank) -> tuple[Finding, ...]:
  """What cleaning would change in a bank, by 'skill_id.field'; empty for a clean one."""
  return _map_texts(bank)[1]


def clean_bank(bank: SkillBank) -> tuple[SkillBank, tuple[Finding, ...]]:
  """Cleans every text of a bank; the same object comes back when nothing changes.

  A text that is empty after cleaning is left empty and reported as 'empty'.
  """
  skills, findings = _map_texts(bank)
  if skills == bank.skills:
    return bank, findings
  return SkillBank(skills, bank.next_index, bank.version), findings


def _map_texts(bank: SkillBank) -> tuple[tuple[Skill, ...], tuple[Finding, ...]]:
  skills, findings = [], []
  for skill in bank.skills:
    texts = {}
    for name in ("category", "title", "principle", "when_to_apply"):
      field = f"{skill.skill_id}.{name}"
      cleaned = clean_text(getattr(skill, name), field=field)
      texts[name] = cleaned.text
      findings += cleaned.findings
      if not cleaned.text:
        findings.append(Finding("empty", field, "no text"))
    skills.append(dataclasses.replace(skill, **texts))
  return tuple(skills), tuple(findings)


def _characters(text: str, found: dict[str, str]) -> str:
  """NFKC, without invisible characters, white space folded."""
  if text.isascii() and text.isprintable():
    return " ".join(text.split())
  kept = []
  for char in text:
    kind = _kind(char)
    if kind:
      found.setdefault(kind, f"U+{ord(char):04X}")
    # A line break is a space; every other listed character disappears.
    kept.append(" " if kind == "newline" else char if not kind else "")
  bare = "".join(kept)
  normal = unicodedata.normalize("NFKC", bare)
  if normal != bare:
    found.setdefault("normalised", "compatibility characters replaced")
  return " ".join(normal.split())


def _kind(char: str) -> str:
  """Kind of finding for a character that must go, '' for one that may stay."""
  if char in _NEWLINES:
    return "newline"
  if char == "\t" or (" " <= char <= "~"):
    return ""
  code, category = ord(char), unicodedata.category(char)
  if category in ("Cc", "Cs"):
    return "control"
  if category in ("Cf", "Co") or char in _BLANKS or 0xE0100 <= code <= 0xE01EF:
    return "invisible"
  if 0xFDD0 <= code <= 0xFDEF or code & 0xFFFE == 0xFFFE:
    return "invisible"  # noncharacters
  if 0xFE00 <= code <= 0xFE0F or 0x180B <= code <= 0x180F:
    return "normalised"  # variation selectors: honest emoji have them
  return ""


def _neutralise(text: str, found: dict[str, str]) -> str:
  """Special tokens and tags to round brackets, in one linear scan."""
  if "<" in text or ">" in text:
    if _PIPES.search(text):
      found.setdefault("special_token", _sample(text, _PIPES))
    if re.search(_OPENER, text):
      found.setdefault("tag", _sample(text, re.compile(_OPENER)))
    text = _BRACKETS.sub(_round_brackets(), text)
  if _SQUARE.search(text):
    found.setdefault("special_token", _sample(text, _SQUARE))
    text = _SQUARE.sub(r"(\1)", text)
  if _FENCE.search(text):
    found.setdefault("fence", "code fence")
    text = _FENCE.sub("''", text)
  return text


def _round_brackets() -> Callable[[re.Match], str]:
  depth = 0

  def replace(match: re.Match) -> str:
    nonlocal depth
    sign = match.group()
    if sign.startswith("<"):
      depth += 1
      return "("
    if sign == "|>" or depth > 0:
      depth = max(0, depth - 1)
      return ")"
    return sign  # a lone '>', as in 'a > b' or 'a -> b'

  return replace


def _sample(text: str, pattern: re.Pattern) -> str:
  start = pattern.search(text).start()
  return ascii(text[start : start + 24])


def _cut(text: str, max_chars: int, found: dict[str, str]) -> str:
  if len(text) <= max_chars:
    return text
  found.setdefault("too_long", f"{len(text)} characters, at most {max_chars}")
  return text[:max_chars].rstrip()
