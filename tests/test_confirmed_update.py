"""A whole update whose gate looks twice (`gate.confirm`)."""

import dataclasses
import functools
import json

import numpy as np
import pytest

from skilljax.envs.pool import EnvPool
from skilljax.runs.records import Recorder
from tests.rollout import worlds
from tests.test_faults import one_update, shop  # noqa: F401

pytestmark = pytest.mark.timeout(600)
NULLS = (-1.0,) * 9


@pytest.fixture(scope="module")
def updates(shop):  # noqa: F811
  """confirm -> (state, update), all else equal."""
  results = {}
  with EnvPool(functools.partial(worlds.HouseholdEnv, shop.settings.env)) as pool:
    for confirm in (False, True):
      gate = dataclasses.replace(shop.settings.gate, confirm=confirm)
      settings = dataclasses.replace(shop.settings, gate=gate)
      looking = dataclasses.replace(shop, settings=settings)
      results[confirm] = one_update(looking, pool, nulls=NULLS)
  return results


def test_the_second_look_is_counted_and_changes_nothing_before_it(updates):
  (once_state, once), (state, update) = updates[False], updates[True]
  assert once.committed and once.confirmation.evidence == ()
  assert "skill/finalists" not in once.metrics
  assert update.report == once.report
  extra = update.confirmation.episodes_run
  assert 0 < extra == update.metrics["skill/confirm_episodes"]
  assert state.interactions == once_state.interactions + extra
  assert update.metrics["rollout/interactions"] == state.interactions
  assert update.metrics["skill/finalists"] == len(update.confirmation.evidence) > 0


def test_what_enters_has_passed_twice(updates):
  update = updates[True][1]
  passed = {
    e.candidate.after.version: e.utility
    for e in update.confirmation.evidence
    if e.utility > 0
  }
  entered = [line for line in update.committed if np.isfinite(line.utility)]  # not begun
  assert {line.version: line.utility for line in entered} == passed != {}


def test_the_second_look_stands_beside_the_first_in_the_records(updates, tmp_path):
  update = updates[True][1]
  recorder = Recorder(tmp_path, worlds.tokenizer(), resume_step=None)
  recorder.write(3, update, episodes=False)
  rows = [*map(json.loads, (tmp_path / "edits.jsonl").read_text().splitlines())]
  again = [row for row in rows if row["kind"] == "confirm"]
  assert len(again) == len(update.confirmation.evidence)
  first = {row["name"]: row for row in rows}
  for row in again:
    before = first[row["name"].removeprefix("confirm:")]
    assert (row["after"], row.get("edit")) == (before["after"], before.get("edit"))
    assert [p["task"] for p in row["pairs"]] != [p["task"] for p in before["pairs"]]
