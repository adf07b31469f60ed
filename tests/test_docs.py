"""The pages under docs/ name files, functions and tests that exist."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = sorted((ROOT / "docs").glob("*.md"))
_NAME = re.compile(r"`([A-Za-z0-9_/]+\.py)(?:::?([A-Za-z_0-9]+))?`")


def find(path):
  """The file that a page means: below the package or the root, or a bare name in it."""
  if "/" not in path:
    return next((ROOT / "skilljax").rglob(path), None)
  return next((p for p in (ROOT / "skilljax" / path, ROOT / path) if p.is_file()), None)


def names_in(page):
  return sorted(set(_NAME.findall(page.read_text())))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_named_file_and_symbol_exists(page):
  missing = []
  for path, symbol in names_in(page):
    file = find(path)
    define = rf"^\s*(?:def |class ){symbol}\b|^{symbol}\b.*="
    if file is None or (symbol and not re.search(define, file.read_text(), re.M)):
      missing.append(f"{path}:{symbol}")
  assert not missing


def test_the_paper_map_is_checked_in_earnest():
  names = names_in(ROOT / "docs" / "paper_map.md")
  assert sum(path.startswith("tests/") and bool(symbol) for path, symbol in names) > 40
  assert ("rl/utility.py", "utility") in names


def test_the_architecture_names_every_file_of_the_package():
  text = (ROOT / "docs" / "architecture.md").read_text()
  files = {p.name for p in (ROOT / "skilljax").rglob("*.py")} - {"__init__.py"}
  assert not sorted(name for name in files if f"`{name}`" not in text)
