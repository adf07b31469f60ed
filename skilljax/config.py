"""Configs: load a Python file, read it into frozen dataclasses, miss nothing.

Purpose: a configured thing that has no effect is a bug. An unknown key, a value of the
wrong type and a key that nothing read each stop the program before training starts.
Must not know about: any setting by name, JAX, models, environments.

  config = config_lib.load("configs/household.py:debug", {"rl.edit_weight": 0.1})
  reader = config_lib.Reader(config)
  engine = reader.build(EngineSettings, "engine")
  seed = reader.get("seed")
  reader.assert_all_read()
"""

import dataclasses
import difflib
import hashlib
import importlib.util
import json
import math
import os
import types
import typing
from collections.abc import Iterable, Mapping
from typing import Any

import ml_collections

# What a config, or a part of it, may be: both read alike.
Section = ml_collections.ConfigDict | Mapping[str, Any]


class ConfigError(ValueError):
  """A config that must not be trained with. The message names key, value and fix."""


def parse_arg(
  arg: str | None, **defaults: bool | int | float | str
) -> ml_collections.ConfigDict:
  """Parses the part after the colon of `configs/x.py:debug,chips=8`.

  Args:
    arg: comma-separated `name` (sets a flag) and `name=value`; None or '' for none.
    **defaults: every legal name with its default; values are cast to the default's type.
  Returns:
    A locked ConfigDict with the names of `defaults`.
  Raises:
    ConfigError: unknown name, or a value that does not cast.
  """
  values = dict(defaults)
  for item in filter(None, (part.strip() for part in (arg or "").split(","))):
    name, has_value, text = item.partition("=")
    if name not in defaults:
      raise ConfigError(
        f"config variant {name!r} of {arg!r} is unknown{nearest(name, defaults)}"
      )
    kind = type(defaults[name])
    if kind is bool:
      text = text if has_value else "true"
      if text.lower() not in ("true", "false"):
        raise ConfigError(f"config variant {item!r}: {name} takes true or false")
      values[name] = text.lower() == "true"
      continue
    try:
      values[name] = kind(text)
    except ValueError as error:
      raise ConfigError(
        f"config variant {item!r}: {name} takes {kind.__name__}, "
        f"for example {name}={defaults[name]}"
      ) from error
  return ml_collections.ConfigDict(values).lock()


def load(
  path_and_arg: str, overrides: Mapping[str, Any] | None = None
) -> ml_collections.ConfigDict:
  """Runs `get_config` of a config file, with the semantics of the `--config` flag.

  Args:
    path_and_arg: 'configs/household.py' or 'configs/household.py:debug,chips=8'.
    overrides: dotted key → value, as `--config.rl.edit_weight=0.1` would set it.
  Returns:
    A locked ConfigDict.
  Raises:
    ConfigError: no such file, no `get_config`, or an override that does not fit.
  """
  path, has_arg, arg = path_and_arg.partition(":")
  if not os.path.isfile(path):
    raise ConfigError(f"config file {path!r} does not exist; give a path to a .py file")
  spec = importlib.util.spec_from_file_location("skilljax_loaded_config", path)
  if spec is None or spec.loader is None:
    raise ConfigError(f"config file {path!r} is not a Python file (.py)")
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  if "get_config" not in vars(module):
    raise ConfigError(f"config file {path!r} defines no get_config(arg)")
  config = module.get_config(arg) if has_arg else module.get_config()
  if not isinstance(config, ml_collections.ConfigDict):
    raise ConfigError(f"get_config of {path!r} returned {type(config)}, not a ConfigDict")
  config.lock()
  known = flatten(config)
  for key, value in (overrides or {}).items():
    if key not in known:
      raise ConfigError(
        f"override {key}={value!r}: {path} has no such key{nearest(key, known)}"
      )
    try:
      config.update_from_flattened_dict({key: value})
    except TypeError as error:
      raise ConfigError(
        f"override {key}={value!r}: the default is {known[key]!r} "
        f"({type(known[key]).__name__}); give a value of that type"
      ) from error
  return config


def flatten(config: Section, prefix: str = "") -> dict[str, Any]:
  """Dotted key → leaf value, in the config's order. An empty section is a leaf."""
  leaves: dict[str, Any] = {}
  for name, value in config.items():
    if is_section(value) and len(value):
      leaves.update(flatten(value, f"{prefix}{name}."))
    else:
      leaves[f"{prefix}{name}"] = value
  return leaves


def to_json(config: Section) -> str:
  """The resolved config as JSON with sorted keys, as it is stored with a run."""
  return json.dumps(plain(config), indent=2, sort_keys=True, allow_nan=False)


def fingerprint(config: Section) -> str:
  """16 hex digits that change if and only if a key or a value changes."""
  return hashlib.sha256(to_json(config).encode()).hexdigest()[:16]


