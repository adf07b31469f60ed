"""Small SVG charts, drawn in Python: lines with bands, intervals, histograms.

Each chart carries what the pointer shows as JSON in `data-chart` (charts.js); without a
script it is still a chart. Every text is escaped here. Must not know about: runs, files.
"""

import dataclasses
import json
import math
from collections.abc import Callable, Sequence

from markupsafe import Markup, escape

from skilljax.report.formats import number

LEFT, RIGHT, TOP, BOTTOM = 46, 10, 10, 30


@dataclasses.dataclass(frozen=True, kw_only=True)
class Series:
  """One line of a chart.

  Attributes:
    name: in the legend.
    points: (x, y), x rising, both finite.
    tone: colour class of style.css: 'grey', 'blue', 'orange', 'green' or 'purple'.
    band: (x, low, high), shaded behind the lines.
  """

  name: str
  points: tuple[tuple[float, float], ...]
  tone: str
  band: tuple[tuple[float, float, float], ...] = ()


@dataclasses.dataclass(frozen=True)
class Frame:
  """Maps data to pixels; `y0`, `y1` include every tick."""

  x0: float
  x1: float
  y0: float
  y1: float
  width: int
  height: int

  def x(self, value: float) -> float:
    """Pixel column of a value."""
    share = (value - self.x0) / ((self.x1 - self.x0) or 1.0)
    return round(LEFT + share * (self.width - LEFT - RIGHT), 1)

  def y(self, value: float) -> float:
    """Pixel row of a value."""
    share = (value - self.y0) / ((self.y1 - self.y0) or 1.0)
    return round(self.height - BOTTOM - share * (self.height - TOP - BOTTOM), 1)


def ticks(low: float, high: float, most: int = 5) -> list[float]:
  """At most `most` round numbers that enclose [low, high]."""
  if not high > low:
    low, high = (low - 0.5, high + 0.5) if low else (0.0, 1.0)
  step = 10 ** math.floor(math.log10((high - low) / most))
  for factor in (1, 2, 5, 10, 20, 50):
    first = math.floor(low / (step * factor) + 1e-9)
    last = math.ceil(high / (step * factor) - 1e-9)
    if last - first < most:
      break
  return [float(f"{i * step * factor:.12g}") for i in range(first, last + 1)]


def moving_average(values: Sequence[float], window: int) -> list[float]:
  """Centred mean over `window` (odd) values; shorter at both ends."""
  half = window // 2
  parts = [values[max(0, i - half) : i + half + 1] for i in range(len(values))]
  return [sum(part) / len(part) for part in parts]


def line_chart(
  series: Sequence[Series],
  *,
  title: str,
  x_name: str,
  y_format: Callable[[float], str] = number,
  y_range: tuple[float, float] | None = None,
  window: int = 1,
  width: int = 360,
  height: int = 190,
) -> Markup:
  """Lines over a shared x axis, with a legend and a readout for pointer and keys.

  Args:
    series: one or more; empty ones are left out.
    title: for screen readers.
    x_name: of the x axis.
    y_format: of ticks and readout.
    y_range: of the y axis; None fits the data.
    window: odd; above 1, values become dots and their moving average the line.
    width, height: pixels of the view box.
  """
  series = [s for s in series if s.points]
  if not series:
    return Markup('<p class="absent">no data</p>')
  xs = sorted({x for s in series for x, _ in s.points})
  ys = [y for s in series for _, y in s.points]
  ys += [y for s in series for _, low, high in s.band for y in (low, high)]
  y_ticks = ticks(*(y_range or (min(ys), max(ys))))
  frame = Frame(xs[0], xs[-1], y_ticks[0], y_ticks[-1], width, height)
  parts = [_grid(frame, y_ticks, _x_ticks(xs), x_name, y_format)]
  parts += [_band(frame, s) for s in series if s.band]
  parts += [_line(frame, s, window) for s in series]
  rows = [dict(s.points) for s in series]
  readout = {
    "title": x_name,
    "x": [number(x) for x in xs],
    "px": [frame.x(x) for x in xs],
    "rows": [
      [f"{s.name} {y_format(row[x])}" for s, row in zip(series, rows, strict=True)
       if x in row]
      for x in xs
    ],
  }  # fmt: skip
  return _chart(title, frame, parts, readout, _legend(series))


def histogram(
  groups: Sequence[Series], *, title: str, x_name: str, num_bins: int = 15
) -> Markup:
  """Shares of values in bins around zero, the groups side by side.

  Args:
    groups: `points` hold (value, weight).
    title, x_name: as in `line_chart`.
    num_bins: odd; the middle bin is centred on 0.
  """
  groups = [g for g in groups if g.points]
  if not groups:
    return Markup('<p class="absent">no data</p>')
  half = num_bins // 2
  size = max(abs(x) for g in groups for x, _ in g.points) / half or 1.0
  shares = []
  for group in groups:
    total = sum(weight for _, weight in group.points)
    share = [0.0] * num_bins
    for value, weight in group.points:
      share[half + round(value / size)] += weight / total
    shares.append(share)
  y_ticks = ticks(0.0, max(max(share) for share in shares))
  span = (half + 0.5) * size
  frame = Frame(-span, span, 0.0, y_ticks[-1], 720, 220)
  marks = [i * size for i in range(-half, half + 1)]
  parts = [_grid(frame, y_ticks, marks[::2], x_name, lambda v: f"{100 * v:.0f} %")]
  bar = (frame.x(size) - frame.x(0)) * 0.8 / len(groups)
  for index, (group, share) in enumerate(zip(groups, shares, strict=True)):
    for mark, value in zip(marks, share, strict=True):
      x, y = frame.x(mark) + (index - len(groups) / 2) * bar, frame.y(value)
      parts.append(
        f'<rect class="fill {group.tone}" x="{x:.1f}" y="{y}" width="{bar:.1f}"'
        f' height="{frame.y(0) - y:.1f}"/>'
      )
  readout = {
    "title": x_name,
    "x": [f"{m - size / 2:+.2f} to {m + size / 2:+.2f}" for m in marks],
    "px": [frame.x(m) for m in marks],
    "rows": [
      [
        f"{g.name} {100 * share[i]:.1f} %"
        for g, share in zip(groups, shares, strict=True)
      ]
      for i in range(num_bins)
    ],
  }
  return _chart(title, frame, parts, readout, _legend(groups))


