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

from absl import app, flags

from skilljax import checkpoint, config, hosts, watch
from skilljax.skills.files import BankFileError

HOSTS = flags.DEFINE_string(
  "hosts", "", "'auto', or 'ADDRESS:PORT,COUNT,INDEX', where several hosts are one run"
)
# How long what may take among several hosts; defaults: `skilljax.watch.Limits`.
LIMITS = {
  name: flags.DEFINE_float(name, vars(watch.Limits())[name], f"seconds: {said}")
  for name, said in (
    ("join_s", "until all hosts have joined"),
    ("quiet_s", "a host without a sign of life for so long is gone"),
    ("start_s", "without progress for so long a host that reads or compiles hangs"),
    ("hang_s", "without progress for so long a host hangs, once the run is under way"),
    ("save_s", "without progress for so long a host that saves hangs"),
    ("wait_s", "all hosts may wait for each other, or for a learner's step, for so long"),
  )
}

# Errors that name what to change; where they were raised helps nobody.
_KINDS = {
  config.ConfigError: "config",
  checkpoint.CheckpointError: "checkpoint",
  BankFileError: "bank",
}
USER_ERRORS = tuple(_KINDS)
_OVERRIDE = re.compile(r"--?config\.([\w.]+)(=|$)")


def run(main: Callable[[Sequence[str]], Any], *, default_config: str = "") -> None:
  """`absl.app.run` for a command with the flag `--config`.

  A config that cannot be used ends the command with one line and exit status 1.

  Args:
    main: of the command.
    default_config: where the flag is not given. Not a default of the flag itself, which
      would be loaded, with all overrides, as soon as the flag is defined.
  """
  checkpoint.code_commit()
  parser = functools.partial(parse, default_config=default_config)
  together = functools.partial(_with_hosts, main)
  app.run(functools.partial(_call, together), flags_parser=parser)


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


def _with_hosts(main: Callable[[Sequence[str]], Any], argv: Sequence[str]) -> Any:
  """Runs a command as one of several hosts, where the flags say so."""
  try:
    limits = watch.Limits(**{name: flag.value for name, flag in LIMITS.items()})
    hosts.connect(HOSTS.value, limits)
  except ValueError as error:
    raise config.ConfigError(str(error)) from error
  try:
    result = main(argv)
  except USER_ERRORS as error:
    hosts.end(error, message=_told(error))
    raise
  except BaseException as error:
    hosts.end(error)
    raise
  hosts.leave()
  return result


def _call(function: Callable, *args: Any) -> Any:
  """Calls; what cannot be used is the user's to mend, not a crash."""
  try:
    return function(*args)
  except USER_ERRORS as error:
    sys.exit(_told(error))


def _told(error: Exception) -> str:
  kind = next(kind for type_, kind in _KINDS.items() if isinstance(error, type_))
  return f"{kind} error: {error}"
