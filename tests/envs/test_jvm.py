"""Java processes: shared, isolated, gone with their owner, and errors that say why."""

import functools
import os
import pathlib
import signal
import subprocess
import sys
import threading
import time

import pytest

from skilljax.envs import jvm, table
from skilljax.envs.pool import EnvPool
from skilljax.types import Fault, Observation
from tests.envs.java_worlds import (
  children,
  java_of,
  settings_or_skip,
  wait_until_gone,
)


@pytest.fixture(scope="module")
def settings():
  return settings_or_skip("textworld_express", games=("coin",), train_tasks=20)


@pytest.fixture
def task(settings):
  return table.make_source("textworld_express", settings).tasks("train")[0]


def _env(settings):
  return table.make_env("textworld_express", settings)


def test_worlds_share_a_process_and_the_last_one_ends_it(settings):
  own = (jvm.engine_folder("textworld_express", extra="textworld-express"), 77)
  worlds = [
    jvm.World(
      jvm.shared_jvm(*own),
      own[0] / "textworld-express.jar",
      "textworldexpress.runtime.PythonInterface",
    )
    for _ in range(2)
  ]
  pid = worlds[0].pid
  assert worlds[1].pid == pid and pid in java_of(os.getpid())
  worlds.pop().close()
  assert worlds[0].alive and worlds[0].engine.getSeedsTrain().size() == 1000
  worlds.pop().close()
  assert wait_until_gone(pid)


def test_java_that_dies_is_an_error_and_the_next_reset_starts_it_again(settings, task):
  env = _env(settings)
  first = env.reset(task)
  dead = env._world.pid
  os.kill(dead, signal.SIGKILL)
  with pytest.raises(jvm.JvmError, match=r"Java process is gone: exit status -9"):
    env.step("look around")
  with pytest.raises(ValueError, match="call reset first"):
    env.step("look around")
  assert env.reset(task) == first
  assert env._world.pid != dead and env.step("look around").text
  env.close()


def wait_until_stopped(pid):
  """A signal reaches the threads of a busy machine one by one."""
  for _ in range(1000):
    states = pathlib.Path(f"/proc/{pid}/task").glob("*/stat")
    if all(stat.read_text().rpartition(") ")[2][0] in "Tt" for stat in states):
      return
    time.sleep(0.01)
  pytest.fail(f"process {pid} has not stopped")


def test_java_that_dies_in_the_middle_of_a_call_is_gone_not_an_error_of_the_engine(
  settings, task
):
  env = _env(settings)
  env.reset(task)
  dead = env._world.pid
  os.kill(dead, signal.SIGSTOP)  # the call below finds a connection, and no answer
  wait_until_stopped(dead)
  threading.Timer(0.5, os.kill, (dead, signal.SIGKILL)).start()
  with pytest.raises(jvm.JvmError, match=r"Java process is gone: exit status -9"):
    env.step("look around")
  env.close()


def test_what_the_engine_throws_is_its_own_error(settings):
  folder = jvm.engine_folder("textworld_express", extra="textworld-express")
  machine = jvm.Jvm(folder, 64)
  gateway = machine.connect()
  with (
    pytest.raises(jvm.JvmError, match=r"(?s)engine raised.*NumberFormat"),
    machine.errors(),
  ):
    gateway.jvm.java.lang.Integer.parseInt("seven")
  assert machine.alive
  machine.close()
  gateway.close()


def test_a_lack_of_memory_says_which_key(settings):
  folder = jvm.engine_folder("textworld_express", extra="textworld-express")
  machine = jvm.Jvm(folder, 64)
  gateway = machine.connect()
  told = r"exit status 3.*raise config key env\.heap_mb"
  with pytest.raises(jvm.JvmError, match=told), machine.errors():
    gateway.new_array(gateway.jvm.long, 100_000_000)
  machine.close()
  gateway.close()


def test_what_java_says_when_it_does_not_start_is_told(settings, tmp_path, monkeypatch):
  java = tmp_path / "bin" / "java"
  java.parent.mkdir()
  java.write_text("#!/bin/sh\necho 'no room for the heap' >&2\nexit 1\n")
  java.chmod(0o755)
  monkeypatch.setenv("JAVA_HOME", str(tmp_path))
  with pytest.raises(jvm.JvmError, match=r"heap_mb=90: exit status 1, no room for the"):
    jvm.Jvm(tmp_path, 90)


