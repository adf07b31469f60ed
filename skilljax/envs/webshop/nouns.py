"""The nouns of product titles, by one of two taggers, remembered on disk.

Purpose: a tagger takes seconds to import and a title is always tagged the same way, so
each title is tagged once per machine. Nothing is imported for a title that is known.
Must not know about: goals, rewards.
"""

import functools
import hashlib
import importlib
import importlib.metadata
import json
import pathlib
import warnings
from collections.abc import Callable, Sequence
from typing import Any

from skilljax.envs.data_files import write_atomically

_SPACY_MODEL = "en_core_web_sm"
_TAGGED = Callable[[str], Sequence[str]]


class NounFinder:
  """Title -> nouns in lower case, with repeats; callable."""

  def __init__(self, tagger: str, cache: pathlib.Path):
    """Imports nothing yet.

    Args:
      tagger: 'textblob' or 'spacy'.
      cache: folder for derived files.
    Raises:
      ModuleNotFoundError: the tagger is not installed; the message says how.
    """
    self._tagger = tagger
    self._folder = cache / f"nouns-{tagger}-{_version(tagger)}"
    self._tag: _TAGGED | None = None
    self._find = functools.lru_cache(maxsize=10_000)(self._find_on_disk)

  def __call__(self, title: str) -> tuple[str, ...]:
    """The nouns of a title."""
    return self._find(title)

  def _find_on_disk(self, title: str) -> tuple[str, ...]:
    digest = hashlib.sha256(title.encode("utf-8")).hexdigest()
    path = self._folder / digest[:2] / f"{digest[2:24]}.json"
    try:
      known, nouns = json.loads(path.read_text("utf-8"))
      if known == title and all(isinstance(noun, str) for noun in nouns):
        return tuple(nouns)
    except (OSError, ValueError, TypeError):
      pass  # unknown, or a damaged file: both are written anew
    if self._tag is None:
      self._tag = _TAGGERS[self._tagger]()
    nouns = tuple(noun.lower() for noun in self._tag(title))
    try:
      write_atomically(path, json.dumps([title, nouns]).encode("utf-8"))
    except OSError as error:  # the episode goes on: the next process tags it again
      warnings.warn(
        f"{path}: cannot be cached ({error}); purchases stay slow (config key "
        "env.cache_dir)",
        RuntimeWarning,
        stacklevel=2,
      )
    return nouns


def _version(tagger: str) -> str:
  package = {"textblob": "textblob", "spacy": _SPACY_MODEL}[tagger]
  hint = {
    "textblob": "pip install 'skilljax[webshop]'",
    "spacy": f"pip install spacy and then python -m spacy download {_SPACY_MODEL}, or "
    "set env.tagger='textblob'",
  }[tagger]
  try:
    return importlib.metadata.version(package)
  except importlib.metadata.PackageNotFoundError as error:
    raise ModuleNotFoundError(
      f"WebShop's reward needs {package}: {hint} (config key env.tagger)"
    ) from error


def _textblob() -> _TAGGED:
  tagger: Any = importlib.import_module("textblob.en.taggers").PatternTagger()
  return lambda title: [word for word, tag in tagger.tag(title) if tag.startswith("NN")]


def _spacy() -> _TAGGED:
  model: Any = importlib.import_module("spacy").load(_SPACY_MODEL)
  return lambda title: [w.text for w in model(title) if w.pos_ in ("NOUN", "PROPN")]


_TAGGERS: dict[str, Callable[[], _TAGGED]] = {"textblob": _textblob, "spacy": _spacy}
