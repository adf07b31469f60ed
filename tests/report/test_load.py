"""Reading run folders that are whole, cut off or damaged."""

import json
import math

from skilljax.report.load import load_evaluation, load_run


def test_a_cut_off_line_is_left_out_and_noted(tmp_path, synthetic):
  run = synthetic["run"](tmp_path / "rl")
  with open(run / "metrics.jsonl", "a") as file:
    file.write('{"step": 3, "rollout/suc')
  files = load_run(run)
  assert [row["step"] for row in files.metrics] == [1, 2]
  assert files.notes == ("metrics.jsonl: 1 damaged line(s) left out",)


def test_numbers_that_json_lacks_become_none(tmp_path, synthetic):
  run = synthetic["run"](tmp_path / "rl")
  (run / "edits.jsonl").write_text(json.dumps({"step": 1, "utility": math.nan}) + "\n")
  assert load_run(run).edits[0]["utility"] is None


def test_a_tampered_bank_is_left_out_and_noted(tmp_path, synthetic):
  run = synthetic["run"](tmp_path / "rl")
  path = run / "banks" / "estate-1.json"
  path.write_text(path.read_text().replace("skilljax-bank", "another"))
  files = load_run(run)
  assert files.banks == {} and "estate-1.json is left out" in files.notes[0]


def test_the_newest_checkpoint_names_the_code(tmp_path, synthetic):
  run = synthetic["run"](tmp_path / "rl")
  for step, commit in ((9, "old"), (10, "new")):
    host = run / "checkpoints" / str(step) / "host"
    host.mkdir(parents=True)
    stamp = {"host": {"stamp": {"git_commit": commit}}}
    (host / "metadata").write_text(json.dumps(stamp))
  assert load_run(run).stamp == {"git_commit": "new"}


def test_records_of_another_form_are_noted(tmp_path, synthetic):
  folder = synthetic["evaluation"](tmp_path / "ev")
  rows = json.loads((folder / "records.json").read_text())
  (folder / "records.json").write_text(json.dumps([{"arm": "frozen"}, *rows]))
  files = load_evaluation("late", folder)
  assert len(files.records) == len(rows) and "another form" in files.notes[0]
