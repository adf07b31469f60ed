import dataclasses
import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skilljax.skills.records import skill_hash
from skilljax.skills.stats import SkillStats, Stats, stats_from_record
from skilljax.types import Provenance, Skill

DOOR = Skill("s1", "heat", "Door", "Shut it.", "heating")
LAMP = Skill("s2", "look", "Lamp", "Use it.", "looking")


def test_counts_by_hand():
  stats = Stats().record_shown([DOOR, LAMP], update=3).record_shown([DOOR], update=2)
  stats = stats.record_episode([DOOR], success=True)
  stats = stats.record_episode([DOOR, LAMP], success=False)
  stats = stats.record_utility(DOOR, 0.5).record_utility(DOOR, -0.1)
  row = stats.of(DOOR)
  assert (row.shown, row.episodes, row.successes, row.last_used) == (2, 2, 1, 3)
  assert row.success_rate == 0.5
  assert row.utilities == 2
  assert row.mean_utility == pytest.approx(0.2)  # (0.5 - 0.1) / 2
  assert stats.of(LAMP) == SkillStats(shown=1, episodes=1, last_used=3)
  assert math.isnan(SkillStats().success_rate)


def test_updates_leave_the_old_table_alone():
  old = Stats()
  new = old.record_shown([DOOR], update=1)
  newer = new.record_utility(DOOR, 1.0).record_episode([DOOR], success=True)
  assert old.rows == {}
  assert new.of(DOOR) == SkillStats(shown=1, last_used=1)
  assert newer.of(DOOR).utilities == 1


def test_key_is_the_content_not_the_id_or_provenance():
  stats = Stats().record_shown([DOOR], update=0)
  moved = dataclasses.replace(DOOR, skill_id="s9", provenance=Provenance("policy"))
  assert stats.of(moved).shown == 1
  assert stats.of(dataclasses.replace(DOOR, principle="Open it.")).shown == 0
  assert skill_hash(moved) == skill_hash(DOOR)


def test_a_bank_with_statistics_keeps_its_version(bank):
  version = bank.version
  Stats().record_shown(bank.skills, update=1).record_episode(bank.skills, success=True)
  assert bank.version == version


@given(st.lists(st.floats(-2, 2)), st.integers(-1, 9))
def test_json_round_trip_is_exact(utilities, update):
  stats = Stats().record_shown([DOOR, LAMP], update=update)
  for utility in utilities:
    stats = stats.record_utility(LAMP, utility)
  assert stats_from_record(json.loads(json.dumps(stats.to_record()))) == stats


def test_bad_values_are_refused():
  with pytest.raises(ValueError, match="utility=nan"):
    Stats().record_utility(DOOR, math.nan)
  with pytest.raises(ValueError, match="format_version=2"):
    stats_from_record({"format_version": 2, "rows": {}})
  with pytest.raises(ValueError, match="damaged"):
    stats_from_record({"format_version": 1, "rows": {"a": {"views": 1}}})
  with pytest.raises(ValueError, match="damaged"):
    stats_from_record({"format_version": 1})
