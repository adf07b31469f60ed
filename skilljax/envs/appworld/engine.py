"""The process that runs AppWorld, seen from here: start, ask, end.

Must not know about: tasks, episodes, observations.
"""

import contextlib
import json
import os
import pathlib
import queue
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Mapping
from typing import Any

from skilljax.envs.appworld import child

VERSION = "0.1.3.post1"
ROOT_VARIABLE = "APPWORLD_ROOT"
_INSTALL = f"python -m venv VENV && VENV/bin/pip install appworld=={VERSION}"


class EngineError(RuntimeError):
  """The engine's process failed, hung, or said something that is no answer."""


class EngineRefusal(EngineError):
  """The engine is well and says why it cannot do what it was asked for."""


class Engine:
  """The process that runs AppWorld; one request, one answer."""

  def __init__(self, python: str, root: pathlib.Path, *, timeout_s: float):
    """Starts the process and waits until AppWorld is imported.

    Args:
      python: as of `find_interpreter`.
      root: folder that holds AppWorld's `data/`.
      timeout_s: longest wait for one answer.
    Raises:
      ModuleNotFoundError: the interpreter lacks appworld, has another version, or
        `appworld install` was not run; the message says what to do.
      EngineError: the process fails.
    """
    self._timeout_s = timeout_s
    self._open = contextlib.ExitStack()
    errors = tempfile.TemporaryFile()  # noqa: SIM115 `close` closes the stack
    self._errors = self._open.enter_context(errors)
    # Not this process's PYTHONPATH: its packages are of another interpreter.
    variables = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    process = subprocess.Popen(
      [python, child.__file__],
      stdin=subprocess.PIPE,
      stdout=subprocess.PIPE,
      stderr=self._errors,
      env=variables | {ROOT_VARIABLE: str(root)},
      cwd=root,
      encoding="utf-8",
      errors="replace",
    )
    self._process = self._open.enter_context(process)
    self._lines: queue.Queue[str] = queue.Queue()
    self._reader = threading.Thread(target=self._read, daemon=True)
    self._reader.start()
    try:
      self._check(self._answer(), python)
    except Exception:
      self.close()
      raise

  def ask(self, request: Mapping[str, Any]) -> dict[str, Any]:
    """Sends one request.

    Raises:
      EngineRefusal: the answer is an error.
      EngineError: no answer in time, no process, or no JSON.
    """
    try:
      self._process.stdin.write(json.dumps(request) + "\n")
      self._process.stdin.flush()
    except OSError as error:
      raise EngineError(f"the AppWorld process is gone{self._said()}") from error
    record = self._answer()
    if "error" in record:
      raise EngineRefusal(f"AppWorld, {request['op']}: {record['error']}")
    return record

  def close(self):
    """Ends the process; it gets two seconds to close its databases."""
    with contextlib.suppress(OSError):
      self._process.stdin.close()
    try:
      self._process.wait(timeout=2.0)
    except subprocess.TimeoutExpired:
      self._process.kill()
    self._reader.join(timeout=2.0)
    self._open.close()

  def _read(self):
    for line in self._process.stdout:
      self._lines.put(line)
    self._lines.put("")

  def _answer(self) -> dict[str, Any]:
    try:
      line = self._lines.get(timeout=self._timeout_s)
    except queue.Empty:
      raise EngineError(
        f"no answer of AppWorld in {self._timeout_s} s (config key env.timeout_s)"
      ) from None
    if not line:
      raise EngineError(f"the AppWorld process has ended{self._said()}")
    try:
      record = json.loads(line)
    except ValueError:
      record = None
    if not isinstance(record, dict):
      raise EngineError(f"AppWorld said what is no answer: {line[:200]!r}")
    return record

  def _check(self, hello: Mapping[str, Any], python: str):
    if "error" in hello:
      raise ModuleNotFoundError(
        f"{python} has no appworld ({hello['error']}): {_INSTALL} "
        "(config key env.python)",
        name="appworld",
      )
    if hello.get("version") != VERSION:
      raise ModuleNotFoundError(
        f"{python} has appworld {hello.get('version')}, and {VERSION} is needed: "
        f"{_INSTALL} (config key env.python)",
        name="appworld",
      )
    if not hello.get("installed"):
      raise ModuleNotFoundError(
        f"the apps of appworld are still packed: run `appworld install` of {python}",
        name="appworld",
      )

  def _said(self) -> str:
    """The end of what the process wrote to standard error."""
    size = self._errors.seek(0, os.SEEK_END)
    self._errors.seek(max(0, size - 500))
    words = self._errors.read().decode(errors="replace").strip()
    return f": {words}" if words else ""


def find_interpreter(python: str) -> str:
  """The interpreter of the engine.

  Raises:
    FileNotFoundError: not set, or no such program.
  """
  found = shutil.which(os.path.expanduser(python)) if python else None
  if found is None:
    raise FileNotFoundError(
      f"python={python!r} must be the interpreter that has appworld installed: "
      f"{_INSTALL} && VENV/bin/appworld install (config key env.python)"
    )
  return os.path.abspath(found)  # the process starts in another folder
