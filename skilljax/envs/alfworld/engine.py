"""The packaged ALFWorld engine, made fast by remembering what it computes again.

Nothing of the engine is copied or edited. `load_engine` wraps, at run time, the places
where it repeats pure functions: parsing command templates (each admissible command,
each turn), parsing queries, sorting facts, matching queries on unchanged facts, and
translating PDDL to SAS (four times a reset). Observations and commands stay bit for bit
the same.

One process plays from one thread: the translator redirects stdout while it works.

Must not know about: files of games, tasks, episodes.
"""

import contextlib
import functools
import hashlib
import io
import os
import pathlib
import sys
import tempfile
import warnings
import zlib
from collections.abc import Iterator
from types import ModuleType
from typing import Any, NamedTuple

INSTALL_HINT = (
  "the ALFWorld engine is not installed: pip install 'skilljax[alfworld]', which is "
  "alfworld==0.4.2 textworld==1.7.0 fast-downward-textworld==20.6.4 (and a C++ compiler)"
)
# Translations kept in memory: as many as a worker has games open at the same time.
_TRANSLATIONS_IN_MEMORY = 32
# Parsed texts kept in memory. All games share one grammar, of which 80 are in use; games
# with grammars of their own must not fill the memory.
_TEXTS_IN_MEMORY = 4096
# The engine interns every fact for ever, about 1 MB a game. Equality is by value, so
# the table may be emptied between two games.
_MAX_INTERNED_FACTS = 60_000


class Engine(NamedTuple):
  """The packaged modules, after wrapping.

  Attributes:
    textworld, pddl, wrappers: where the environment classes live.
    translator: PDDL to SAS; its `folder` may be set.
    interned: the engine's table of all facts it has ever made.
  """

  textworld: ModuleType
  pddl: ModuleType
  wrappers: ModuleType
  translator: "Translator"
  interned: dict


@contextlib.contextmanager
def _guarded_process() -> Iterator[None]:
  """Keeps the translator from what it does to `sys.argv` and to the terminal."""
  argv = sys.argv
  # Its option parser reads the command line when it is imported.
  sys.argv = ["translate.py", "domain", "task"]
  try:
    with contextlib.redirect_stdout(io.StringIO()):
      yield
  finally:
    sys.argv = argv


@functools.cache
def load_engine() -> Engine:
  """Imports and wraps the engine, once a process.

  Raises:
    ModuleNotFoundError: it is not installed; the message says how.
  """
  # Importing alfworld makes a folder at ALFWORLD_DATA, by default in the home directory.
  # It holds nothing that this package reads.
  scratch = os.path.join(tempfile.gettempdir(), "alfworld-unused")
  os.environ.setdefault("ALFWORLD_DATA", scratch)
  try:
    with _guarded_process():
      import fast_downward
      import fast_downward.translate.translate
      import textworld
      import textworld.logic
      from alfworld.agents.environment import alfred_tw_env
      from mementos import core as mementos
      from textworld.envs.pddl import logic, pddl, textgen
  except ModuleNotFoundError as error:
    raise ModuleNotFoundError(f"{error}; {INSTALL_HINT}", name=error.name) from error
  _wrap_grammar(textgen)
  # Rules are not changed after they are made, so each query is parsed once.
  rule = textworld.logic.Rule
  rule.parse_conjunctive_query = staticmethod(
    functools.lru_cache(_TEXTS_IN_MEMORY)(rule.parse_conjunctive_query)
  )
  logic._parse_and_convert = functools.lru_cache(maxsize=4)(logic._parse_and_convert)
  logic.PddlState = _remembering_state(logic.PddlState)
  textworld.logic.sorted = _sorted_unless_known
  translator = Translator(fast_downward)
  fast_downward.pddl2sas = translator.translate
  return Engine(textworld, pddl, alfred_tw_env, translator, mementos._memento_cache)


def make_textworld_env() -> Any:
  """The benchmark's environment object for single games: engine plus readable names."""
  engine = load_engine()
  infos = engine.textworld.EnvInfos(won=True, admissible_commands=True)
  return engine.wrappers.AlfredDemangler(engine.pddl.PddlEnv(infos), shuffle=False)


def load_game(env: Any, *, domain: str, grammar: str, problem: str):
  """Loads one game into an environment object, in place of the one it holds."""
  interned = load_engine().interned
  if len(interned) > _MAX_INTERNED_FACTS:
    interned.clear()
  env.load({"pddl_domain": domain, "grammar": grammar, "pddl_problem": problem})