@pytest.mark.parametrize("name", ["scienceworld", "textworld_express"])
def test_without_java_nothing_starts_and_the_error_says_what_to_install(
  settings, name, tmp_path, monkeypatch
):
  monkeypatch.delenv("JAVA_HOME", raising=False)
  monkeypatch.setenv("PATH", str(tmp_path))
  for make in (table.make_env, table.make_source, table.make_teacher):
    with pytest.raises(FileNotFoundError, match=r"no java on PATH.*apt-get install open"):
      make(name, table.make_settings(name, {}))
  monkeypatch.setenv("JAVA_HOME", "/nowhere")
  with pytest.raises(FileNotFoundError, match="no java in JAVA_HOME=/nowhere/bin"):
    table.make_source(name, table.make_settings(name, {}))


def test_without_the_package_the_error_names_the_extra():
  with pytest.raises(ModuleNotFoundError, match=r"pip install -e \.\[some_extra\]"):
    jvm.engine_folder("no_such_engine", extra="some_extra")


@pytest.mark.parametrize("name", ["scienceworld", "textworld_express"])
def test_a_heap_that_holds_nothing_is_refused(name):
  with pytest.raises(ValueError, match=r"heap_mb=63 must be >= 64 .*env\.heap_mb"):
    table.make_settings(name, {"heap_mb": 63})


# In the pool


def _poll(pool) -> dict[str, Observation | Fault]:
  found = {}
  while not found:
    found = dict(pool.poll(60.0))
  return found


def test_the_pool_turns_dead_java_into_a_fault_and_goes_on(settings, task):
  make = functools.partial(table.make_env, "textworld_express", settings)
  with EnvPool(make, num_workers=1, envs_per_worker=2) as pool:
    pool.start("a", task)
    assert isinstance(_poll(pool)["a"], Observation)
    (worker,) = [p for p in _workers() if java_of(p)]
    os.kill(java_of(worker)[0], signal.SIGKILL)
    pool.step("a", "look around")
    fault = _poll(pool)["a"]
    assert isinstance(fault, Fault) and "Java process is gone" in fault.reason
    pool.release("a")
    pool.start("b", task)
    assert isinstance(_poll(pool)["b"], Observation)
    assert pool.counts["faults"] == 1


def test_a_worker_that_is_killed_leaves_no_java_behind(settings, task):
  make = functools.partial(table.make_env, "textworld_express", settings)
  with EnvPool(make, num_workers=1, envs_per_worker=2) as pool:
    for ticket in ("a", "b"):
      pool.start(ticket, task)
    answers = _poll(pool)
    while len(answers) < 2:
      answers |= _poll(pool)
    (worker,) = [p for p in _workers() if java_of(p)]
    (java,) = java_of(worker)  # one for both worlds
    os.kill(worker, signal.SIGKILL)
    assert wait_until_gone(java)
    pool.step("a", "look around")
    assert isinstance(_poll(pool)["a"], Fault)
    for ticket in ("a", "b"):
      pool.release(ticket)
    pool.start("c", task)
    assert isinstance(_poll(pool)["c"], Observation)
    (worker,) = [p for p in _workers() if java_of(p)]
    (java,) = java_of(worker)
  assert wait_until_gone(java)  # the pool closes politely


def _workers() -> list[int]:
  return children(os.getpid())


def test_a_process_that_ends_without_closing_leaves_no_java_behind(settings):
  code = (
    "import os\n"
    "from skilljax.envs import table\n"
    "settings = table.make_settings('textworld_express', {'games': ('coin',)})\n"
    "env = table.make_env('textworld_express', settings)\n"
    "print(env._world.pid, flush=True)\n"
    "os._exit(0)\n"
  )
  paths = os.pathsep.join(path for path in sys.path if path)
  done = subprocess.run(
    [sys.executable, "-c", code],
    env={**os.environ, "PYTHONPATH": paths},
    capture_output=True,
    text=True,
    check=True,
  )
  assert not done.stderr and wait_until_gone(int(done.stdout))
