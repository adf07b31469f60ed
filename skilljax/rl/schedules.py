"""Coefficients, budgets and flags that change over training.

A schedule is a pure function of the update number, evaluated on the host; its value
enters a jitted function as an argument, so a change does not recompile. Learning rates
use optax's schedules.

Must not know about: arrays, configs, metrics.
"""

from collections.abc import Callable, Sequence
from typing import TypeVar

Value = TypeVar("Value")
Schedule = Callable[[int], Value]


def _check_step(step: int) -> None:
  if step < 0:
    raise ValueError(f"step is {step}, must be >= 0")


def constant(value: Value) -> Schedule[Value]:
  """The same value at every step."""

  def schedule(step: int) -> Value:
    _check_step(step)
    return value

  return schedule


def linear_ramp(start: float, stop: float, *, begin: int, end: int) -> Schedule[float]:
  """`start` up to step `begin`, a straight line, `stop` from step `end` on.

  Args:
    start, stop: values.
    begin, end: steps, 0 <= begin < end.
  Raises:
    ValueError: begin and end are out of order.
  """
  if not 0 <= begin < end:
    raise ValueError(f"begin={begin} and end={end} must satisfy 0 <= begin < end")

  def schedule(step: int) -> float:
    _check_step(step)
    if step >= end:
      return stop
    fraction = max(0, step - begin) / (end - begin)
    return start + fraction * (stop - start)

  return schedule


def stages(values: Sequence[tuple[int, Value]]) -> Schedule[Value]:
  """A staircase: the value of the last stage that has begun.

  Args:
    values: (first step, value); first steps rise strictly and begin with 0.
  Raises:
    ValueError: no stage, a first stage after step 0, or stages out of order.
  """
  table = tuple(values)
  begins = [begin for begin, _ in table]
  if not begins or begins[0] != 0 or sorted(set(begins)) != begins:
    raise ValueError(f"stages begin at {begins}; must start with 0 and rise strictly")

  def schedule(step: int) -> Value:
    _check_step(step)
    return [value for begin, value in table if begin <= step][-1]

  return schedule


def every(n: int, *, offset: int = 0) -> Schedule[bool]:
  """True at steps offset, offset + n, offset + 2n, …; never if n is 0.

  Args:
    n: period in steps, >= 0.
    offset: first step, >= 0.
  Raises:
    ValueError: n or offset < 0.
  """
  if n < 0 or offset < 0:
    raise ValueError(f"n={n} and offset={offset} must be >= 0")

  def schedule(step: int) -> bool:
    _check_step(step)
    return n > 0 and step >= offset and (step - offset) % n == 0

  return schedule
