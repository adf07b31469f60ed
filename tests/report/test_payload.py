"""Inline data: escaping and the size budget."""

import json

from skilljax.report import payload
from skilljax.report.load import load_run


def test_embed_has_nothing_that_html_reads(synthetic):
  text = payload.embed({"a": synthetic["hostile"]})
  assert not set("<>&") & set(text)
  assert json.loads(text) == {"a": synthetic["hostile"].replace("\ud800", "?")}
  text.encode("utf-8")


def test_within_keeps_whole_updates_evenly():
  rows = [{"step": step, "text": "x" * 100} for step in range(1, 11) for _ in range(2)]
  # A row is about 125 bytes, an update 250: five updates or fewer fit into 1300 bytes.
  kept = payload.within(rows, 1300, lambda rows: {"rows": list(rows)})
  steps = [row["step"] for row in kept["rows"]]
  assert kept["of"] == 10 and 3 <= kept["updates"] <= 5
  assert len(steps) == 2 * kept["updates"]
  assert steps[0] == 1 and steps[-1] == 10


def test_within_keeps_all_that_fits_and_never_nothing():
  rows = [{"step": 1, "text": "x" * 500}, {"step": 2, "text": "y" * 500}]
  assert payload.within(rows, 5000, lambda rows: {"rows": rows})["updates"] == 2
  tight = payload.within(rows, 10, lambda rows: {"rows": rows})
  assert [row["step"] for row in tight["rows"]] == [2]


def test_no_rows_no_updates():
  assert payload.within([], 10, lambda rows: {"rows": rows})["of"] == 0


def test_equal_texts_are_stored_once(tmp_path, synthetic):
  run = load_run(synthetic["run"](tmp_path / "rl"))
  table = payload.edits(run)
  assert len(set(table["texts"])) == len(table["texts"])
  families = {row[3] for row in table["rows"]}
  assert [table["texts"][i] for i in families] == ["heat"]
