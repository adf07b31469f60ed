"""What the packaged ALFWorld engine computes again, remembered: grammar and facts.

Nothing of the engine is copied or edited: its classes and functions are wrapped, and
answer as before.

Must not know about: games, episodes, translations, files.
"""

import ast
import builtins
import functools
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any, NamedTuple

# Parsed texts kept in memory. All games share one grammar, of which 80 are in use; games
# with grammars of their own must not fill the memory.
_TEXTS_IN_MEMORY = 4096


def wrap(textworld: ModuleType, textgen: ModuleType, logic: ModuleType):
  """Wraps the engine's modules, once a process.

  Args:
    textworld: the package, with its module `logic`.
    textgen, logic: of `textworld.envs.pddl`.
  """
  _parse_once(textgen)
  # Rules are not changed after they are made, so each query is parsed once.
  rule = textworld.logic.Rule
  rule.parse_conjunctive_query = staticmethod(
    functools.lru_cache(_TEXTS_IN_MEMORY)(rule.parse_conjunctive_query)
  )
  _derive_once(textgen, rule.parse_conjunctive_query)
  logic._parse_and_convert = functools.lru_cache(maxsize=4)(logic._parse_and_convert)
  logic.PddlState = _remembering_state(logic.PddlState)
  textworld.logic.sorted = _sorted_unless_known


def _parse_once(textgen: ModuleType):
  """Parses each text once, and copies symbols and contexts one level deep.

  Deep copies protect two things: the `context` that a derivation writes into a symbol,
  and the mappings to which a query adds. A copy of exactly these is enough.
  """

  def copied(value: Any) -> Any:
    if isinstance(value, list):
      return [copied(item) for item in value]
    if isinstance(value, dict):
      return dict(value)
    twin = value.__class__.__new__(value.__class__)
    twin.__dict__.update(value.__dict__)
    if isinstance(value, textgen.ListSymbol):
      twin.symbol = copied(value.symbol)
    elif isinstance(value, textgen.ConditionalSymbol):
      twin.expression = copied(value.expression)
    return twin

  parsed = functools.lru_cache(_TEXTS_IN_MEMORY)(textgen._parse_and_convert)
  textgen._parse_and_convert = lambda *args, **kwargs: copied(parsed(*args, **kwargs))
  textgen.deepcopy = copied
  textgen.check_flag = functools.lru_cache(_TEXTS_IN_MEMORY)(textgen.check_flag)


class _Asked(NamedTuple):
  """What decides how a text is derived, where no rule of the grammar has a say in it.

  Attributes:
    facts: names of the predicates of its queries.
    things: placeholders of its queries.
    names: of the things whose names it says.
    lists: whether it has lists.
  """

  facts: frozenset[str] = frozenset()
  things: frozenset = frozenset()
  names: frozenset[str] = frozenset()
  lists: bool = False

  def key(self, mapping: dict) -> tuple:
    """The part of a choice of things that matters."""
    if not self.things <= mapping.keys():
      # A query looks for the rest among all things that were not chosen.
      return tuple(mapping.items())
    return tuple(
      (place, thing)
      for place, thing in mapping.items()
      if place in self.things or place.name in self.names
    )


def _derive_once(textgen: ModuleType, parse_query: Callable[[str], Any]):
  """Derives a text once a choice of things, until a fact that it asks for changes."""
  grammar_type = textgen.ContextSensitiveGrammar
  derive = grammar_type.derive

  @functools.lru_cache(_TEXTS_IN_MEMORY)
  def asked(text: str) -> _Asked | None:
    symbols = textgen._parse_and_convert(text, rule_name="symbols")
    return _asked(textgen, parse_query, symbols)

  @functools.wraps(derive)
  def derive_unless_known(self: Any, start: str, context: dict) -> str:
    known = asked(start)
    if known is None or (known.lists and not _lists_are_plain(textgen, self)):
      return derive(self, start, context)
    texts = context["state"].texts(start, known.facts)
    key = known.key(context["mapping"])
    if key not in texts:
      texts[key] = derive(self, start, context)
    return texts[key]

  grammar_type.derive = derive_unless_known


