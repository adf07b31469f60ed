"""Runs the child's operations against the surface of the installed AppWorld.

A script for the interpreter that has AppWorld: a world cannot be opened without data, so
the class is replaced by a mock with its exact signatures, which holds a real task and a
real verdict. A parameter, method or field that the package does not have raises. Prints
what the child answers, as JSON.

  python real_appworld.py path/to/skilljax/envs/appworld/child.py
"""

import datetime
import importlib.util
import json
import sys
from unittest import mock

import appworld.task
from appworld.apps.admin.models import MainUserMunch
from appworld.evaluator import TestTracker

PERSON = {
  "first_name": "Ann",
  "last_name": "Lee",
  "email": "ann@example.com",
  "phone_number": "5550100",
}


def main():
  spec = importlib.util.spec_from_file_location("child", sys.argv[1])
  child = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(child)
  with mock.patch("appworld.task.ApiDocCollection"):
    task = appworld.task.Task(
      id="a1_1",
      instruction="Find seven.",
      supervisor=MainUserMunch(**PERSON),
      datetime=datetime.datetime(2023, 5, 18, 12),
      allowed_apps=["supervisor"],
      db_version="0",
      model_collection=mock.Mock(),
    )
  with mock.patch("appworld.AppWorld", autospec=True) as made:
    made.return_value.task = task
    made.return_value.execute.return_value = "seven"
    made.return_value.task_completed.return_value = True
    made.return_value.evaluate.return_value = TestTracker()
    world, told = child.reset(None, {"task": "a1_1", "experiment": "x"})
    _, ran = child.execute(world, {"code": "print('seven')"})
    _, verdict = child.evaluate(world, {})
    child.reset(world, {"task": "a1_1", "experiment": "x"})  # closes the first one
  print(json.dumps({"told": told, "ran": ran, "verdict": verdict}))


if __name__ == "__main__":
  main()
