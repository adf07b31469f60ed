"""Comparisons read run folders and name what is missing."""

import dataclasses
import json
import subprocess
import sys

import pytest

from skilljax.runs import comparison
from tests.evaluation.test_seeds import ONE, TWO


def evaluation(folder, records):
  folder.mkdir(parents=True)
  rows = [dataclasses.asdict(record) for record in records]
  (folder / "records.json").write_text(json.dumps(rows))
  return folder


def training(folder, rows):
  folder.mkdir(parents=True)
  lines = [
    json.dumps({"kind": kind, "task": f"household/train/{scope}/3#0", "utility": value})
    for kind, scope, value in rows
  ]
  (folder / "edits.jsonl").write_text("\n".join(lines))
  metrics = [
    {"step": 1, "skill/probe_episodes": 20.0, "skill/probe_episodes_naive": 80.0},
    {"step": 2},  # an update without probes
    {"step": 3, "skill/probe_episodes": 4.0, "skill/probe_episodes_naive": 16.0},
  ]
  (folder / "metrics.jsonl").write_text("\n".join(map(json.dumps, metrics)))
  return folder


def test_recipes_are_read_and_compared(tmp_path):
  cold = [evaluation(tmp_path / f"cold{i}", TWO) for i in range(2)]
  trained = [evaluation(tmp_path / f"rl{i}", ONE) for i in range(2)]
  text = comparison.compare({"cold": cold, "trained": trained})
  assert "trained (2 seeds)" in text
  assert "trained - cold" in text
  assert comparison.read_evaluation(cold[0]) == TWO


def test_edits_are_held_against_nulls_of_all_runs(tmp_path):
  runs = [
    training(
      tmp_path / name,
      [
        ("policy", "a", 0.4),
        ("policy", "b", None),  # no probe gave a result
        ("null", "a", 0.1),
        ("audit", "a", 9.0),
      ],
    )
    for name in ("s0", "s1")
  ]
  estimate = comparison.edits_against_nulls(runs)
  assert estimate.mean == pytest.approx(0.3)
  assert (estimate.count, estimate.clusters) == (4, 2)  # scopes of two runs are others
  text = comparison.edits_table(runs)
  assert "+0.300" in text
  assert "share of the naive count: 25%" in text
  with pytest.raises(ValueError, match="named twice"):
    comparison.edits_against_nulls([runs[0], runs[0]])


def test_missing_and_damaged_folders_are_named(tmp_path):
  with pytest.raises(ValueError, match=r"gone.records\.json"):
    comparison.read_evaluation(tmp_path / "gone")
  with pytest.raises(ValueError, match=r"gone.edits\.jsonl does not exist"):
    comparison.edits_against_nulls([tmp_path / "gone"])
  (tmp_path / "records.json").write_text('[{"arm": "frozen"}]')
  with pytest.raises(ValueError, match="records of an evaluation"):
    comparison.read_evaluation(tmp_path)


def test_seeds_of_one_recipe_must_have_played_the_same(tmp_path):
  whole = evaluation(tmp_path / "whole", ONE)
  part = evaluation(tmp_path / "part", ONE[:-1])
  said = r"whole and .*part did not .*: only arm 'no_bank' of .*whole has \S+ in pass 0"
  for recipes in ({"cold": [whole, part]}, {"cold": [whole], "trained": [part]}):
    with pytest.raises(ValueError, match=said):
      comparison.compare(recipes)
  other = [dataclasses.replace(record, arm="evolving") for record in ONE]
  with pytest.raises(ValueError, match=r"whole and .*arm did not play the same arms"):
    comparison.compare({"cold": [whole, evaluation(tmp_path / "arm", other)]})
  with pytest.raises(ValueError, match="named twice"):
    comparison.compare({"cold": [whole, whole]})
  for number, rows in enumerate(
    ([], [ONE[0], dataclasses.replace(ONE[1], success=None)])
  ):
    with pytest.raises(ValueError, match=r"records\.json holds no records"):
      comparison.read_evaluation(evaluation(tmp_path / f"bad{number}", rows))


def test_clusters_that_older_records_lack_are_those_of_the_others(tmp_path):
  one = [dataclasses.replace(r, scope="x") for r in ONE]
  new = [dataclasses.replace(r, cluster=f"c{r.task[-1]}") for r in one]
  folders = [evaluation(tmp_path / name, rows) for name, rows in (("a", one), ("b", new))]
  assert {r.cluster for r in comparison.read_together(folders[:1])} == {""}
  assert {r.cluster for r in comparison.read_together(folders)} == {
    r.cluster for r in new
  }
  both = comparison.compare({"a": folders[:1], "b": folders[1:]})
  same = evaluation(tmp_path / "c", new)
  assert both == comparison.compare({"a": [same], "b": folders[1:]})


def test_what_was_evaluated_otherwise_is_noted(tmp_path):
  folders = [evaluation(tmp_path / name, ONE) for name in "abc"]
  for folder, turns in zip(folders, (30, 30, 50), strict=True):
    values = {"env": {"max_turns": turns, "data_dir": folder.name}, "seed": turns}
    (folder / "config.json").write_text(json.dumps(values))
  text = comparison.compare({"a": folders[:2], "b": folders[2:] + folders[:1]})
  (note,) = [line for line in text.splitlines() if line.startswith("note:")]
  assert note.endswith("a: env.max_turns=50 (there: 30)") and f"{folders[2]} was" in note


def test_edits_of_an_evaluation_and_of_one_kind_are_refused(tmp_path):
  folder = training(tmp_path / "nulls", [("null", "a", 0.1)])
  with pytest.raises(ValueError, match=r"edits\.jsonl needs utilities of own edits"):
    comparison.edits_against_nulls([folder])
  (folder / "edits.jsonl").write_text('{"arm": "evolving"}\n')
  with pytest.raises(ValueError, match=r"edits\.jsonl:1 is no edit of a training run"):
    comparison.edits_against_nulls([folder])


def test_the_command_says_what_cannot_be_compared(tmp_path):
  command = [sys.executable, "-m", "experiments.compare", f"--evaluation=a:{tmp_path}"]
  done = subprocess.run(command, capture_output=True, text=True, check=False)
  assert done.returncode == 1
  assert done.stderr.startswith(f"cannot compare: {tmp_path}/records.json holds no")
  assert "Traceback" not in done.stderr


@pytest.mark.parametrize("flags", [[], ["--evaluation=cold:"], ["--evaluation=:runs/x"]])
def test_the_command_says_what_it_needs(flags):
  command = [sys.executable, "-m", "experiments.compare", *flags]
  done = subprocess.run(command, capture_output=True, text=True, check=False)
  assert done.returncode != 0
  assert "evaluation" in done.stdout + done.stderr
