"""The verdict on an episode: the benchmark's own checkers, on tools of our own.

The package's checker runs both sides through its executor, which evaluates strings; only
its two comparisons are used here. `tests/envs/test_bfcl.py` holds the verdicts against
those of the whole checker.

Must not know about: policy text, observations, rewards.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from skilljax.envs.bfcl.data import package_module
from skilljax.envs.bfcl.tools import Toolbox


@dataclasses.dataclass(frozen=True)
class RightAnswer:
  """What the benchmark's own calls lead to, up to the end of one answer.

  Attributes:
    results: of this answer's calls, one each; () where nothing can be done.
    instances: tool class -> state at its end. Only ever compared.
  """

  results: tuple[str, ...]
  instances: Mapping[str, Any]


def right_answers(
  packed: bytes, truth: Sequence[Sequence[str]]
) -> tuple[RightAnswer, ...]:
  """Replays the benchmark's calls, one group for each message of the user.

  Args:
    packed: the tools that the task begins with (`pack_tools`).
    truth: the calls of each answer.
  """
  tools = Toolbox(packed)
  answers = []
  for calls in truth:
    results = tuple(tools.replay(calls))
    answers.append(RightAnswer(results, Toolbox(tools.packed()).instances))
  return tuple(answers)


class Judge:
  """Compares one episode with the right answers, by the package's own checkers."""

  def __init__(self, answers: Sequence[RightAnswer]):
    """Takes the answers of `right_answers`; they are not changed."""
    self._checker = package_module("eval_checker.multi_turn_eval.multi_turn_checker")
    self._answers = answers
    self._results: list[str] = []  # of the whole episode: an early call counts as well
    self._called = False
    self._number = 0
    self.failure = ""

  @property
  def passed(self) -> bool:
    """Every answer was given, and every one was right."""
    return self._number == len(self._answers) and not self.failure

  def add(self, results: Sequence[str]):
    """Takes the results of one action's calls."""
    self._results += results
    self._called = True

  def end_answer(self, tools: Toolbox):
    """Compares after the answer to one message; the first difference is the verdict."""
    answer = self._answers[self._number]
    if answer.results and not self.failure:
      self.failure = self._difference(tools, answer)
    self._number += 1
    self._called = False

  def _difference(self, tools: Toolbox, answer: RightAnswer) -> str:
    if not self._called:
      return "multi_turn:empty_turn_model_response"
    state = self._checker.state_checker(tools.instances, answer.instances)
    if not state["valid"]:
      return state["error_type"]
    told = self._checker.response_checker(
      self._results, list(answer.results), self._number
    )
    return "" if told["valid"] else told["error_type"]
