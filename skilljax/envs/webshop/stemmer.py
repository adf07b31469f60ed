"""The Porter stemmer, as Lucene applies it.

Purpose: word -> stem, exactly as the search engine that WebShop was published with. The
algorithm is M. F. Porter, "An algorithm for suffix stripping" (1980), with its author's
three later changes (-bli, -logi, words of one or two letters stay). Our own, because the
common package for it takes 1.6 s to import in every environment worker.
Must not know about: tokens, documents, queries.
"""

_STEP_2 = {
  **{"ational": "ate", "tional": "tion", "enci": "ence", "anci": "ance", "izer": "ize"},
  **{"bli": "ble", "alli": "al", "entli": "ent", "eli": "e", "ousli": "ous"},
  **{"ization": "ize", "ation": "ate", "ator": "ate", "alism": "al", "iveness": "ive"},
  **{"fulness": "ful", "ousness": "ous", "aliti": "al", "iviti": "ive"},
  **{"biliti": "ble", "logi": "log"},
}
_STEP_3 = {
  **{"icate": "ic", "ative": "", "alize": "al", "iciti": "ic", "ical": "ic"},
  **{"ful": "", "ness": ""},
}
_STEP_4 = (
  *("al", "ance", "ence", "er", "ic", "able", "ible", "ant", "ement", "ment", "ent"),
  *("ion", "ou", "ism", "ate", "iti", "ous", "ive", "ize"),
)


def stem(word: str) -> str:
  """The stem of a lower-case word; letters are what is not one of a, e, i, o, u."""
  if len(word) < 3:
    return word
  word = _plural(word)
  word = _past(word)
  if word.endswith("y") and _has_vowel(word[:-1]):
    word = word[:-1] + "i"
  word = _replace(word, _STEP_2)
  word = _replace(word, _STEP_3)
  word = _strip(word)
  return _tidy(word)


def _kinds(word: str) -> str:
  """'c' or 'v' for each letter; y is a vowel after a consonant."""
  kinds = ""
  for letter in word:
    vowel = letter in "aeiou" or (letter == "y" and kinds.endswith("c"))
    kinds += "v" if vowel else "c"
  return kinds


def _measure(word: str) -> int:
  return _kinds(word).count("vc")


def _has_vowel(word: str) -> bool:
  return "v" in _kinds(word)


def _double(word: str) -> bool:
  return word[-1:] == word[-2:-1] and _kinds(word).endswith("c")


def _short(word: str) -> bool:
  return _kinds(word).endswith("cvc") and word[-1] not in "wxy"


def _plural(word: str) -> str:
  if word.endswith(("sses", "ies")):
    return word[:-2]
  return word[:-1] if word.endswith("s") and not word.endswith("ss") else word


def _past(word: str) -> str:
  if word.endswith("eed"):
    return word[:-1] if _measure(word[:-3]) else word
  for suffix in ("ed", "ing"):
    if word.endswith(suffix):
      rest = word.removesuffix(suffix)
      return _repair(rest) if _has_vowel(rest) else word
  return word


def _repair(word: str) -> str:
  if word.endswith(("at", "bl", "iz")):
    return word + "e"
  if _double(word):
    return word if word[-1] in "lsz" else word[:-1]
  return word + "e" if _measure(word) == 1 and _short(word) else word


def _longest(word: str, suffixes) -> str:
  return max((s for s in suffixes if word.endswith(s)), key=len, default="")


def _replace(word: str, table: dict[str, str]) -> str:
  if suffix := _longest(word, table):
    rest = word.removesuffix(suffix)
    return rest + table[suffix] if _measure(rest) else word
  return word


def _strip(word: str) -> str:
  if suffix := _longest(word, _STEP_4):
    rest = word.removesuffix(suffix)
    if _measure(rest) > 1 and (suffix != "ion" or rest.endswith(("s", "t"))):
      return rest
  return word


def _tidy(word: str) -> str:
  if word.endswith("e"):
    rest = word[:-1]
    if _measure(rest) > 1 or (_measure(rest) == 1 and not _short(rest)):
      word = rest
  return word[:-1] if word.endswith("ll") and _measure(word[:-1]) > 1 else word
