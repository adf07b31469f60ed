"""Answers of an endpoint, written down as they come and never asked for twice.

A resumed run plays some updates again, with the same prompts. It must not pay for them
again, and must not learn from other answers than it did: sampled text differs from call
to call. So the file is never cut back.

Must not know about: what is asked, HTTP.
"""

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path

from skilljax.agents.endpoint import Answer, Endpoint, Messages


class RecordedAnswers:
  """Asks an endpoint, and remembers in a JSONL file: update, prompt hash, answer."""

  def __init__(self, endpoint: Endpoint, path: str | Path):
    """Reads what is there and counts it against the endpoint's budget.

    Raises:
      ValueError: a line before the last is damaged; names file and line.
    """
    self._endpoint = endpoint
    self._path = Path(path)
    self._known = _read(self._path)
    endpoint.count(sum(answer.calls for answer in self._known.values()))

  def ask(self, update: int, prompts: Sequence[Messages]) -> list[Answer]:
    """One answer a prompt, in order; equal prompts of an update share one.

    Args:
      update: names the round: in another one, an equal prompt is asked again.
      prompts: messages with 'role' and 'content'.
    Raises:
      EndpointError: as `Endpoint.ask`.
    """
    keys = [(update, self._hash(prompt)) for prompt in prompts]
    fresh = {
      key: p for key, p in zip(keys, prompts, strict=True) if key not in self._known
    }
    names = list(fresh)
    self._endpoint.ask(
      list(fresh.values()), on_answer=lambda index, a: self._remember(names[index], a)
    )
    return [self._known[key] for key in keys]

  def _remember(self, key: tuple[int, str], answer: Answer) -> None:
    row = {"update": key[0], "prompt": key[1], **vars(answer)}
    with open(self._path, "a", encoding="utf-8") as file:
      file.write(json.dumps(row) + "\n")
      file.flush()
      os.fsync(file.fileno())
    self._known[key] = answer

  def _hash(self, prompt: Messages) -> str:
    asked = [self._endpoint.settings.model, [dict(message) for message in prompt]]
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()


def _read(path: Path) -> dict[tuple[int, str], Answer]:
  """Every whole line; a last one that a kill cut off is removed from the file."""
  if not path.exists():
    return {}
  whole, newline, torn = path.read_text(encoding="utf-8").rpartition("\n")
  if torn:
    os.truncate(path, len((whole + newline).encode()))
  known = {}
  for number, line in enumerate(whole.splitlines(), 1):
    try:
      row = json.loads(line)
      answer = Answer(row["text"], row["error"], row["calls"])
      known[row["update"], row["prompt"]] = answer
    except (ValueError, KeyError, TypeError) as error:
      raise ValueError(f"{path}:{number} is damaged; remove the line") from error
  return known
