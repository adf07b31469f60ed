"""Replay of recorded edits: ids, hashes, fresh starts, broken records."""

import json

from skilljax.report import lineage
from skilljax.report.load import load_evaluation


def test_lives_of_two_skills(synthetic):
  propose = synthetic["propose"]
  update = {**propose("A", "Other words."), "kind": "update", "skill_id": "s1"}
  retire = {"kind": "retire", "skill_id": "s2", "reason": "audit"}
  rows, _ = synthetic["commits"](
    "e", [(1, propose("A")), (3, propose("B")), (4, update), (6, retire)]
  )
  (estate,) = lineage.of_commits(rows)
  first, second = estate.lives
  assert [(e.edit.kind, e.when) for e in first.events] == [("propose", 1), ("update", 4)]
  assert (first.skill_id, first.text.principle, first.retired) == (
    "s1",
    "Other words.",
    False,
  )
  assert [e.edit.kind for e in second.events] == ["propose", "retire"]
  assert second.skill_id == "s2" and second.retired and second.text.title == "B"
  assert second.category == "heat"
  assert estate.proven and (estate.first, estate.last) == (1, 6)
  assert estate.counts == {"proposed": 2, "updated": 1, "retired": 1}


def test_a_scope_met_again_starts_over(synthetic):
  propose = synthetic["propose"]
  early, _ = synthetic["commits"]("e", [(1, propose("A")), (2, propose("B"))])
  late, _ = synthetic["commits"]("e", [(9, propose("C"))])
  (estate,) = lineage.of_commits(early + late)
  assert [life.skill_id for life in estate.lives] == ["s1", "s2", "s1"]
  assert [life.text.title for life in estate.lives] == ["A", "B", "C"]
  assert estate.proven


def test_a_changed_text_is_not_proven(synthetic):
  rows, _ = synthetic["commits"]("e", [(1, synthetic["propose"]("A"))])
  rows[0]["edit"] = {**rows[0]["edit"], "principle": "Forged."}
  (estate,) = lineage.of_commits(rows)
  assert not estate.proven


def test_an_edit_that_cannot_apply_is_kept_and_marked(synthetic):
  rows, _ = synthetic["commits"]("e", [(1, synthetic["propose"]("A"))])
  rows.append(
    {**rows[0], "step": 2, "edit": {"kind": "retire", "skill_id": "s9"}, "version": "f"}
  )
  (estate,) = lineage.of_commits(rows)
  assert [life.skill_id for life in estate.lives] == ["s1", "s9"]
  assert [e.proven for e in estate.events] == [True, False]


def test_evaluation_lineage_takes_its_scope_from_the_records(tmp_path, synthetic):
  folder = synthetic["evaluation"](tmp_path / "ev")
  path = folder / "edits.jsonl"
  first = [json.loads(line) for line in path.read_text().splitlines()]
  lines = [json.dumps({**row, "pass": index}) for index in (0, 1) for row in first]
  path.write_text("\n".join(lines))
  evaluation = load_evaluation("x", folder)
  assert len(evaluation.edits) == 2 * len(first)
  (estate,) = lineage.of_evaluation(evaluation)
  assert estate.scope == "estate-8" and estate.proven
  assert [e.when for e in estate.events] == [1, 2]
