"""Worlds that are written in Java: one Java process for all of a process's worlds.

These engines keep state in static fields (their random numbers, object ids, simplified
rules), so two worlds that share classes would disturb each other. Here each world gets
the classes anew, from a class loader of its own: worlds of one Java process play exactly
as if each had its own. A world costs 30 MB (ScienceWorld; TextWorldExpress 6 MB) and one
or two seconds of CPU time once, a process 130 MB more and its heap.

The Java process ends when its last world is gone, and when this process ends in any way,
SIGKILL included: it holds the reading end of a pipe, and leaves when that breaks.

Must not know about: which engine it runs, tasks, observations.
"""

import contextlib
import functools
import importlib.util
import logging
import os
import pathlib
import shutil
import subprocess
import tempfile
import weakref
from collections.abc import Iterator
from typing import Any

MIN_HEAP_MB = 64
_INSTALL = "Debian, Ubuntu: apt-get install openjdk-17-jre-headless"
_END_S = 5.0
_REAP_S = 1.0  # from a broken connection until a killed process is known to be dead
_OPTIONS = (
  "-XX:+UseSerialGC",  # workers are many already: no threads to collect garbage
  # Engines keep objects in hash sets, so what they list comes in the order of hashes:
  # with equal ones that is a function of the commands alone.
  *("-XX:+UnlockExperimentalVMOptions", "-XX:hashCode=2"),
  "-XX:+ExitOnOutOfMemoryError",
)


class JvmError(RuntimeError):
  """The Java process could not start, died, or an engine in it raised."""


def find_java() -> str:
  """The `java` of JAVA_HOME, or else of PATH.

  Raises:
    FileNotFoundError: there is none; the message says how to get one.
  """
  home = os.environ.get("JAVA_HOME", "")
  java = shutil.which("java", path=str(pathlib.Path(home, "bin")) if home else None)
  if java is None:
    where = f"in JAVA_HOME={home}/bin" if home else "on PATH"
    raise FileNotFoundError(f"no java {where}; Java >= 11 is needed ({_INSTALL})")
  return java


def engine_folder(package: str, *, extra: str) -> pathlib.Path:
  """The folder of an installed engine, once it is sure that it can run.

  Raises:
    ModuleNotFoundError: the package is not installed; the message names the extra.
    FileNotFoundError: no Java.
  """
  for name in (package, "py4j"):
    if importlib.util.find_spec(name) is None:
      raise ModuleNotFoundError(
        f"{name} is not installed; install it with: pip install -e .[{extra}]", name=name
      )
  find_java()
  return pathlib.Path(importlib.util.find_spec(package).origin).parent


def check_heap(heap_mb: int):
  """Raises a ValueError that names `env.heap_mb` if it is too small for any world."""
  if heap_mb < MIN_HEAP_MB:
    raise ValueError(
      f"heap_mb={heap_mb} must be >= {MIN_HEAP_MB} (config key env.heap_mb)"
    )


class Jvm:
  """One Java process. Use `shared_jvm`, so that the worlds of a process share one."""

  def __init__(self, folder: pathlib.Path, heap_mb: int):
    """Starts it, which takes about half a second.

    Args:
      folder: its working directory, where engines find their data.
      heap_mb: most memory for objects of all its worlds together, MB.
    Raises:
      FileNotFoundError: no Java.
      ModuleNotFoundError: py4j is not installed.
      JvmError: it does not start; the message has what it wrote.
    """
    from py4j import java_gateway, protocol

    logging.getLogger("py4j").setLevel(logging.CRITICAL)  # it raises what it logs
    self._gateways = java_gateway
    self._lost = (protocol.Py4JNetworkError, OSError)
    self._raised = protocol.Py4JError
    self._thrown = protocol.Py4JJavaError  # by Java code, so Java was alive
    command = [find_java(), f"-Xmx{heap_mb}m", *_OPTIONS]
    command += ["-cp", java_gateway.find_jar_path(), "py4j.GatewayServer"]
    # A token, because any user of the machine can reach the port.
    command += ["--die-on-broken-pipe", "--enable-auth", "0"]
    self._log = tempfile.TemporaryFile()  # noqa: SIM115 (closed by the finalizer)
    self._process = subprocess.Popen(
      command,
      cwd=folder,
      stdin=subprocess.PIPE,
      stdout=subprocess.PIPE,
      stderr=self._log,
      start_new_session=True,  # Ctrl-C is this process's business
    )
    self._finalizer = weakref.finalize(self, _end, self._process, self._log)
    port = self._process.stdout.readline().strip()
    if not port.isdigit():
      self._process.wait()
      raise JvmError(f"Java did not start with heap_mb={heap_mb}: {self._last_words()}")
    token = self._process.stdout.readline().strip().decode()
    # Java objects are dropped by hand: their finalizers would call a dead process.
    self._place = java_gateway.GatewayParameters(
      port=int(port), auth_token=token, enable_memory_management=False
    )
    self._silence()

  @property
  def pid(self) -> int:
    """Process id."""
    return self._process.pid

  @property
  def alive(self) -> bool:
    """True while it runs."""
    return self._process.poll() is None

  def close(self):
    """Ends it now; worlds in it are lost."""
    self._finalizer()

  def connect(self) -> Any:
    """A py4j gateway with a connection of its own.

    Each world needs its own: py4j remembers methods by class name, one memory a
    connection, and classes of one name differ from world to world.
    """
    return self._gateways.JavaGateway(gateway_parameters=self._place)

  @contextlib.contextmanager
  def errors(self) -> Iterator[None]:
    """Turns what py4j raises into a JvmError that says what happened.

    Raises:
      JvmError: Java died, or the engine raised.
    """
    if not self.alive:
      raise JvmError(f"the Java process is gone: {self._last_words()}")
    try:
      yield
    except self._lost as error:
      raise JvmError(f"the Java process is gone: {self._last_words()}") from error
    except self._raised as error:
      # A connection that breaks within a call looks like an error of the engine.
      if not isinstance(error, self._thrown) and self._ended_within(_REAP_S):
        raise JvmError(f"the Java process is gone: {self._last_words()}") from error
      raise JvmError(f"the engine raised: {str(error)[:2000]}") from error

  def _silence(self):
    """Engines print at every step, and nobody reads the pipe."""
    with self.errors():
      gateway = self.connect()
      java = gateway.jvm.java
      nothing = java.io.PrintStream(java.io.OutputStream.nullOutputStream())
      java.lang.System.setOut(nothing)
      java.lang.System.setErr(nothing)
      gateway.close()

  def _ended_within(self, seconds: float) -> bool:
    """Whether it is gone, after some time for the system to notice."""
    with contextlib.suppress(subprocess.TimeoutExpired):
      self._process.wait(timeout=seconds)
    return not self.alive

  def _last_words(self) -> str:
    self._ended_within(_END_S)
    if self._log.closed:
      return "it was closed"
    self._log.seek(0)
    words = self._log.read().decode(errors="replace").strip()[-1000:]
    return (
      f"exit status {self._process.poll()}, {words or 'no message'} (exit status 3 is a "
      "lack of memory: raise config key env.heap_mb or lower pool.envs_per_worker)"
    )


