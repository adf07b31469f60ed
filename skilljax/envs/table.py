"""The table of environments by name.

Each is imported only when it is asked for, so that one whose packages are not installed
costs nothing and breaks nothing.

Must not know about: JAX, models, tokens, worker processes, how an environment works.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from skilljax.envs.base import Env, TaskSource, Teacher


@dataclasses.dataclass(frozen=True)
class EnvKind:
  """What the table knows of one environment.

  Attributes:
    settings: frozen, picklable dataclass; its fields are keys of config section `env`.
    make_env: settings -> Env.
    make_source: settings -> TaskSource.
    make_teacher: settings -> Teacher.
    code_actions: actions are program text: their case and white space are kept.
  """

  settings: type
  make_env: Callable[[Any], Env]
  make_source: Callable[[Any], TaskSource]
  make_teacher: Callable[[Any], Teacher]
  code_actions: bool = False


def _household() -> EnvKind:
  from skilljax.envs import household

  return EnvKind(
    settings=household.HouseholdSettings,
    make_env=household.HouseholdEnv,
    make_source=household.HouseholdSource,
    make_teacher=household.HouseholdTeacher,
  )


def _alfworld() -> EnvKind:
  from skilljax.envs import alfworld
  from skilljax.envs.alfworld import teacher

  return EnvKind(
    settings=alfworld.AlfworldSettings,
    make_env=alfworld.AlfworldEnv,
    make_source=alfworld.AlfworldSource,
    make_teacher=teacher.AlfworldTeacher,
  )


def _webshop() -> EnvKind:
  from skilljax.envs import webshop
  from skilljax.envs.webshop import teacher

  return EnvKind(
    settings=webshop.WebshopSettings,
    make_env=webshop.WebshopEnv,
    make_source=webshop.WebshopSource,
    make_teacher=teacher.WebshopTeacher,
  )


def _bfcl() -> EnvKind:
  from skilljax.envs import bfcl

  return EnvKind(
    settings=bfcl.BfclSettings,
    make_env=bfcl.BfclEnv,
    make_source=bfcl.BfclSource,
    make_teacher=bfcl.make_bfcl_teacher,
    code_actions=True,
  )


def _appworld() -> EnvKind:
  from skilljax.envs import appworld

  return EnvKind(
    settings=appworld.AppworldSettings,
    make_env=appworld.AppworldEnv,
    make_source=appworld.AppworldSource,
    make_teacher=appworld.AppworldTeacher,
    code_actions=True,
  )


def _scienceworld() -> EnvKind:
  from skilljax.envs import scienceworld

  return EnvKind(
    settings=scienceworld.ScienceworldSettings,
    make_env=scienceworld.ScienceworldEnv,
    make_source=scienceworld.ScienceworldSource,
    make_teacher=scienceworld.make_teacher,
  )


def _textworld_express() -> EnvKind:
  from skilljax.envs import textworld_express

  return EnvKind(
    settings=textworld_express.ExpressSettings,
    make_env=textworld_express.ExpressEnv,
    make_source=textworld_express.ExpressSource,
    make_teacher=textworld_express.make_teacher,
  )


_KINDS: Mapping[str, Callable[[], EnvKind]] = {
  "alfworld": _alfworld,
  "appworld": _appworld,
  "bfcl": _bfcl,
  "household": _household,
  "scienceworld": _scienceworld,
  "textworld_express": _textworld_express,
  "webshop": _webshop,
}


def env_names() -> tuple[str, ...]:
  """The names that `make_env` and `make_source` know."""
  return tuple(sorted(_KINDS))


def _kind(name: str) -> EnvKind:
  if name not in _KINDS:
    known = ", ".join(env_names())
    raise ValueError(
      f"env name {name!r} is unknown; known: {known} (config key env.name)"
    )
  return _KINDS[name]()


def settings_type(name: str) -> type:
  """The dataclass whose fields are the keys of config section `env`.

  Raises:
    ValueError: unknown environment.
  """
  return _kind(name).settings


def make_settings(name: str, values: Mapping[str, Any]) -> Any:
  """The settings record of an environment, from a plain mapping.

  Raises:
    ValueError: unknown environment, unknown key, or a value out of range.
  """
  settings = settings_type(name)
  known = [field.name for field in dataclasses.fields(settings)]
  unknown = sorted(set(values) - set(known))
  if unknown:
    keys = ", ".join(f"env.{key}" for key in unknown)
    raise ValueError(
      f"unknown config keys {keys} for environment {name!r}; known: {', '.join(known)}"
    )
  return settings(**values)


def _checked(name: str, settings: Any) -> EnvKind:
  kind = _kind(name)
  if not isinstance(settings, kind.settings):
    raise ValueError(
      f"settings of environment {name!r} must be a {kind.settings.__name__}, "
      f"got {type(settings).__name__}; build it with make_settings"
    )
  return kind


def code_actions(name: str) -> bool:
  """Whether an environment's actions are program text, kept as they are written.

  Raises:
    ValueError: unknown name.
  """
  return _kind(name).code_actions


def make_env(name: str, settings: Any) -> Env:
  """Builds one environment object.

  `functools.partial(make_env, name, settings)` is picklable: it is what `EnvPool` takes.

  Args:
    name: one of `env_names()`.
    settings: the environment's own settings record, see `make_settings`.
  Raises:
    ValueError: unknown name, or settings of another environment.
    FileNotFoundError: the environment's data is absent; the message names the key.
    ModuleNotFoundError: its packages are not installed; the message says how.
  """
  return _checked(name, settings).make_env(settings)


def make_source(name: str, settings: Any) -> TaskSource:
  """Builds the task source of an environment. Arguments and errors as `make_env`."""
  return _checked(name, settings).make_source(settings)


def make_teacher(name: str, settings: Any) -> Teacher:
  """Builds the teacher of an environment. Arguments and errors as `make_env`."""
  return _checked(name, settings).make_teacher(settings)
