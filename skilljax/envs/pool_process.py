"""One worker process: the parent's handle, and the loop that runs in the child.

Both sides speak one JSON object a line over a socket pair. JSON, because what a broken
child writes must never be able to do more than fail to parse; lines, because a reader
must never block on half a message. A child is a fresh interpreter (never a fork: forks
after JAX has started deadlock) and does not import the parent's main module, so it stays
as small as the environment it hosts.

Must not know about: tickets, scheduling, which environment it is.
"""

import base64
import contextlib
import dataclasses
import json
import os
import pickle
import socket
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable
from typing import Any

from skilljax.envs.base import Env
from skilljax.types import Observation, Task

_COMMAND = "from skilljax.envs import pool_process; pool_process.child_main()"
_CHUNK_BYTES = 1 << 16
_SEND_TIMEOUT_S = 10.0
_MAX_LINE_BYTES = 1 << 24
_PARENT_CHECK_S = 2.0


class WorkerLost(RuntimeError):
  """The child died, or what it wrote is not an answer."""


class WorkerProcess:
  """The parent's end of one child."""

  def __init__(self, make: Callable[[], Env], num_slots: int):
    """Spawns a child; returns at once. The child's first message says 'ready'.

    Args:
      make: picklable factory, importable by name from a fresh interpreter.
      num_slots: environment objects that the child may hold, >= 1.
    """
    self._buffer = b""
    ours, theirs = socket.socketpair()
    self._socket = ours
    self._socket.settimeout(_SEND_TIMEOUT_S)
    # The child finds modules where the parent does, including the folder of a script.
    paths = os.pathsep.join(os.path.abspath(path) for path in sys.path)
    with theirs:
      self._process = subprocess.Popen(
        [sys.executable, "-c", _COMMAND, str(theirs.fileno())],
        pass_fds=(theirs.fileno(),),
        env={**os.environ, "PYTHONPATH": paths},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,  # engines print; the terminal belongs to the parent
        start_new_session=True,  # Ctrl-C is the parent's business
      )
    blob = base64.b64encode(pickle.dumps(make)).decode("ascii")
    self._first = {"make": blob, "num_slots": num_slots}

  def begin(self):
    """Hands the factory over. Raises WorkerLost if the child is gone already."""
    self.send(self._first)

  @property
  def pid(self) -> int:
    """Process id of the child."""
    return self._process.pid

  def fileno(self) -> int:
    """For selectors: readable when the child wrote something or died."""
    return self._socket.fileno()

  def send(self, message: dict[str, Any]):
    """Writes one message. Raises WorkerLost if the child cannot take it."""
    try:
      self._socket.sendall(json.dumps(message).encode("ascii") + b"\n")
    except OSError as error:
      raise WorkerLost(f"worker {self.pid} took no message: {error}") from error

  def receive(self) -> list[dict[str, Any]]:
    """Every complete message that has arrived; never blocks.

    Raises:
      WorkerLost: the child is gone, or wrote something that is no message.
    """
    try:
      chunk = self._socket.recv(_CHUNK_BYTES, socket.MSG_DONTWAIT)
    except BlockingIOError:
      return []
    except OSError as error:
      raise WorkerLost(f"worker {self.pid} is unreachable: {error}") from error
    if not chunk:
      raise WorkerLost(f"worker {self.pid} died {self._exit_text()}")
    *lines, self._buffer = (self._buffer + chunk).split(b"\n")
    if len(self._buffer) > _MAX_LINE_BYTES:
      raise WorkerLost(f"worker {self.pid} wrote an endless message")
    return [self._parse(line) for line in lines]

  def _parse(self, line: bytes) -> dict[str, Any]:
    try:
      message = json.loads(line)
    except ValueError:
      message = None
    if not isinstance(message, dict):
      raise WorkerLost(f"worker {self.pid} wrote garbage: {line[:80]!r}")
    return message

  def _exit_text(self) -> str:
    try:
      code = self._process.wait(timeout=1.0)
    except subprocess.TimeoutExpired:
      return "(its pipe is closed)"
    return f"(signal {-code})" if code < 0 else f"(exit status {code})"

  def ask_to_exit(self):
    """Closes the pipe; a healthy child then closes its environments and exits."""
    self._socket.close()

  def reap(self, timeout_s: float = 0.0) -> bool:
    """True when the child is gone and collected."""
    try:
      self._process.wait(timeout=timeout_s)
    except subprocess.TimeoutExpired:
      return False
    return True

  def kill(self):
    """Ends the child now and collects it."""
    self._socket.close()
    self._process.kill()
    self._process.wait()