def _wrap_grammar(textgen: ModuleType):
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

  parse_once = functools.lru_cache(_TEXTS_IN_MEMORY)(textgen._parse_and_convert)
  textgen._parse_and_convert = lambda *args, **kwargs: copied(parse_once(*args, **kwargs))
  textgen.deepcopy = copied
  textgen.check_flag = functools.lru_cache(_TEXTS_IN_MEMORY)(textgen.check_flag)


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

    def add_fact(self, prop):
      self._forget(prop)
      super().add_fact(prop)

    def remove_fact(self, prop):
      self._forget(prop)
      super().remove_fact(prop)

    def _forget(self, prop):
      self._all_facts = None
      self._sorted_facts.pop(prop.signature, None)
      for _, predicates, results in self._matches.values():
        if prop.name in predicates:
          results.clear()

  return RememberingState


class Translator:
  """PDDL to SAS, at most once for each game: in memory, and as text on disk.

  Attributes:
    folder: where the texts are kept; None keeps them in memory only.
  """

  def __init__(self, fast_downward: ModuleType):
    self.folder: pathlib.Path | None = None
    self._package = fast_downward
    self._original = fast_downward.pddl2sas
    self._remembered = functools.lru_cache(_TRANSLATIONS_IN_MEMORY)(self._look_up)

  def translate(
    self, domain: str, problem: str, verbose: bool = False, optimize: bool = False
  ) -> tuple[Any, str]:
    """As the packaged function.

    `optimize` only matters to the engine's planner, which nothing here calls; it gets
    the plain translation of the same problem, and would find the same plans more slowly.
    """
    del verbose, optimize
    return self._remembered(domain, problem)

  def forget(self):
    """Empties the memory; the disk keeps what it has."""
    self._remembered.cache_clear()

  def _look_up(self, domain: str, problem: str) -> tuple[Any, str]:
    with _guarded_process():
      path = self._path(domain, problem)
      sas = read_cached(path)
      if sas is None:
        task, sas = self._original(domain, problem)
        write_cached(path, sas)
      else:
        task = self._parse(domain, problem)
    _drop_distances(self._package, task)
    return task, sas

  def _path(self, domain: str, problem: str) -> pathlib.Path | None:
    if self.folder is None:
      return None
    text = f"sas 1\0{domain}\0{problem}".encode()
    return self.folder / f"{hashlib.sha256(text).hexdigest()[:40]}.sas.z"

  def _parse(self, domain: str, problem: str) -> Any:
    """The first part of a translation: cheap, and what the engine reads of the task."""
    parsers = self._package.translate.pddl_parser
    nested = [
      parsers.lisp_parser.parse_nested_list(t.split("\n")) for t in (domain, problem)
    ]
    task = parsers.parsing_functions.parse_task(*nested)
    self._package.translate.normalize.normalize(task)
    return task


def _drop_distances(fast_downward: ModuleType, task: Any):
  """Removes from a task what the engine skips at every reset: the distance table."""
  assign = fast_downward.translate.pddl.f_expression.Assign
  task.init = [
    fact
    for fact in task.init
    if not (isinstance(fact, assign) and str(fact.expression.value).isdigit())
  ]


def read_cached(path: pathlib.Path | None) -> str | None:
  """A text written by `write_cached`; None if there is none or it is damaged."""
  if path is None:
    return None
  try:
    digest, _, text = zlib.decompress(path.read_bytes()).partition(b"\n")
  except (OSError, zlib.error):
    return None
  if hashlib.sha256(text).hexdigest().encode("ascii") != digest:
    return None
  return text.decode("utf-8")


def write_cached(path: pathlib.Path | None, text: str):
  """Writes a text so that readers see all of it or nothing; a full disk only warns."""
  if path is None:
    return
  data = text.encode("utf-8")
  digest = hashlib.sha256(data).hexdigest().encode("ascii")
  try:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, suffix=".tmp")
    with os.fdopen(handle, "wb") as file:
      file.write(zlib.compress(digest + b"\n" + data, 6))
    os.replace(temporary, path)
  except OSError as error:
    warnings.warn(
      f"{path}: cannot be cached ({error}); resets stay slow (config key env.cache_dir)",
      RuntimeWarning,
      stacklevel=2,
    )
