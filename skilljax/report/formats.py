"""Numbers as a reader sees them: percent, points, sizes, intervals.

Must not know about: HTML, files.
"""

import math
from collections.abc import Mapping
from typing import Any

MINUS = "−"


def percent(value: float) -> str:
  """0.613 -> '61.3 %'."""
  return f"{100 * value:.1f} %"


def points(value: float) -> str:
  """A difference of shares: 0.12 -> '+12.0 pt'."""
  return f"{signed(100 * value, 1)} pt"


def signed(value: float, digits: int = 2) -> str:
  """0.5 -> '+0.50', -0.5 -> '−0.50', with a true minus sign."""
  text = f"{abs(value):.{digits}f}"
  if float(text) == 0.0:
    return text
  return ("+" if value > 0 else MINUS) + text


def number(value: float) -> str:
  """Three significant digits; large counts in full."""
  if value == 0:
    return "0"
  if float(value).is_integer() and abs(value) < 1e9:
    return f"{int(value):,}".replace("-", MINUS)
  if abs(value) >= 100:
    return f"{value:,.0f}".replace("-", MINUS)
  if abs(value) < 1e-3:
    return f"{value:.1e}".replace("-", MINUS)
  digits = 2 - math.floor(math.log10(abs(value)))
  return f"{value:.{digits}f}".rstrip("0").rstrip(".").replace("-", MINUS)


def gibibytes(value: float) -> str:
  """Bytes -> '1.25 GiB'."""
  return f"{value / 2**30:.2f} GiB"


def percent_interval(estimate: Mapping[str, Any]) -> str:
  """'58.0 to 64.2 %' of an estimate with `low` and `high`."""
  return f"{100 * estimate['low']:.1f} to {100 * estimate['high']:.1f} %"


def points_interval(estimate: Mapping[str, Any]) -> str:
  """'+2.0 to +9.1' of an estimate with `low` and `high`."""
  low, high = (signed(100 * estimate[end], 1) for end in ("low", "high"))
  return f"{low} to {high}"