def stop_all(processes: set[WorkerProcess], grace_s: float = 2.0):
  """Ends every process of the set: kindly, then by force. Leaves no zombie."""
  for process in processes:
    process.ask_to_exit()
  deadline = time.monotonic() + grace_s
  for process in processes:
    if not process.reap(max(0.0, deadline - time.monotonic())):
      process.kill()
  processes.clear()


def encode_answer(answer: Observation) -> dict[str, Any]:
  """An observation as plain JSON types."""
  return dataclasses.asdict(answer)


def decode_answer(fields: Any) -> Observation:
  """The inverse of `encode_answer`. Raises WorkerLost if it is no observation."""
  known = {field.name: type(field.default) for field in dataclasses.fields(Observation)}
  known["text"] = str
  if not isinstance(fields, dict) or set(fields) != set(known):
    raise WorkerLost(f"worker wrote an observation with fields {str(fields)[:80]}")
  commands = fields["admissible"]
  if not isinstance(commands, list) or not all(isinstance(c, str) for c in commands):
    raise WorkerLost(f"worker wrote admissible={str(commands)[:80]}, not a list of text")
  values = {**fields, "admissible": tuple(commands)}
  for name, kind in known.items():
    if not isinstance(values[name], (int, float) if kind is float else kind):
      raise WorkerLost(
        f"worker wrote {name}={values[name]!r}, which is no {kind.__name__}"
      )
  return Observation(**values)


def child_main():
  """Entry point of the child: serves until the parent closes the pipe."""
  # A child that hangs in a step does not see its pipe close when the parent is killed.
  threading.Thread(target=_exit_with, args=(os.getppid(),), daemon=True).start()
  connection = socket.socket(fileno=int(sys.argv[1]))
  # A parent that was killed leaves a broken pipe behind; there is nobody to tell.
  with connection, contextlib.suppress(BrokenPipeError, ConnectionResetError):
    _serve(connection.makefile("rwb"))


def _exit_with(parent: int):
  while os.getppid() == parent:
    time.sleep(_PARENT_CHECK_S)
  os._exit(1)


def _write(stream, message: dict[str, Any]):
  stream.write(json.dumps(message).encode("ascii") + b"\n")
  stream.flush()


def _last_lines(error: Exception) -> str:
  return "".join(traceback.format_exception(error)[-2:]).strip()


def _serve(stream):
  opening = json.loads(stream.readline() or b"null")
  if opening is None:
    return
  # The whole boundary is one place where any failure of foreign code becomes a message.
  try:
    make = pickle.loads(base64.b64decode(opening["make"]))
    envs: list[Env | None] = [make(), *[None] * (opening["num_slots"] - 1)]
  except Exception as error:
    _write(stream, {"failed": _last_lines(error)})
    return
  _write(stream, {"ready": os.getpid()})
  for line in stream:
    request = json.loads(line)
    slot = request["slot"]
    try:
      env = envs[slot] = envs[slot] or make()
      if "task" in request:
        answer = env.reset(Task(**request["task"]))
      else:
        answer = env.step(request["action"])
      reply = {"serial": request["serial"], "observation": encode_answer(answer)}
    except Exception as error:
      envs[slot] = None  # its state is unknown from here on
      reply = {"serial": request["serial"], "error": _last_lines(error)}
    _write(stream, reply)
  for env in envs:
    if env is not None:
      env.close()
