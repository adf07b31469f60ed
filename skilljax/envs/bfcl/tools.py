"""Runs calls that a policy wrote on the benchmark's tools, without evaluating any of it.

The package's own executor evaluates strings in a module whose globals hold every
instance that was ever made. Here a call is parsed, its arguments must be literals, its
name must be a documented function of the task's tools, and the instances belong to one
episode.

A call can still be made to run for ever (`power(9, 99999999)`), as in the package: worker
processes of the pool have a time limit (config key `pool.step_timeout_s`).

Must not know about: users, turns, verdicts.
"""

import ast
import copy
import dataclasses
import decimal
import functools
import json
import pickle
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from skilljax.envs.bfcl.data import Scenario, package_module, read_docs


class CallError(ValueError):
  """The text is not a list of calls with literal arguments. Nothing was run."""


@dataclasses.dataclass(frozen=True)
class Call:
  """One parsed call."""

  name: str
  args: tuple[Any, ...]
  kwargs: Mapping[str, Any]


def parse_calls(text: str) -> tuple[Call, ...]:
  """Reads `[f(a=1), g("x")]`; the brackets may be missing. Never evaluates anything.

  Raises:
    CallError: no calls, other syntax, an argument that is no literal.
  """
  try:
    with warnings.catch_warnings():
      warnings.simplefilter("ignore")  # '\d' in a string: the parser's, not ours
      body = ast.parse(text.strip(), mode="eval").body
    nodes = body.elts if isinstance(body, ast.List | ast.Tuple) else [body]
    calls = tuple(map(_read_call, nodes))
  except CallError:
    raise
  except (SyntaxError, ValueError, TypeError, RecursionError, MemoryError) as error:
    raise CallError("cannot be read") from error
  if not calls:
    raise CallError("there is no call")
  return calls


def _read_call(node: ast.expr) -> Call:
  if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name)):
    raise CallError("only calls of functions by their names are allowed")
  try:
    # A starred argument is no literal; `**{}` has no name.
    args = tuple(map(ast.literal_eval, node.args))
    kwargs = {str(k.arg): ast.literal_eval(k.value) for k in node.keywords if k.arg}
  except ValueError as error:
    raise CallError(f"{node.func.id}: only literal arguments are allowed") from error
  if len(kwargs) != len(node.keywords):
    raise CallError(f"{node.func.id}: an argument has no name or is given twice")
  return Call(node.func.id, args, kwargs)


class Toolbox:
  """The tools of one episode, and nothing that another episode could reach."""

  def __init__(self, packed: bytes):
    """Takes what `pack_tools` made; any number of independent boxes come from it."""
    # What is unpickled was pickled in this process, from the installed package.
    self.instances: dict[str, Any] = pickle.loads(packed)
    self._functions = {
      name: functools.partial(function, instance)
      for class_name, instance in self.instances.items()
      for name, function in _functions(class_name).items()
    }

  def run(self, call: Call) -> str:
    """The answer of one call, in the words of the benchmark's executor; never raises.

    An unknown name changes nothing. Functions that a task holds back for a while are not
    shown before, but exist: so it is in the benchmark, and one right answer needs it.
    """
    if call.name not in self._functions:
      return f"Error during execution: name '{call.name}' is not defined"
    try:
      # A tool sets the precision of the whole process.
      with decimal.localcontext():
        return _told(self._functions[call.name](*call.args, **call.kwargs))
    except Exception as error:  # the tools raise whatever wrong arguments lead to
      return f"Error during execution: {error}"

  def packed(self) -> bytes:
    """The tools as they are now, for other boxes."""
    return pickle.dumps(self.instances)

  def replay(self, calls: Sequence[str]) -> list[str]:
    """The answers of the benchmark's own calls, one each."""
    return [self.run(parse_calls(call)[0]) for call in calls]


def pack_tools(scenario: Scenario) -> bytes:
  """The tools of a task in the state that it begins with, pickled.

  A fresh load is not enough to keep episodes apart: with long context, tools refer to
  lists of their modules and write into them. A pickle shares nothing.

  Raises:
    ModuleNotFoundError: the package is not installed.
  """
  stateless = package_module("constants.executable_backend_config").STATELESS_CLASSES
  instances = {}
  for name in scenario.classes:
    instances[name] = _tool_class(name)()
    if name not in stateless:
      instances[name]._load_scenario(
        copy.deepcopy(scenario.config.get(name, {})),
        long_context=scenario.family == "long_context",
      )
  return pickle.dumps(instances)


@functools.cache
def _tool_class(name: str) -> type:
  files = package_module("constants.executable_backend_config").CLASS_FILE_PATH_MAPPING
  module = package_module(files[name].removeprefix("bfcl_eval."))
  return vars(module)[name]


@functools.cache
def _functions(class_name: str) -> dict[str, Any]:
  """The documented functions of a tool class; no other attribute can be called."""
  methods = vars(_tool_class(class_name))
  return {name: methods[name] for name in read_docs(class_name)}


def _told(result: object) -> str:
  """A result as text, as the benchmark's executor writes it."""
  if isinstance(result, str):
    return result
  if isinstance(result, dict):
    try:
      return json.dumps(result)
    except (TypeError, ValueError):
      return str(result)
  return str(result)
