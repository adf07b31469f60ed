"""Stands in for the package `appworld`: its surface as the child uses it, no content.

Must not hold anything of the real benchmark, whose licence forbids plain text.
"""

import datetime
import os
import time
import types

__version__ = "0.1.3.post1"


class AppWorld:
  """A world in which the code `answer 7` completes the task, rightly."""

  def __init__(self, task_id, experiment_name):
    if task_id.startswith("unknown"):
      raise Exception(f"The task directory ({task_id}) doesn't exist.")
    print("noise on standard output")
    folder = f"experiments/outputs/{experiment_name}/tasks/{task_id}"
    os.makedirs(folder, exist_ok=True)
    self.answer = None
    names = ("first_name", "last_name", "email", "phone_number")
    self.task = types.SimpleNamespace(
      instruction=f"Find seven for {task_id}.",
      supervisor={name: name.upper() for name in names},
      app_descriptions={"numbers": "counts", "supervisor": "asks"},
      datetime=datetime.datetime(2023, 5, 18, 12),
    )

  def execute(self, code):
    if code == "die":
      os._exit(3)
    if code == "hang":
      time.sleep(600)
    if code == "fail":
      raise RuntimeError("no database")
    print("more noise")
    if code.startswith("answer "):
      self.answer = code.removeprefix("answer ")
    return f"ran: {code}\n"

  def task_completed(self):
    return self.answer is not None

  def evaluate(self):
    right = self.answer == "7"
    return types.SimpleNamespace(success=right, pass_count=1 + right, num_tests=2)

  def close(self):
    with open("closed.txt", "a") as file:
      file.write("closed\n")
