"""The packaged ALFWorld engine, made fast by remembering what it computes again.

Nothing of the engine is copied or edited. `load_engine` wraps, at run time, the places
where it repeats pure functions: parsing and deriving command templates (each admissible
command, each turn), parsing queries, sorting facts, matching queries on unchanged facts
(`remembering.py`), and translating PDDL to SAS (four times a reset). Observations and
commands stay bit for bit the same.

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

from skilljax.envs.alfworld import remembering

INSTALL_HINT = (
  "the ALFWorld engine is not installed: pip install 'skilljax[alfworld]', which is "
  "alfworld==0.4.2 textworld==1.7.0 fast-downward-textworld==20.6.4 (and a C++ compiler)"
)
# Translations kept in memory: as many as a worker has games open at the same time.
_TRANSLATIONS_IN_MEMORY = 32
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
  remembering.wrap(textworld, textgen, logic)
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