class World:
  """One object of an engine, with classes of its own.

  Attributes:
    engine: the object, through py4j; its methods raise what `errors` translates.
  """

  def __init__(self, jvm: Jvm, jar: pathlib.Path, class_name: str):
    """Loads the classes and makes the object.

    Args:
      jvm: where.
      jar: the engine, with all that it needs.
      class_name: of the object; it has a constructor without arguments.
    Raises:
      JvmError: it cannot be made.
    """
    self._jvm = jvm
    with jvm.errors():
      self._gateway = jvm.connect()
      java = self._gateway.jvm.java
      urls = self._gateway.new_array(java.net.URL, 1)
      urls[0] = java.io.File(str(jar)).toURI().toURL()
      parent = java.lang.ClassLoader.getPlatformClassLoader()
      loader = java.net.URLClassLoader(urls, parent)
      loaded = loader.loadClass(class_name)
      self.engine = loaded.newInstance()
      self._string = java.lang.String
    held = (urls, parent, loader, loaded, self.engine)
    self._finalizer = weakref.finalize(self, _drop, jvm, self._gateway, held)

  @property
  def pid(self) -> int:
    """Process id of the Java process."""
    return self._jvm.pid

  @property
  def alive(self) -> bool:
    """False once the Java process is gone; a new world is needed then."""
    return self._jvm.alive

  def errors(self) -> contextlib.AbstractContextManager[None]:
    """For all uses of `engine`: see `Jvm.errors`."""
    return self._jvm.errors()

  def strings(self, java_list: Any) -> tuple[str, ...]:
    """A Java list of single-line strings, in one round trip; the list is dropped."""
    joined = self._string.join("\n", java_list)
    self._gateway.detach(java_list)
    return tuple(joined.split("\n")) if joined else ()

  def close(self):
    """Drops the object; the Java process ends with its last world."""
    self._finalizer()


def _drop(jvm: Jvm, gateway: Any, held: tuple[Any, ...]):
  """Lets Java collect the objects, and the classes with them."""
  if jvm.alive:
    with contextlib.suppress(JvmError), jvm.errors():
      for java_object in held:
        gateway.detach(java_object)
  gateway.close()


class WorldHolder:
  """A world that is made at its first use, and anew when its Java process is gone."""

  def __init__(self, jar: pathlib.Path, class_name: str, heap_mb: int):
    """Costs nothing.

    Args:
      jar, class_name: of the world's engine; see `World`.
      heap_mb: of the Java process, which the worlds of this process and folder share.
    """
    self._jar, self._class_name, self._heap_mb = jar, class_name, heap_mb
    self._world: World | None = None

  def world(self) -> World:
    """A world that was alive a moment ago. Raises JvmError if none can be made."""
    if self._world is None or not self._world.alive:
      java = shared_jvm(self._jar.parent, self._heap_mb)
      self._world = World(java, self._jar, self._class_name)
    return self._world

  def close(self):
    """Drops the world; the next use makes another."""
    if self._world is not None:
      self._world.close()
    self._world = None


@functools.cache
def _living() -> weakref.WeakValueDictionary[tuple[pathlib.Path, int], Jvm]:
  """The Java processes of this process; its worlds alone keep them."""
  return weakref.WeakValueDictionary()


def shared_jvm(folder: pathlib.Path, heap_mb: int) -> Jvm:
  """The Java process of these arguments, started if it is not there (any more).

  Arguments and errors as `Jvm`.
  """
  jvm = _living().get((folder, heap_mb))
  if jvm is None or not jvm.alive:
    jvm = _living()[folder, heap_mb] = Jvm(folder, heap_mb)
  return jvm


def _end(process: subprocess.Popen, log):
  """Breaks the pipe, which ends Java; kills it if that is not enough."""
  with contextlib.suppress(OSError):
    process.stdin.close()
  try:
    process.wait(timeout=_END_S)
  except subprocess.TimeoutExpired:
    process.kill()
    process.wait()
  process.stdout.close()
  log.close()
