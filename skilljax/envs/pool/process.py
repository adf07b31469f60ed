"""One worker process: the parent's handle, and the loop that runs in the child.

Both sides speak one JSON object a line over a socket pair. JSON, because what a broken
child writes must never be able to do more than fail to parse; lines, because a reader
must never block on half a message. A child is a fresh interpreter (never a fork: forks
after JAX has started deadlock) and does not import the parent's main module, so it stays
as small as the environment it hosts.

Each child leads a process group of its own, and ends with everything in it.

Must not know about: tickets, scheduling, which environment it is.
"""

import base64
import contextlib
import dataclasses
import json
import os
import pickle
import signal
import socket
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from typing import Any

from skilljax.envs.base import Env, UnplayableTask
from skilljax.envs.pool.guard import Guard
from skilljax.types import Observation, Task

_COMMAND = "from skilljax.envs.pool import process; process.child_main()"
_CHUNK_BYTES = 1 << 16
_SEND_TIMEOUT_S = 10.0
_KILL_TIMEOUT_S = 5.0
# No text game says so much at once, and a tokenizer would choke on it.
_MAX_LINE_BYTES = 1 << 20


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
    self._buffer = bytearray()
    ours, theirs = socket.socketpair()
    self._socket = ours
    self._socket.setblocking(False)
    # The child finds modules where the parent does, including the folder of a script.
    paths = os.pathsep.join(os.path.abspath(path) for path in sys.path)
    with theirs:
      self._process = subprocess.Popen(
        [sys.executable, "-c", _COMMAND, str(theirs.fileno())],
        pass_fds=(theirs.fileno(),),
        env={**os.environ, "PYTHONPATH": paths},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,  # engines print; the terminal belongs to the parent
        # Ctrl-C is the parent's business; and a group can be ended as a whole.
        start_new_session=True,
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
      self._socket.settimeout(_SEND_TIMEOUT_S)
      self._socket.sendall(_line(message))
      self._socket.setblocking(False)
    except OSError as error:
      raise WorkerLost(f"worker {self.pid} took no message: {error}") from error

  def receive(self) -> list[dict[str, Any]]:
    """Every complete message that has arrived; never blocks.

    Raises:
      WorkerLost: the child is gone, or wrote something that is no message.
    """
    ended = False
    while len(self._buffer) <= _MAX_LINE_BYTES and not ended:
      try:
        chunk = self._socket.recv(_CHUNK_BYTES)
      except BlockingIOError:
        break
      except OSError as error:
        raise WorkerLost(f"worker {self.pid} is unreachable: {error}") from error
      self._buffer += chunk
      ended = not chunk
    *lines, self._buffer = self._buffer.split(b"\n")
    if ended and not lines:  # else it is said again, after what was written before
      raise WorkerLost(f"worker {self.pid} died {self._exit_text()}")
    if len(self._buffer) > _MAX_LINE_BYTES:
      raise WorkerLost(f"worker {self.pid} wrote an endless message")
    return [self._parse(line) for line in lines]

  def _parse(self, line: bytearray) -> dict[str, Any]:
    try:
      message = json.loads(line)
    except (ValueError, RecursionError):
      message = None
    if not isinstance(message, dict):
      raise WorkerLost(f"worker {self.pid} wrote garbage: {bytes(line[:80])!r}")
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
    """True when the child is gone and collected, with all it has started."""
    try:
      self._process.wait(timeout=timeout_s)
    except subprocess.TimeoutExpired:
      return False
    self._kill_group()
    return True

  def kill(self):
    """Ends the child and all it has started, now, and collects it."""
    self._socket.close()
    self._kill_group()
    # What the kernel cannot end (a dead network disk) must not hold up the run.
    with contextlib.suppress(subprocess.TimeoutExpired):
      self._process.wait(timeout=_KILL_TIMEOUT_S)

  def _kill_group(self):
    # The number stays taken while one member lives, so it is nobody else's.
    with contextlib.suppress(ProcessLookupError, PermissionError):
      os.killpg(self.pid, signal.SIGKILL)


def stop_all(processes: set[WorkerProcess], guard: Guard, grace_s: float = 2.0):
  """Ends every process of the set: kindly, then by force. Leaves no zombie."""
  for process in processes:
    process.ask_to_exit()
  deadline = time.monotonic() + grace_s
  for process in processes:
    if not process.reap(max(0.0, deadline - time.monotonic())):
      process.kill()
    guard.forget(process.pid)
  processes.clear()
  guard.close()


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
  connection = socket.socket(fileno=int(sys.argv[1]))
  # A parent that was killed leaves a broken pipe behind; there is nobody to tell.
  with connection, contextlib.suppress(BrokenPipeError, ConnectionResetError):
    _serve(connection.makefile("rwb"))


def _line(message: dict[str, Any]) -> bytes:
  line = json.dumps(message).encode("ascii") + b"\n"
  if len(line) > _MAX_LINE_BYTES:  # the parent would give up the whole worker
    raise ValueError(f"an answer of {len(line)} bytes; {_MAX_LINE_BYTES} are the limit")
  return line


def _last_lines(error: BaseException) -> str:
  return "".join(traceback.format_exception(error)[-2:]).strip()


def _serve(stream):
  opening = json.loads(stream.readline() or b"null")
  if opening is None:
    return
  # The whole boundary is one place where any failure of foreign code becomes a message;
  # SystemExit too, which engines raise where an error is meant.
  try:
    make = pickle.loads(base64.b64decode(opening["make"]))
    envs: list[Env | None] = [make(), *[None] * (opening["num_slots"] - 1)]
    reply = _line({"ready": os.getpid()})
  except (Exception, SystemExit) as error:
    envs, reply = [], _line({"failed": _last_lines(error)})
  stream.write(reply)
  stream.flush()
  for line in stream if envs else ():
    request = json.loads(line)
    slot, number = request["slot"], request["number"]
    try:
      env = envs[slot] = envs[slot] or make()
      if "task" in request:
        answer = env.reset(Task(**request["task"]))
      else:
        answer = env.step(request["action"])
      reply = _line({"number": number, "observation": encode_answer(answer)})
    except UnplayableTask as error:
      reply = _line({"number": number, "unplayable": str(error)})
    except (Exception, SystemExit) as error:
      envs[slot] = None  # its state is unknown from here on
      reply = _line({"number": number, "error": _last_lines(error)})
    stream.write(reply)
    stream.flush()
  for env in envs:
    if env is not None:
      env.close()
