"""The data that the page's script shows: edits with their probes, and episodes.

Rows are cut to a size budget by leaving out whole updates, evenly; the page says so.
Must not know about: how the script shows them.
"""

import json
from collections.abc import Callable, Mapping, Sequence, Set
from typing import Any

from markupsafe import Markup

from skilljax.report.curves import thin
from skilljax.report.load import RunFiles

EDITS_BYTES, EPISODES_BYTES = 1_100_000, 800_000


def edits(run: RunFiles, budget_bytes: int = EDITS_BYTES) -> dict[str, Any]:
  """Rows of the edit table, strings shared through a table of texts.

  Returns:
    {'texts': […], 'rows': […], 'updates': kept, 'of': recorded}; a row is
    [update, kind, status, family, task, source success, U, committed, edit,
    before, after, pairs], where texts are numbers of `texts`.
  """
  committed = {
    _identity(row.get("step"), row.get("task"), row.get("edit")) for row in run.commits
  }
  return within(run.edits, budget_bytes, lambda rows: _edit_table(rows, committed))


def episodes(run: RunFiles, budget_bytes: int = EPISODES_BYTES) -> dict[str, Any]:
  """Recorded episodes as they are: {'rows': […], 'updates': kept, 'of': recorded}."""
  return within(run.episodes, budget_bytes, lambda rows: {"rows": list(rows)})


def within(
  rows: Sequence[Mapping[str, Any]],
  budget_bytes: int,
  build: Callable[[Sequence[Mapping[str, Any]]], dict[str, Any]],
) -> dict[str, Any]:
  """`build` of the rows of as many updates as fit, and how many updates these are.

  One update is always kept, whatever its size.
  """
  steps = list(dict.fromkeys(row.get("step") for row in rows))
  keep = steps
  while True:
    chosen = set(keep)
    data = build([row for row in rows if row.get("step") in chosen])
    if len(keep) <= 1 or len(embed(data)) <= budget_bytes:
      return {**data, "updates": len(keep), "of": len(steps)}
    keep = thin(steps, int(0.8 * len(keep))) if len(keep) > 2 else keep[-1:]


def _edit_table(rows: Sequence[Mapping[str, Any]], committed: Set[str]) -> dict[str, Any]:
  texts: dict[str, int] = {}

  def text(value: Any) -> int:
    return texts.setdefault("" if value is None else str(value), len(texts))

  table = []
  for row in rows:
    edit = row.get("edit") or {}
    pairs = [
      [text(p.get("task")), p.get("before"), p.get("after"), bool(p.get("ran"))]
      for p in row.get("pairs") or []
    ]
    identity = _identity(row.get("step"), row.get("task"), edit)
    table.append(
      [
        row.get("step"),
        *(text(row.get(name)) for name in ("kind", "status", "family", "task")),
        row.get("source_success"),
        row.get("utility"),
        bool(edit) and identity in committed,
        {text(name): text(value) for name, value in edit.items()},
        text(row.get("before")),
        text(row.get("after")),
        pairs,
      ]
    )
  return {"texts": list(texts), "rows": table}


def embed(data: Any) -> Markup:
  """JSON that is safe inside a script element, whatever the texts hold.

  `</script>` and `<!--` need a '<'; all else that HTML reads is escaped for good measure.
  A lone surrogate, which JSON can hold and a page should not, becomes a question mark.
  """
  raw = json.dumps(data, separators=(",", ":"), allow_nan=False, ensure_ascii=False)
  text = raw.encode("utf-8", errors="replace").decode("utf-8")
  for char in "<>&":
    text = text.replace(char, f"\\u{ord(char):04x}")
  return Markup(text)


def _identity(step: Any, task: Any, edit: Mapping[str, Any]) -> str:
  return json.dumps([step, task, edit], sort_keys=True)