class Reader:
  """A frozen view of a config that remembers which leaf keys were read."""

  def __init__(self, config: ml_collections.ConfigDict):
    # Freezing copies: later changes to `config` are not seen by a run.
    self.config = ml_collections.FrozenConfigDict(config)
    self._leaves = flatten(self.config)
    self._read: set[str] = set()

  def get(self, key: str) -> Any:
    """Returns one leaf or section by dotted key, and marks it and all below as read.

    Raises:
      ConfigError: no such key.
    """
    value: Any = self.config
    for name in key.split("."):
      if not is_section(value) or name not in value:
        raise ConfigError(
          f"config key {key!r} is missing{nearest(key, self._leaves)}; add it"
        )
      value = value[name]
    self._read.update(
      leaf for leaf in self._leaves if leaf == key or leaf.startswith(f"{key}.")
    )
    return value

  def build(self, cls: type, section: str, **given: Any) -> Any:
    """Builds the frozen dataclass `cls` from a section; see `build`."""
    return build(cls, self.get(section), prefix=section, **given)

  def unread(self) -> dict[str, Any]:
    """Leaf keys that are set (not None) and that nothing has read."""
    return {
      key: value
      for key, value in self._leaves.items()
      if key not in self._read and value is not None
    }

  def assert_all_read(self) -> None:
    """Call before training starts.

    Raises:
      ConfigError: lists each unread key, its value and the fix.
    """
    unread = self.unread()
    if unread:
      lines = "\n".join(f"  {key} = {value!r}" for key, value in unread.items())
      raise ConfigError(
        f"{len(unread)} config key(s) have no effect in this run:\n{lines}\n"
        "Remove each from the config, or set it to None."
      )


def build(cls: type, section: Section, *, prefix: str, **given: Any) -> Any:
  """Builds a dataclass from a config section, strictly.

  A key that is absent or None takes the field's default. A field whose type is a
  dataclass is built from a nested section.

  Args:
    cls: a dataclass, best frozen.
    section: field name → value.
    prefix: dotted key of the section, for messages.
    **given: fields that the program supplies; the section may not set them.
  Raises:
    ConfigError: unknown key, wrong type, no value for a field without default, or the
      dataclass' own `__post_init__` raised a ValueError.
  """
  if not is_section(section):
    raise ConfigError(f"config key {prefix} = {section!r} must be a section")
  hints = typing.get_type_hints(cls)
  fields = {f.name: f for f in dataclasses.fields(cls) if f.init and f.name not in given}
  values = dict(given)
  for name, value in section.items():
    key = f"{prefix}.{name}"
    if name not in fields:
      raise ConfigError(
        f"config key {key} = {value!r} is unknown to {cls.__name__}"
        f"{nearest(name, fields)}; remove it or correct its name"
      )
    if value is not None:
      values[name] = cast(value, hints[name], key)
  for name, field in fields.items():
    required = (
      field.default is dataclasses.MISSING
      and field.default_factory is dataclasses.MISSING
    )
    if required and name not in values:
      raise ConfigError(
        f"config key {prefix}.{name} is missing and {cls.__name__} has no default; "
        f"set it to a value of type {show_type(hints[name])}"
      )
  try:
    return cls(**values)
  except ConfigError:
    raise
  except ValueError as error:
    raise ConfigError(f"config section {prefix}: {error}") from error


def cast(value: Any, hint: Any, key: str) -> Any:
  """Returns `value` as `hint` asks, or raises a ConfigError that names `key`.

  The only conversions: int → float, list → tuple, section → dataclass or dict.
  """
  origin, args = typing.get_origin(hint), typing.get_args(hint)
  if isinstance(value, float) and not math.isfinite(value):
    raise ConfigError(f"config key {key} = {value} must be a finite number")
  if hint is Any:
    return value
  if dataclasses.is_dataclass(hint) and is_section(value):
    return build(typing.cast(type, hint), value, prefix=key)
  if origin in (typing.Union, types.UnionType):
    options = [option for option in args if option is not type(None)]
    if len(options) == 1:  # X | None: the error of X says more than that of the union
      return cast(value, options[0], key)
    for option in options:
      try:
        return cast(value, option, key)
      except ConfigError:
        continue
  elif origin is typing.Literal:
    if value in args:
      return value
  elif origin is tuple and isinstance(value, (tuple, list)):
    kinds = (args[0],) * len(value) if args[1:] == (...,) else args
    if len(kinds) == len(value):
      names = (f"{key}[{i}]" for i in range(len(value)))
      return tuple(map(cast, value, kinds, names))
  elif origin in (dict, Mapping) and is_section(value):
    return {name: cast(v, args[1], f"{key}.{name}") for name, v in value.items()}
  elif hint is float and isinstance(value, int) and not isinstance(value, bool):
    return float(value)
  elif isinstance(hint, type) and type(value) is hint:
    return value
  raise ConfigError(
    f"config key {key} = {value!r} has type {type(value).__name__}; "
    f"it must be {show_type(hint)}"
  )


def is_section(value: Any) -> typing.TypeGuard[Section]:
  """True for a ConfigDict (frozen or not) and for a plain mapping."""
  return isinstance(value, (ml_collections.ConfigDict, Mapping))


def plain(value: Any) -> Any:
  """Nested dicts, lists and scalars only; raises ConfigError for anything else."""
  if is_section(value):
    return {name: plain(inner) for name, inner in value.items()}
  if isinstance(value, (list, tuple)):
    return [plain(inner) for inner in value]
  if value is None or isinstance(value, (bool, int, float, str)):
    return value
  raise ConfigError(f"config value {value!r} ({type(value).__name__}) is not plain data")


def show_type(hint: Any) -> str:
  """A type as a reader would write it: 'int', 'tuple[int, ...]'."""
  return hint.__name__ if isinstance(hint, type) else str(hint).replace("typing.", "")


def nearest(name: str, valid: Iterable[str]) -> str:
  """'; did you mean a, b?' or, where nothing is near, '; valid: a, b, c'."""
  names = list(valid)
  close = difflib.get_close_matches(name, names, n=3, cutoff=0.6)
  if close:
    return f"; did you mean {', '.join(close)}?"
  return f"; valid: {', '.join(sorted(names)) or '(none)'}"
