"""SKILL.md text: YAML front matter and a Markdown body, by the Agent Skills rules.

Purpose: parse and render one document; check it against the public specification
(agentskills.io/specification). Every scalar is read as the string it is written as: no
YAML tag, alias, date or number is ever constructed.
Must not know about: banks, folders, the file system.
"""

import re
from collections.abc import Mapping
from typing import Any

import yaml

MAX_NAME_CHARS = 64
MAX_DESCRIPTION_CHARS = 1024
MAX_COMPATIBILITY_CHARS = 500
MAX_FRONT_MATTER_CHARS = 65_536
MAX_DEPTH = 8

_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")


def parse(text: str) -> tuple[dict[str, Any], str]:
  """Splits a document into front matter (strings, lists, maps) and body.

  Raises:
    ValueError: no front matter, or YAML that is broken, too deep, too large, or uses
      aliases, anchors, tags or repeated keys.
  """
  text = text.replace("\r\n", "\n")
  if not text.startswith("---\n"):
    raise ValueError("must start with a line '---' that opens the front matter")
  head, fence, body = text[4:].partition("\n---\n")
  if not fence:
    if not text.endswith("\n---"):
      raise ValueError("has no line '---' that closes the front matter")
    head, body = text[4:-4], ""
  if len(head) > MAX_FRONT_MATTER_CHARS:
    raise ValueError(
      f"front matter has {len(head)} characters, at most {MAX_FRONT_MATTER_CHARS}"
    )
  return _read_yaml(head), body.removeprefix("\n").removesuffix("\n")


def render(front: Mapping[str, Any], body: str) -> str:
  """Inverse of `parse` for strings of printable characters and a body of such lines."""
  head = yaml.safe_dump(
    dict(front), sort_keys=False, allow_unicode=True, width=float("inf")
  )
  return f"---\n{head}---\n\n{body}\n"


def is_name(name: object) -> bool:
  """True for a valid skill name: such a name is also a safe folder name."""
  return (
    isinstance(name, str)
    and len(name) <= MAX_NAME_CHARS
    and _NAME.fullmatch(name) is not None
  )


def violations(front: Mapping[str, Any], folder: str) -> tuple[str, ...]:
  """What breaks the specification; empty for a valid document in this folder."""
  found = []
  name, description = front.get("name"), front.get("description")
  if not is_name(name):
    found.append(
      f"name={name!r:.80} must be 1-{MAX_NAME_CHARS} characters of a-z, 0-9 and single"
      " hyphens between them"
    )
  elif name != folder:
    found.append(f"name={name!r} must equal the folder name {folder!r:.80}")
  if not isinstance(description, str) or not description.strip():
    found.append("description must be a text that is not empty")
  elif len(description) > MAX_DESCRIPTION_CHARS:
    found.append(
      f"description has {len(description)} characters, at most {MAX_DESCRIPTION_CHARS}"
    )
  compatibility = front.get("compatibility", "any")
  if not isinstance(compatibility, str) or not (
    1 <= len(compatibility) <= MAX_COMPATIBILITY_CHARS
  ):
    found.append(
      f"compatibility must be a text of 1-{MAX_COMPATIBILITY_CHARS} characters"
    )
  if not isinstance(front.get("license", ""), str):
    found.append("license must be a text")
  metadata = front.get("metadata", {})
  if not isinstance(metadata, dict) or not all(
    isinstance(value, str) for value in metadata.values()
  ):
    found.append("metadata must map strings to strings")
  tools = front.get("allowed-tools", "")
  if not isinstance(tools, str) and not (
    isinstance(tools, list) and all(isinstance(tool, str) for tool in tools)
  ):
    found.append("allowed-tools must be a text or a list of texts")
  return tuple(found)


def _read_yaml(head: str) -> dict[str, Any]:
  try:
    _refuse_dangerous(head)
    node = yaml.compose(head, Loader=yaml.SafeLoader)
  except yaml.YAMLError as err:
    raise ValueError(f"front matter is not valid YAML: {err}") from err
  front = {} if node is None else _plain(node)
  if not isinstance(front, dict):
    raise ValueError("front matter must be a map of field names to values")
  return front


def _refuse_dangerous(head: str) -> None:
  """Looks at the event stream, which is built without recursion or expansion."""
  depth = 0
  for event in yaml.parse(head, Loader=yaml.SafeLoader):
    if isinstance(event, yaml.AliasEvent):
      raise ValueError("front matter uses a YAML alias, which is not allowed")
    if isinstance(event, yaml.NodeEvent) and event.anchor is not None:
      raise ValueError("front matter uses a YAML anchor, which is not allowed")
    tagged = isinstance(event, yaml.ScalarEvent | yaml.CollectionStartEvent)
    if tagged and event.tag is not None:
      raise ValueError(f"front matter uses the YAML tag {event.tag!r:.80}")
    if isinstance(event, yaml.CollectionStartEvent):
      depth += 1
    if isinstance(event, yaml.CollectionEndEvent):
      depth -= 1
    if depth > MAX_DEPTH:
      raise ValueError(f"front matter is nested deeper than {MAX_DEPTH}")


def _plain(node: yaml.Node) -> Any:
  """Strings, lists and maps only: what was written, not what YAML makes of it."""
  if isinstance(node, yaml.ScalarNode):
    return node.value
  if isinstance(node, yaml.SequenceNode):
    return [_plain(item) for item in node.value]
  record = {}
  for key_node, value_node in node.value:
    key = _plain(key_node)
    if not isinstance(key, str) or key in record:
      raise ValueError(f"front matter has a repeated or unusable key {key!r:.80}")
    record[key] = _plain(value_node)
  return record
