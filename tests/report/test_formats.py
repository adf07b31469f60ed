"""Numbers as text, by hand."""

import pytest

from skilljax.report import formats


def test_shares_and_differences():
  assert formats.percent(0.6134) == "61.3 %"
  assert formats.points(0.12) == "+12.0 pt"
  assert formats.points(-0.0349) == "−3.5 pt"
  assert formats.points(-0.0001) == "0.0 pt"
  assert formats.points_interval({"low": -0.01, "high": 0.2}) == "−1.0 to +20.0"
  assert formats.percent_interval({"low": 0.5, "high": 0.625}) == "50.0 to 62.5 %"


@pytest.mark.parametrize(
  ("value", "text"),
  [
    (0.0, "0"),
    (40.0, "40"),
    (12345.0, "12,345"),
    (0.25, "0.25"),
    (0.012345, "0.0123"),
    (-1.5, "−1.5"),
    (123.4, "123"),
    (0.00001234, "1.2e−05"),
    (99.96, "100"),
  ],
)
def test_number(value, text):
  assert formats.number(value) == text
