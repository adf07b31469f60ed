"""Ticks, averages, pixel mapping and escaping of charts."""

import html
import json
import re

import pytest

from skilljax.report import charts


@pytest.mark.parametrize(
  ("low", "high", "expected"),
  [
    (0.0, 1.0, [0.0, 0.5, 1.0]),
    (0.0, 0.4, [0.0, 0.1, 0.2, 0.3, 0.4]),
    (-0.3, 0.6, [-0.5, 0.0, 0.5, 1.0]),
    (3.0, 3.0, [2.5, 3.0, 3.5]),
    (0.0, 0.0, [0.0, 0.5, 1.0]),
  ],
)
def test_ticks_enclose_the_range(low, high, expected):
  found = charts.ticks(low, high)
  assert len(found) <= 5
  assert found[0] <= low and found[-1] >= high
  assert found == pytest.approx(expected)


@pytest.mark.parametrize("high", [3e-14, 1e-9, 7e-4, 0.93, 61.0, 4e12])
def test_ticks_are_few_for_every_size(high):
  found = charts.ticks(0.0, high)
  assert 2 <= len(found) <= 5 and found[-1] >= high


def test_moving_average():
  # Window 3: (1+4)/2, (1+4+7)/3, (4+7)/2
  assert charts.moving_average([1.0, 4.0, 7.0], 3) == [2.5, 4.0, 5.5]
  assert charts.moving_average([1.0, 4.0], 1) == [1.0, 4.0]


def test_line_ends_at_the_corners_of_the_frame():
  series = charts.Series(name="s", points=((1.0, 0.0), (3.0, 1.0)), tone="blue")
  svg = charts.line_chart([series], title="t", x_name="x", width=256, height=140)
  # x: 46 … 256 - 10; y: 140 - 30 for 0, 10 for 1.
  assert 'points="46.0,110.0 246.0,10.0"' in svg


def test_readout_has_every_value_and_skips_gaps():
  a = charts.Series(name="a", points=((1.0, 0.25), (2.0, 0.5)), tone="blue")
  b = charts.Series(name="b", points=((2.0, 4.0),), tone="grey")
  svg = charts.line_chart([a, b], title="t", x_name="update")
  data = json.loads(html.unescape(re.search(r'data-chart="([^"]*)"', svg)[1]))
  assert data["x"] == ["1", "2"]
  assert data["rows"] == [["a 0.25"], ["a 0.5", "b 4"]]


def test_names_are_escaped():
  series = charts.Series(name="<b>&\"'", points=((1.0, 1.0),), tone="blue")
  svg = charts.line_chart([series], title='"><script>', x_name="<x>")
  assert "<b>" not in svg and "<script>" not in svg and "<x>" not in svg
  bars = charts.histogram([series], title='"><script>', x_name="<x>")
  assert "<b>" not in bars and "<script>" not in bars and "<x>" not in bars
  rows = [("<i>", 0.5, 0.4, 0.6, "blue")]
  assert "<i>" not in charts.interval_chart(rows, title="t")


def test_histogram_shares():
  group = charts.Series(name="g", points=((-1.0, 1.0), (0.0, 3.0)), tone="grey")
  svg = charts.histogram([group], title="t", x_name="U", num_bins=3)
  data = json.loads(html.unescape(re.search(r'data-chart="([^"]*)"', svg)[1]))
  assert data["rows"] == [["g 25.0 %"], ["g 75.0 %"], ["g 0.0 %"]]


def test_nothing_to_draw_is_said():
  empty = charts.Series(name="s", points=(), tone="blue")
  assert "no data" in charts.line_chart([empty], title="t", x_name="x")
  assert "no data" in charts.histogram([empty], title="t", x_name="x")
