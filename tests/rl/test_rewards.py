import dataclasses
import inspect
import math

import pytest

from skilljax.rl import rewards
from skilljax.rl.rewards import ActShaping, EditShaping, EditStatus


@pytest.mark.parametrize(
  ("status", "utility", "expected"),
  [
    ("added", 0.4, 0.5),  # 0.1 + 0.4
    ("updated", -0.4, -0.3),  # utility is not clipped
    ("retired", 0.0, 0.1),
    ("kept", 0.0, 0.1),
    ("unparsable", 0.0, -1.0),
    ("wrong_category", 0.0, -0.5),
    ("not_found", 0.0, -0.5),  # the released code pays +0.1
    ("duplicate", 0.0, -0.5),
  ],
)
def test_edit_reward_by_hand(status, utility, expected):
  assert rewards.edit_reward(status, utility) == pytest.approx(expected)


def test_every_status_has_a_reward_and_every_field_an_effect():
  values = {f.name: float(i) for i, f in enumerate(dataclasses.fields(EditShaping), 1)}
  table = EditShaping(**values).table()
  assert set(table) == set(EditStatus)
  accepted = {EditStatus.KEPT, EditStatus.ADDED, EditStatus.UPDATED, EditStatus.RETIRED}
  for status, value in table.items():
    assert value == values["valid" if status in accepted else status.value]
  assert set(table.values()) == set(values.values())


def test_keep_is_the_best_way_to_change_nothing():
  table = EditShaping().table()
  rejected = [v for s, v in table.items() if not s.makes_candidate and s != "kept"]
  assert max(rejected) < table[EditStatus.KEPT]


def test_only_candidates_have_a_utility():
  with pytest.raises(ValueError, match="'kept' makes no candidate"):
    rewards.edit_reward("kept", 0.1)
  assert math.isnan(rewards.edit_reward("added", math.nan))


def test_unknown_status_raises():
  with pytest.raises(ValueError, match="great_skill"):
    rewards.edit_reward("great_skill", 0.0)


def test_act_reward_by_hand():
  # A success in 4 of 10 turns with 2 invalid actions: 1 − 0.2.
  assert rewards.act_reward(True, 4, 10, 2) == pytest.approx(0.8)
  # A failure with 8 invalid actions: the penalty stops at 0.5.
  assert rewards.act_reward(False, 10, 10, 8) == pytest.approx(-0.5)
  # 2·1 + 0.5·0.6 + 3·0.25 − 0.2·1 = 2.85.
  shaping = ActShaping(success=2.0, efficiency=0.5, env_return=3.0, invalid_action=0.2)
  reward = rewards.act_reward(True, 4, 10, 1, episode_return=0.25, shaping=shaping)
  assert reward == pytest.approx(2.85)


def test_every_success_beats_every_failure():
  worst_success = min(rewards.act_reward(True, n, 20, n) for n in range(21))
  assert worst_success > max(rewards.act_reward(False, n, 20, 0) for n in range(21))


def test_bad_numbers_raise():
  with pytest.raises(ValueError, match="num_invalid=3"):
    rewards.act_reward(True, 2, 10, 3)
  with pytest.raises(ValueError, match=r"invalid_action=-0\.1"):
    ActShaping(invalid_action=-0.1)


def test_no_argument_is_free_text():
  for function in (rewards.edit_reward, rewards.act_reward):
    for parameter in inspect.signature(function).parameters.values():
      assert parameter.annotation is not str
