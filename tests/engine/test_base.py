import dataclasses

import numpy as np
import pytest

from skilljax.engine import base

GOOD = base.GenerateRequest("a", np.array([1, 2], np.int32), 3, (4, 5), 0.7)
STATE = {"num_free": 1, "is_open": False, "is_running": False}


def test_a_good_request_passes():
  base.check_request(GOOD, **STATE)
  again = dataclasses.replace(GOOD, tokens=np.zeros(0, np.int32), key=(), temperature=0)
  base.check_request(again, num_free=0, is_open=True, is_running=False)


@pytest.mark.parametrize(
  ("change", "message"),
  [
    ({"tokens": np.zeros(0, np.int32)}, "must not be empty"),
    ({"tokens": np.zeros((1, 2), np.int32)}, r"got int32\[1, 2\]"),
    ({"tokens": np.zeros(2)}, r"must be \[S\] integers, got float64\[2\]"),
    ({"max_new_tokens": 0}, "must be >= 1, got 0"),
    ({"temperature": -0.5}, "finite and >= 0, got -0.5"),
    ({"temperature": float("nan")}, "finite and >= 0, got nan"),
    ({"key": (-1,)}, r"at most 8 ints in \[0, 2\*\*32\), got \(-1,\)"),
    ({"key": (2**32,)}, "at most 8 ints"),
    ({"key": (0,) * 9}, "at most 8 ints"),
  ],
)
def test_bad_requests(change, message):
  with pytest.raises(ValueError, match=message):
    base.check_request(dataclasses.replace(GOOD, **change), **STATE)


def test_bad_states():
  with pytest.raises(ValueError, match="running request"):
    base.check_request(GOOD, **{**STATE, "is_running": True})
  with pytest.raises(RuntimeError, match=r"no free slot .* engine\.num_slots"):
    base.check_request(GOOD, **{**STATE, "num_free": 0})


def test_check_publishable():
  base.check_publishable({}, 0)
  with pytest.raises(ValueError, match="got -1"):
    base.check_publishable({}, -1)
  with pytest.raises(RuntimeError, match=r"4 open sequences, e\.g\. \['a', 'b', 'c'\]"):
    base.check_publishable({"d", "c", "b", "a"}, 1)
