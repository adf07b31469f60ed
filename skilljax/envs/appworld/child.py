"""AppWorld's side of the pipe: a script for the interpreter that has AppWorld installed.

AppWorld needs older libraries than this project, so it runs in a process of its own. One
JSON object a line comes in on standard input, one goes out on what was standard output:
`{"op": "reset", "task": id}`, `{"op": "execute", "code": text}`, `{"op": "evaluate"}`.
AppWorld's own sandbox executes the code. Ends when standard input does.

Must import nothing but AppWorld and the standard library, and know nothing of skilljax.
"""

import contextlib
import importlib
import json
import os
import sys


def reset(world, request):
  """Opens a task; the world, and what the policy is told of it."""
  if world is not None:
    world.close()
  world = importlib.import_module("appworld").AppWorld(
    task_id=request["task"], experiment_name=request["experiment"]
  )
  supervisor = world.task.supervisor
  return world, {
    "instruction": world.task.instruction,
    "supervisor": {
      key: supervisor[key] for key in ("first_name", "last_name", "email", "phone_number")
    },
    "apps": dict(world.task.app_descriptions),
    "datetime": world.task.datetime.isoformat(),
  }


def execute(world, request):
  """Runs code in the sandbox."""
  output = world.execute(request["code"])
  return world, {"output": output, "completed": bool(world.task_completed())}


def evaluate(world, request):
  """The benchmark's own verdict on the state so far."""
  del request
  tests = world.evaluate()
  return world, {
    "success": bool(tests.success),
    "passed": tests.pass_count,
    "total": tests.num_tests,
  }


OPERATIONS = {"reset": reset, "execute": execute, "evaluate": evaluate}


def answer(world, line):
  """One request: the world afterwards, and a record without or with an 'error'."""
  try:
    request = json.loads(line)
    return OPERATIONS[request["op"]](world, request)
  except Exception as error:  # the other side decides what to do about it
    return world, {"error": f"{type(error).__name__}: {error}"}


def main():
  """Announces the version, then answers until the other side hangs up."""
  # Whatever AppWorld or policy code prints must not end up between the answers.
  pipe = os.fdopen(os.dup(1), "w", encoding="utf-8")
  os.dup2(2, 1)

  def send(record):
    pipe.write(json.dumps(record) + "\n")
    pipe.flush()

  # As a script this file's folder comes first, and holds another `appworld`.
  here = os.path.dirname(os.path.abspath(__file__))
  sys.path[:] = [path for path in sys.path if os.path.abspath(path) != here]
  try:
    appworld = importlib.import_module("appworld")
  except ImportError as error:
    send({"error": f"import: {error}"})
    return
  send({"version": appworld.__version__, "installed": installed(appworld)})
  world = None
  for line in sys.stdin:
    world, record = answer(world, line)
    send(record)
  if world is not None:
    with contextlib.suppress(Exception):
      world.close()


def installed(appworld):
  """Whether `appworld install` has unpacked the apps."""
  folder = os.path.join(os.path.dirname(appworld.__file__), "apps")
  return os.path.isdir(os.path.join(folder, "supervisor"))


if __name__ == "__main__":
  main()
