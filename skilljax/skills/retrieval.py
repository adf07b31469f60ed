"""Which skills a task gets to see: functions of (query, bank, statistics).

Purpose: the retriever seam and three deterministic rules behind it. Results depend on
the content of the bank only, never on provenance or on the order of past edits, since
prompts are cached by bank version.
Must not know about: prompts, environments, JAX.
"""

import dataclasses
import functools
import inspect
import re
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np

from skilljax.skills.bank import GENERAL, SkillBank
from skilljax.skills.stats import Stats
from skilljax.types import Skill

# One training run queries a few banks many times (scopes × candidate edits of a group).
_CACHED_BANKS = 64
# Equal scores must tie on every machine, so float noise is rounded away.
_SCORE_DIGITS = 5


@dataclasses.dataclass(frozen=True)
class Query:
  """What is asked: the goal (and what else is known) and the task family."""

  text: str
  category: str


class Retriever(Protocol):
  """Selects skills in the order in which the prompt shows them."""

  def __call__(
    self, query: Query, bank: SkillBank, stats: Stats | None = None
  ) -> tuple[Skill, ...]:
    """Returns skills of this very bank, without repeats; () when none fits."""
    ...


def category(*, top_k: int = 6, general_k: int = 6) -> Retriever:
  """General skills first, then those of the task's category, newest first in each.

  Newest first is by id, so by content. It repairs the visibility defect of the released
  code, where a fixed number of the oldest general skills is shown and a new one never
  is (docs/paper_map.md): here the latest proposal is always inside the window.

  Args:
    top_k: most skills of the category, >= 0.
    general_k: most general skills, >= 0.
  """
  _at_least("top_k", top_k, 0)
  _at_least("general_k", general_k, 0)

  def retrieve(
    query: Query, bank: SkillBank, stats: Stats | None = None
  ) -> tuple[Skill, ...]:
    general = bank.by_category(GENERAL)[::-1][:general_k]
    if query.category == GENERAL:
      return general
    return general + bank.by_category(query.category)[::-1][:top_k]

  return retrieve


def bm25(*, top_k: int = 6) -> Retriever:
  """Okapi BM25 over category, title, principle and when_to_apply of all skills.

  Words are lower-case runs of letters and digits; a word counts once in a query. Only
  skills that share a word with the query are returned, best first, ties newest first.

  Source: Lucene's variant with k1 = 1.5, b = 0.75, by the `bm25s` library
  (arXiv:2407.03618).

  Args:
    top_k: most skills, >= 1.
  """
  _at_least("top_k", top_k, 1)
  scorer_of = functools.lru_cache(maxsize=_CACHED_BANKS)(_bm25_scorer)

  def retrieve(
    query: Query, bank: SkillBank, stats: Stats | None = None
  ) -> tuple[Skill, ...]:
    return _best(bank, scorer_of(bank)(query.text), top_k)

  return retrieve


def ngram_jaccard(*, top_k: int = 6, n: int = 3, unit: str = "char") -> Retriever:
  """Jaccard overlap |A ∩ B| / |A ∪ B| of n-grams of the query and of the skill.

  SAGE (arXiv:2512.17102) compares the query with the query a skill was written for. A
  skill here states that in `title` and `when_to_apply`, so these are compared. Only
  skills with an overlap are returned, best first, ties newest first.

  Args:
    top_k: most skills, >= 1.
    n: length of the n-grams, >= 1. A shorter text is one n-gram.
    unit: 'char' (n-grams of the lower-case text, robust to inflection) or 'word'.
  """
  _at_least("top_k", top_k, 1)
  _at_least("n", n, 1)
  if unit not in ("char", "word"):
    raise ValueError(f"unit={unit!r} must be 'char' or 'word'")
  grams_of = functools.partial(_ngrams, n=n, unit=unit)

  @functools.lru_cache(maxsize=_CACHED_BANKS)
  def index_of(bank: SkillBank) -> tuple[frozenset, ...]:
    return tuple(grams_of(f"{s.title} {s.when_to_apply}") for s in bank.skills)

  def retrieve(
    query: Query, bank: SkillBank, stats: Stats | None = None
  ) -> tuple[Skill, ...]:
    asked = grams_of(query.text)
    scores = [
      len(asked & held) / len(asked | held) if asked and held else 0.0
      for held in index_of(bank)
    ]
    return _best(bank, scores, top_k)

  return retrieve


_RETRIEVERS: Mapping[str, Callable[..., Retriever]] = {
  "bm25": bm25,
  "category": category,
  "ngram_jaccard": ngram_jaccard,
}


def make_retriever(name: str, **settings: Any) -> Retriever:
  """Builds a retriever by its configured name (config key skills.retrieval.name).

  Raises:
    ValueError: unknown name or setting; the message lists what there is.
  """
  if name not in _RETRIEVERS:
    raise ValueError(
      f"retriever={name!r} is unknown; use one of {sorted(_RETRIEVERS)}"
      " (config key skills.retrieval.name)"
    )
  allowed = sorted(inspect.signature(_RETRIEVERS[name]).parameters)
  unknown = sorted(set(settings) - set(allowed))
  if unknown:
    raise ValueError(f"retriever {name!r} has no setting {unknown}; it has {allowed}")
  return _RETRIEVERS[name](**settings)


def _best(bank: SkillBank, scores, top_k: int) -> tuple[Skill, ...]:
  """Skills with a positive score, best first, ties newest (largest id) first."""
  rounded = [round(float(score), _SCORE_DIGITS) for score in scores]
  order = sorted(range(len(rounded)), key=lambda i: (-rounded[i], -i))
  return tuple(bank.skills[i] for i in order[:top_k] if rounded[i] > 0)


def _bm25_scorer(bank: SkillBank) -> Callable[[str], np.ndarray]:
  """Scores of all skills of a bank for a query text, in bank order."""
  # Imported here because importing bm25s imports JAX and starts its backend where JAX
  # is installed, which must not happen before `jax.distributed` is up.
  import bm25s

  corpus = [
    _words(f"{s.category} {s.title} {s.principle} {s.when_to_apply}") for s in bank.skills
  ]
  vocabulary = {word for words in corpus for word in words}
  nothing = np.zeros(len(corpus), np.float32)
  if not vocabulary:  # the library cannot index an empty corpus
    return lambda text: nothing
  index = bm25s.BM25(k1=1.5, b=0.75, method="lucene", backend="numpy")
  index.index(corpus, show_progress=False)

  def scores(text: str) -> np.ndarray:
    # Sorted, so that float32 sums do not depend on the order of the words.
    known = sorted(set(_words(text)) & vocabulary)
    return index.get_scores(known) if known else nothing

  return scores


def _words(text: str) -> list[str]:
  return re.findall(r"[^\W_]+", text.casefold())


def _ngrams(text: str, *, n: int, unit: str) -> frozenset:
  words = _words(text)
  items = words if unit == "word" else " ".join(words)
  if not items:
    return frozenset()
  last = max(len(items) - n, 0)
  return frozenset(tuple(items[i : i + n]) for i in range(last + 1))


def _at_least(name: str, value: int, least: int) -> None:
  if value < least:
    raise ValueError(f"{name}={value} must be >= {least} (config key skills.{name})")
