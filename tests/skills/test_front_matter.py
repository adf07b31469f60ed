import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skilljax.skills import front_matter

GOOD = {"name": "pdf-forms", "description": "Fills PDF forms."}

printable = st.text(
  alphabet=st.characters(exclude_categories=("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"))
)


def test_parse_by_example():
  front, body = front_matter.parse(
    "---\r\nname: a-b\r\nmetadata:\r\n  version: 1.0\r\n  on: yes\r\n"
    "allowed-tools: [Read, 'Bash(git:*)']\r\nlicense:\r\n---\r\n\r\n# T\r\n---\r\nx\r\n"
  )
  # Every scalar stays as written: no float, no boolean, no null.
  assert front == {
    "name": "a-b",
    "metadata": {"version": "1.0", "on": "yes"},
    "allowed-tools": ["Read", "Bash(git:*)"],
    "license": "",
  }
  assert body == "# T\n---\nx"
  assert front_matter.parse("---\na: b\n---") == ({"a": "b"}, "")


@given(st.dictionaries(st.sampled_from("abc"), printable), st.lists(printable))
def test_render_then_parse(front, lines):
  body = "\n".join(lines)
  if front:
    assert front_matter.parse(front_matter.render(front, body)) == (front, body)


@pytest.mark.parametrize(
  ("text", "problem"),
  [
    ("# no front matter", "must start with a line '---'"),
    ("---\nname: x\n", "closes the front matter"),
    ("---\na: !!python/object/apply:os.system [ls]\n---\n", "YAML tag"),
    ("---\na: !ruby/object x\n---\n", "YAML tag"),
    ("---\na: &x [1]\nb: *x\n---\n", "YAML anchor"),
    ("---\na: *x\n---\n", "YAML alias"),
    ("---\na: 1\na: 2\n---\n", "repeated or unusable key 'a'"),
    ("---\n? [a]\n: b\n---\n", "unusable key"),
    ("---\n- a\n---\n", "must be a map"),
    ("---\na: [1, 2\n---\n", "not valid YAML"),
    ("---\na: 'x\n---\n", "not valid YAML"),
    ("---\na: \x00\n---\n", "not valid YAML"),
    ("---\na: " + "[" * 9 + "]" * 9 + "\n---\n", "nested deeper than 8"),
    ("---\na: " + "[" * 60_000 + "\n---\n", "nested deeper than 8"),
    ("---\na: " + "x" * 2**20 + "\n---\n", "at most 65536"),
  ],
)
def test_broken_and_hostile_yaml(text, problem):
  with pytest.raises(ValueError, match=problem):
    front_matter.parse(text)


def test_a_yaml_bomb_costs_nothing():
  rows = ["a0: &a0 [x, x]"]
  rows += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 12)]
  start = time.perf_counter()
  with pytest.raises(ValueError, match="anchor"):
    front_matter.parse("---\n" + "\n".join(rows) + "\n---\n")
  assert time.perf_counter() - start < 1.0  # s


def test_a_valid_document_has_no_violation():
  full = {
    **GOOD,
    "license": "Apache-2.0",
    "compatibility": "x" * 500,
    "metadata": {"author": "me"},
    "allowed-tools": ["Read"],
  }
  assert front_matter.violations(full, "pdf-forms") == ()
  assert front_matter.violations({**GOOD, "allowed-tools": "Read"}, "pdf-forms") == ()


@pytest.mark.parametrize(
  ("change", "problem"),
  [
    ({"name": "a" * 65}, "1-64 characters"),
    ({"name": ""}, "1-64 characters"),
    ({"name": "PDF"}, "a-z, 0-9"),
    ({"name": "-pdf"}, "single hyphens"),
    ({"name": "pdf-"}, "single hyphens"),
    ({"name": "a--b"}, "single hyphens"),
    ({"name": "../up"}, "a-z, 0-9"),
    ({"name": "naïve"}, "a-z, 0-9"),
    ({"name": "other"}, "must equal the folder name 'pdf-forms'"),
    ({"name": None}, "name=None"),
    ({"description": " "}, "not empty"),
    ({"description": ["a"]}, "not empty"),
    ({"description": "x" * 1025}, "1025 characters, at most 1024"),
    ({"compatibility": "x" * 501}, "1-500"),
    ({"compatibility": ""}, "1-500"),
    ({"license": ["MIT"]}, "license"),
    ({"metadata": {"a": {"b": "c"}}}, "strings to strings"),
    ({"metadata": "x"}, "strings to strings"),
    ({"allowed-tools": {"a": "b"}}, "allowed-tools"),
  ],
)
def test_each_limit_of_the_specification(change, problem):
  found = front_matter.violations({**GOOD, **change}, "pdf-forms")
  assert len(found) == 1
  assert problem in found[0]


def test_limits_are_inclusive():
  longest = {"name": "a" * 64, "description": "x" * 1024}
  assert front_matter.violations(longest, "a" * 64) == ()
