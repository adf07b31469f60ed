"""From text to search terms, as Lucene's English analyser cuts them.

Purpose: word boundaries (Unicode annex 29 with Lucene's additions for emoji and scripts
without spaces), possessive 's, lower case, stop words, Porter stems.
Must not know about: documents, ranking, products.
"""

import functools

import regex

from skilljax.envs.webshop.stemmer import stem

_MAX_TOKEN = 255  # longer ones are cut into pieces of this length
_STOP_TEXT = """
  a an and are as at be but by for if in into is it no not of on or such that the their
  then there these they this to was will with
"""
_STOP_WORDS = frozenset(_STOP_TEXT.split())
# Extended_Pictographic of Unicode 12.1, which Lucene 9 was made with: a star or a trade
# mark is a word. Later versions of the table dropped signs that have no emoji form.
_PICTURES = (
  "\u00a9\u00ae\u203c\u2049\u2122\u2139\u2194-\u2199\u21a9\u21aa\u231a\u231b\u2328\u2388"
  "\u23cf\u23e9-\u23f3\u23f8-\u23fa\u24c2\u25aa\u25ab\u25b6\u25c0\u25fb-\u25fe"
  "\u2600-\u2605\u2607-\u2612\u2614-\u2685\u2690-\u2705\u2708-\u2712\u2714\u2716\u271d"
  "\u2721\u2728\u2733\u2734\u2744\u2747\u274c\u274e\u2753-\u2755\u2757\u2763-\u2767"
  "\u2795-\u2797\u27a1\u27b0\u27bf\u2934\u2935\u2b05-\u2b07\u2b1b\u2b1c\u2b50\u2b55"
  "\u3030\u303d\u3297\u3299\U0001f000-\U0001f0ff\U0001f10d-\U0001f10f\U0001f12f"
  "\U0001f16c-\U0001f171\U0001f17e\U0001f17f\U0001f18e\U0001f191-\U0001f19a"
  "\U0001f1ad-\U0001f1e5\U0001f201-\U0001f20f\U0001f21a\U0001f22f"
  "\U0001f232-\U0001f23a\U0001f23c-\U0001f23f\U0001f249-\U0001f3fa"
  "\U0001f400-\U0001f53d\U0001f546-\U0001f64f\U0001f680-\U0001f6ff"
  "\U0001f774-\U0001f77f\U0001f7d5-\U0001f7ff\U0001f80c-\U0001f80f"
  "\U0001f848-\U0001f84f\U0001f85a-\U0001f85f\U0001f888-\U0001f88f"
  "\U0001f8ae-\U0001f8ff\U0001f90c-\U0001f93a\U0001f93c-\U0001f945"
  "\U0001f947-\U0001fffd"
)
_POSSESSIVE = ("'s", "'S", "\u2019s", "\u2019S", "\uff07s", "\uff07S")


def terms(text: str) -> list[str]:
  """The search terms of a text, in order, with repeats."""
  return [
    term
    for word in _words().findall(text)
    for start in range(0, len(word), _MAX_TOKEN)
    if (term := _term(word[start : start + _MAX_TOKEN]))
  ]


@functools.lru_cache(maxsize=100_000)
def _term(word: str) -> str:
  if word.endswith(_POSSESSIVE):
    word = word[:-2]
  word = word.lower()
  return "" if word in _STOP_WORDS else stem(word)


@functools.cache
def _words() -> regex.Pattern:
  attached = r"[\p{WB=Extend}\p{WB=Format}\p{WB=ZWJ}]*+"

  def unit(characters: str) -> str:
    return f"[{characters}]{attached}"

  letter = unit(r"\p{WB=ALetter}\p{WB=Hebrew_Letter}--:")
  digit = unit(r"\p{WB=Numeric}\uff10-\uff19")
  katakana = unit(r"\p{WB=Katakana}")
  joiner = unit(r"\p{WB=ExtendNumLet}")
  # The colon joined letters until Unicode 15.1; Lucene keeps the older table.
  in_word = unit(r"\p{WB=MidLetter}\p{WB=MidNumLet}\p{WB=Single_Quote}:")
  in_number = unit(r"\p{WB=MidNum}\p{WB=MidNumLet}\p{WB=Single_Quote}")
  number = f"{digit}(?:(?:(?:{joiner})*|{in_number}){digit})*"
  word = f"{letter}(?:(?:(?:{joiner})*|{in_word}){letter})*"
  run = f"(?:{katakana}(?:(?:{joiner})*{katakana})*|(?:{number}|{word})+)"
  picture = rf"[{_PICTURES}]\p{{Emoji_Modifier}}?{attached}"
  alternatives = (
    f"(?:{joiner})*{run}(?:(?:{joiner})+{run})*(?:{joiner})*",
    rf"{picture}(?:(?<=\u200d){picture})*",
    rf"(?:\p{{WB=Regional_Indicator}}{attached}){{2}}",
    rf"(?:\p{{LB=Complex_Context}}{attached})+",
    unit(r"\p{Script=Han}\p{Script=Hiragana}"),
  )
  return regex.compile("|".join(alternatives), regex.VERSION1)