def _asked(
  textgen: ModuleType, parse_query: Callable[[str], Any], symbol: Any
) -> _Asked | None:
  """What decides what a symbol, or a list of them, becomes; None where a rule may."""
  if isinstance(symbol, list):
    parts = [_asked(textgen, parse_query, part) for part in symbol]
    return None if None in parts else _together(parts)
  if isinstance(symbol, textgen.TerminalSymbol):
    return _Asked()
  if isinstance(symbol, textgen.ListSymbol):
    inner = _asked(textgen, parse_query, symbol.symbol)
    return inner and inner._replace(lists=True)
  if isinstance(symbol, textgen.ConditionalSymbol):
    inner = _asked(textgen, parse_query, symbol.expression)
    if inner is None or not symbol.given:
      return inner
    query = parse_query(symbol.given)
    facts = frozenset(fact.name for fact in query.preconditions)
    return _together([inner, _Asked(facts, frozenset(query.placeholders))])
  if isinstance(symbol, textgen.EvalSymbol):
    tree = ast.parse(symbol.expression.strip(), mode="eval")
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    # It runs where these can be seen, beside the things that it is about.
    foreign = {"self", "context", *vars(textgen), *vars(builtins)}
    return None if names & foreign else _Asked(names=frozenset(names))
  return None


def _together(parts: Sequence[_Asked]) -> _Asked:
  facts, things, names = (
    frozenset().union(*sets) for sets in zip(*(part[:3] for part in parts), strict=True)
  )
  return _Asked(facts, things, names, any(part.lists for part in parts))


def _lists_are_plain(textgen: ModuleType, grammar: Any) -> bool:
  """Whether a list is joined by literals, whatever the facts are."""
  plain = vars(grammar).get("_lists_are_plain")
  if plain is None:
    names = ("list_empty", "list_separator", "list_last_separator")
    rules = [rule for name in names for rule in grammar._rules.get(name, ())]
    plain = not any(rule.condition for rule in rules) and all(
      isinstance(symbol, textgen.TerminalSymbol) for rule in rules for symbol in rule.rhs
    )
    grammar._lists_are_plain = plain
  return plain


class _Sorted(list):
  """Facts that are in order already."""


def _sorted_unless_known(values: Any, **kwargs) -> list:
  return values if type(values) is _Sorted else sorted(values, **kwargs)


def _remembering_state(base: type) -> type:
  """The engine's state, remembering sorted facts and query results until they change."""

  class RememberingState(base):
    """Same answers; `add_fact` and `remove_fact` forget what they make stale."""

    def __init__(self, *args, **kwargs):
      self._all_facts: list | None = None
      self._sorted_facts: dict = {}
      self._matches: dict = {}  # id of a rule: (the rule, its predicates, results)
      self._texts: dict = {}  # text: (the predicates it asks for, derivations)
      super().__init__(*args, **kwargs)

    @property
    def facts(self):
      if self._all_facts is None:
        self._all_facts = list(super().facts)
      return self._all_facts

    def facts_with_signature(self, sig):
      if sig not in self._sorted_facts:
        self._sorted_facts[sig] = _Sorted(sorted(super().facts_with_signature(sig)))
      return self._sorted_facts[sig]

    def all_assignments(self, rule, mapping=None, *args, **kwargs):
      if args or kwargs or mapping is None:
        return super().all_assignments(rule, mapping, *args, **kwargs)
      if id(rule) not in self._matches:
        predicates = {predicate.name for predicate in rule.preconditions}
        self._matches[id(rule)] = (rule, predicates, {})
      results = self._matches[id(rule)][2]
      key = tuple(mapping.items())
      if key not in results:
        results[key] = list(super().all_assignments(rule, mapping))
      return results[key]

    def texts(self, start, predicates):
      """Derivations of `start` by mapping, valid until a fact of these changes."""
      if start not in self._texts:
        self._texts[start] = (predicates, {})
      return self._texts[start][1]

    def add_fact(self, prop):
      self._forget(prop)
      super().add_fact(prop)

    def remove_fact(self, prop):
      self._forget(prop)
      super().remove_fact(prop)

    def _forget(self, prop):
      self._all_facts = None
      self._sorted_facts.pop(prop.signature, None)
      for *_, predicates, results in (*self._matches.values(), *self._texts.values()):
        if prop.name in predicates:
          results.clear()

  return RememberingState