def interval_chart(
  rows: Sequence[tuple[str, float, float, float, str]], *, title: str
) -> Markup:
  """Shares with their intervals: (label, mean, low, high, tone) from top to bottom."""
  step, left, width = 24, 190, 720
  height = step * len(rows) + 34
  high = max(0.05, *(row[3] for row in rows))
  marks = ticks(0.0, min(1.0, high))
  scale = (width - left - 60) / marks[-1]
  parts = []
  for mark in marks:
    x = left + mark * scale
    parts.append(f'<path class="grid" d="M{x:.1f} 4V{height - 26}"/>')
    parts.append(_text(x, height - 10, f"{100 * mark:.0f} %", "middle"))
  for index, (label, mean, low, top, tone) in enumerate(rows):
    y = 16 + step * index
    a, b, c = (left + value * scale for value in (low, mean, top))
    parts.append(_text(left - 10, y + 4, label, "end"))
    parts.append(f'<path class="whisker {tone}" d="M{a:.1f} {y}H{c:.1f}"/>')
    parts.append(f'<circle class="fill {tone}" cx="{b:.1f}" cy="{y}" r="5"/>')
    parts.append(_text(max(c, b) + 10, y + 4, f"{100 * mean:.1f} %", "start"))
  return _svg(title, width, height, parts)


def _x_ticks(xs: Sequence[float]) -> list[float]:
  """Round numbers inside the range of `xs`."""
  inside = [t for t in ticks(xs[0], xs[-1], 6) if xs[0] <= t <= xs[-1]]
  whole = [t for t in inside if float(t).is_integer()]
  return whole or [xs[0]]


def _text(x: float, y: float, text: str, anchor: str) -> str:
  return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _grid(frame: Frame, y_ticks, x_ticks, x_name: str, y_format) -> str:
  right, bottom = frame.width - RIGHT, frame.height - BOTTOM
  parts = []
  for tick in y_ticks:
    y = frame.y(tick)
    kind = "axis" if tick == 0 else "grid"
    parts.append(f'<path class="{kind}" d="M{LEFT} {y}H{right}"/>')
    parts.append(_text(LEFT - 5, y + 3.5, y_format(tick), "end"))
  for tick in x_ticks:
    parts.append(_text(frame.x(tick), bottom + 13, number(tick), "middle"))
  parts.append(_text((LEFT + right) / 2, frame.height - 3, x_name, "middle"))
  return "".join(parts)


def _band(frame: Frame, series: Series) -> str:
  upper = [f"{frame.x(x)},{frame.y(high)}" for x, _, high in series.band]
  lower = [f"{frame.x(x)},{frame.y(low)}" for x, low, _ in reversed(series.band)]
  return f'<polygon class="band {series.tone}" points="{" ".join(upper + lower)}"/>'


def _line(frame: Frame, series: Series, window: int) -> str:
  dots = ""
  values = [y for _, y in series.points]
  if window > 1 or len(values) == 1:
    dots = "".join(
      f'<circle class="fill faint {series.tone}" cx="{frame.x(x)}" cy="{frame.y(y)}"'
      ' r="2.2"/>'
      for x, y in series.points
    )
    values = moving_average(values, window)
  path = " ".join(
    f"{frame.x(x)},{frame.y(y)}" for (x, _), y in zip(series.points, values, strict=True)
  )
  return f'{dots}<polyline class="line {series.tone}" points="{path}"/>'


def _legend(series: Sequence[Series]) -> str:
  items = "".join(
    f'<span><svg class="key" viewBox="0 0 24 8" aria-hidden="true">'
    f'<path class="line {s.tone}" d="M1 4H23"/></svg>{escape(s.name)}</span>'
    for s in series
  )
  return f'<div class="legend">{items}</div>'


def _chart(title: str, frame: Frame, parts: list, readout: dict, legend: str) -> Markup:
  cursor = f'<path class="cursor" d="M0 {TOP}V{frame.height - BOTTOM}" hidden=""/>'
  svg = _svg(title, frame.width, frame.height, [*parts, cursor], focus=True)
  data = escape(json.dumps(readout))
  return Markup(
    f'<div class="chart" data-chart="{data}">{legend}{svg}'
    '<p class="readout" aria-live="polite"></p></div>'
  )


def _svg(title: str, width: int, height: int, parts, *, focus: bool = False) -> Markup:
  tab = ' tabindex="0"' if focus else ""
  return Markup(
    f'<svg class="plot" viewBox="0 0 {width} {height}" role="img"'
    f' aria-label="{escape(title)}"{tab}>{"".join(parts)}</svg>'
  )
