"""AppWorld behind the `Env` protocol, for those who have its data.

The action is Python code for AppWorld's own sandbox; the observation is what the code
printed; `apis.supervisor.complete_task(...)` ends the episode, and the packaged
evaluation gives the verdict. The engine needs older libraries than this project and
runs in a process with an interpreter of its own (`engine.py`).

The benchmark's licence asks that none of its content is public in plain text: nothing of
it is here, and none of it may be put into tests, records or reports of this repository.

Must not know about: models, prompts, skills, worker processes of the pool.
"""

import shutil
import uuid
from collections.abc import Mapping
from typing import Any

from skilljax.envs.appworld.engine import (
  Engine,
  EngineError,
  EngineRefusal,
  find_interpreter,
)
from skilljax.envs.appworld.source import ENV_NAME, AppworldSettings
from skilljax.envs.base import UnplayableTask
from skilljax.types import Observation, Task

_RULES = (
  "Solve the task by Python code; its printed output is the answer to each action. "
  "Apps are called as apis.<app>.<function>(...). Documentation: "
  "apis.api_docs.show_app_descriptions(), show_api_descriptions(app_name=...), "
  "show_api_doc(app_name=..., api_name=...). "
  "At the end: apis.supervisor.complete_task(answer=...), answer only for a question."
)


class AppworldEnv:
  """One task at a time (Env protocol), in one engine process."""

  def __init__(self, settings: AppworldSettings):
    """Checks the data and starts the engine (many seconds).

    Raises:
      FileNotFoundError: no data, or `settings.python` is no file.
      ModuleNotFoundError, EngineError: as `Engine`.
    """
    self._settings = settings
    self._root = settings.root()
    self._python = find_interpreter(settings.python)
    self._engine: Engine | None = self._start()
    # Environments side by side must not write into one folder.
    self._experiment = f"skilljax_{uuid.uuid4().hex}"
    self._ended = True

  def reset(self, task: Task) -> Observation:
    """Opens a task.

    Raises:
      UnplayableTask: not a task of this benchmark, or one that the engine cannot open.
      EngineError: the engine fails, or the one that follows a failed one.
    """
    if task.env != ENV_NAME:
      raise UnplayableTask(f"task {task.key!r} is not one of {ENV_NAME!r}")
    if self._engine is None:
      self._engine = self._start()
    self._ended, self._turn = True, 0
    request = {"op": "reset", "task": task.name, "experiment": self._experiment}
    try:
      told = self._ask(request)
    except EngineRefusal as error:
      raise UnplayableTask(
        f"{self._root}/data/tasks/{task.name}: {error}; if it is absent or damaged, run "
        f"`appworld download data` again in {self._root}"
      ) from error
    self._ended = False
    goal = told["instruction"]
    apps = ", ".join(told["apps"])
    person = ", ".join(f"{key} {value}" for key, value in told["supervisor"].items())
    return Observation(
      text=(
        f"{_RULES}\nApps: {apps}.\nYou act for: {person}.\nNow: {told['datetime']}.\n\n"
        f"Task: {goal}"
      ),
      goal=goal,
      max_turns=self._settings.max_turns,
    )

  def step(self, action: str) -> Observation:
    """Executes code in the benchmark's sandbox; errors of the code are observations.

    Raises:
      ValueError: the episode has ended, or was never started.
      EngineError: the engine fails; the next reset starts a new one.
    """
    if self._ended:
      raise ValueError("step: the episode has ended; call reset first")
    self._turn += 1
    told = self._ask({"op": "execute", "code": action})
    completed = told["completed"]
    success = completed and self._ask({"op": "evaluate"})["success"]
    truncated = not completed and self._turn >= self._settings.max_turns
    self._ended = completed or truncated
    return Observation(
      text=told["output"].strip(),
      reward=float(success),
      terminated=completed,
      truncated=truncated,
      success=success,
    )

  def close(self):
    """Ends the engine and removes what it wrote."""
    self._ended = True
    if self._engine is not None:
      self._engine.close()
      self._engine = None
    folder = self._root / "experiments" / "outputs" / self._experiment
    shutil.rmtree(folder, ignore_errors=True)

  def _start(self) -> Engine:
    return Engine(self._python, self._root, timeout_s=self._settings.timeout_s)

  def _ask(self, request: Mapping[str, Any]) -> dict[str, Any]:
    try:
      return self._engine.ask(request)
    except EngineError:
      self._ended = True
      self._engine.close()
      self._engine = None
      raise
