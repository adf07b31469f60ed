import pytest

from skilljax.rl import schedules


def values(schedule, steps):
  return [schedule(step) for step in steps]


def test_constant():
  assert values(schedules.constant("token_mean"), [0, 9]) == ["token_mean"] * 2


def test_linear_ramp_by_hand():
  # From 1 to 3 between steps 10 and 14: 0.5 a step, flat outside.
  ramp = schedules.linear_ramp(1.0, 3.0, begin=10, end=14)
  assert values(ramp, [0, 10, 11, 12, 14, 99]) == [1.0, 1.0, 1.5, 2.0, 3.0, 3.0]


def test_stages_by_hand():
  staircase = schedules.stages([(0, 4), (3, 2), (10, 1)])
  assert values(staircase, [0, 2, 3, 9, 10, 50]) == [4, 4, 2, 2, 1, 1]


def test_every_by_hand():
  steps = range(8)
  assert [s for s in steps if schedules.every(3)(s)] == [0, 3, 6]
  assert [s for s in steps if schedules.every(3, offset=2)(s)] == [2, 5]
  assert not any(values(schedules.every(0), steps))


@pytest.mark.parametrize("table", [[], [(1, 0)], [(0, 1), (5, 2), (5, 3)]])
def test_stages_out_of_order_raise(table):
  with pytest.raises(ValueError, match="stages begin at"):
    schedules.stages(table)


def test_bad_arguments_raise():
  with pytest.raises(ValueError, match="begin=5 and end=5"):
    schedules.linear_ramp(0, 1, begin=5, end=5)
  with pytest.raises(ValueError, match="n=-1"):
    schedules.every(-1)
  for schedule in (
    schedules.constant(1),
    schedules.linear_ramp(0, 1, begin=0, end=1),
    schedules.stages([(0, 1)]),
    schedules.every(2),
  ):
    with pytest.raises(ValueError, match="step is -1"):
      schedule(-1)
