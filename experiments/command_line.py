"""How every command with a config starts: bad keys are named before any work.

`config_flags` alone answers `--config.learner.rate=1` with a traceback that names neither
the file nor the keys there are.

Must not know about: what a command does.
"""

import functools
import re
import sys
from collections.abc import Callable, Sequence
from typing import Any

from absl import app

from skilljax import config

_OVERRIDE = re.compile(r"--?config\.([\w.]+)(=|$)")


def run(main: Callable[[Sequence[str]], Any], *, default_config: str = "") -> None:
  """`absl.app.run` for a command with the flag `--config`.

  A config that cannot be used ends the command with one line and exit status 1.

  Args:
    main: of the command.
    default_config: where the flag is not given. Not a default of the flag itself, which
      would be loaded, with all overrides, as soon as the flag is defined.
  """
  parser = functools.partial(parse, default_config=default_config)
  app.run(functools.partial(_call, main), flags_parser=parser)


def parse(argv: Sequence[str], *, default_config: str = "") -> list[str]:
  """Parses the flags after a look at the config and its overrides.

  Raises:
    SystemExit: no such config or variant, or an override of a key that it lacks.
  """
  argv = list(argv)
  if default_config and not _value_of("--config", argv):
    argv.insert(1, f"--config={default_config}")
  if path := _value_of("--config", argv):
    known = config.flatten(_call(config.load, path))
    for argument in argv:
      override = _OVERRIDE.match(argument)
      if override and override[1] not in known:
        hint = config.nearest(override[1], known)
        sys.exit(f"flag --config.{override[1]}: {path} has no such key{hint}")
  return app.parse_flags_with_usage(argv)


def _value_of(flag: str, argv: Sequence[str]) -> str:
  """The last value of a flag, given as '--flag=value' or '--flag value'; '' if none."""
  value = ""
  for argument, following in zip(argv, [*argv[1:], ""], strict=True):
    name, equals, text = argument.partition("=")
    if name in (flag, flag[1:]):
      value = text if equals else following
  return value


def _call(function: Callable, *args: Any) -> Any:
  """Calls; a config that cannot be used is the user's to mend, not a crash."""
  try:
    return function(*args)
  except config.ConfigError as error:
    sys.exit(f"config error: {error}")
