import math

import numpy as np
import pytest

from skilljax.agents import parse
from skilljax.rl.rewards import ActShaping, EditShaping, EditStatus
from skilljax.rollout.credit import CreditSettings, assign, edit_status, spread
from skilljax.skills import edits as edits_lib
from skilljax.skills.bank import SkillBank
from skilljax.skills.edits import EditOutcome
from skilljax.types import Edit, Role
from tests.rollout.trajectories import make_trajectory

STATUS_OF_REJECTION = {
  "too_long": EditStatus.TOO_LONG,
  "control_token": EditStatus.UNPARSABLE,
  "no_think": EditStatus.UNPARSABLE,
  "text_before_think": EditStatus.UNPARSABLE,
  "unclosed_think": EditStatus.UNPARSABLE,
  "several_thinks": EditStatus.UNPARSABLE,
  "tag_in_think": EditStatus.UNPARSABLE,
  "text_between": EditStatus.UNPARSABLE,
  "trailing_text": EditStatus.UNPARSABLE,
  "unprintable": EditStatus.UNPARSABLE,
  "no_call": EditStatus.UNPARSABLE,
  "unclosed_call": EditStatus.UNPARSABLE,
  "several_calls": EditStatus.UNPARSABLE,
  "tag_in_call": EditStatus.UNPARSABLE,
  "action_in_review": EditStatus.UNKNOWN_TOOL,
  "bad_json": EditStatus.UNPARSABLE,
  "duplicate_key": EditStatus.UNPARSABLE,
  "not_finite": EditStatus.UNPARSABLE,
  "not_an_object": EditStatus.UNPARSABLE,
  "call_fields": EditStatus.UNPARSABLE,
  "environment_tool": EditStatus.UNKNOWN_TOOL,
  "unknown_tool": EditStatus.UNKNOWN_TOOL,
  "missing_field": EditStatus.MISSING_FIELDS,
  "extra_field": EditStatus.MISSING_FIELDS,
  "wrong_type": EditStatus.MISSING_FIELDS,
  "empty_field": EditStatus.MISSING_FIELDS,
  "placeholder": EditStatus.PLACEHOLDER,
  "wrong_category": EditStatus.WRONG_CATEGORY,
}
STATUS_OF_OUTCOME = {
  "added": EditStatus.ADDED,
  "updated": EditStatus.UPDATED,
  "kept": EditStatus.KEPT,
  "retired": EditStatus.RETIRED,
  "malformed": EditStatus.MISSING_FIELDS,
  "too_long": EditStatus.TOO_LONG,
  "unclean": EditStatus.PLACEHOLDER,
  "not_found": EditStatus.NOT_FOUND,
  "empty": EditStatus.MISSING_FIELDS,
  "wrong_category": EditStatus.WRONG_CATEGORY,
  "duplicate": EditStatus.DUPLICATE,
  "bank_full": EditStatus.BANK_FULL,
}


def outcome(status):
  return EditOutcome(SkillBank(), status, "", Edit("keep"))


def test_every_rejection_of_the_parser_has_its_status():
  assert set(STATUS_OF_REJECTION) == set(parse.EDIT_REJECTIONS)
  for code, status in STATUS_OF_REJECTION.items():
    assert edit_status(make_trajectory(edit_rejection=code), None) == status, code


def test_every_status_of_the_bank_has_its_status():
  assert set(STATUS_OF_OUTCOME) == {*edits_lib.ACCEPTED, *edits_lib.REJECTED}
  for code, status in STATUS_OF_OUTCOME.items():
    assert edit_status(make_trajectory(), outcome(code)) == status, code


def test_a_cut_review_is_unfinished_and_no_review_is_nothing():
  for finish in ("length", "full"):
    cut = make_trajectory(edit_finish=finish, edit_rejection="unclosed_call")
    assert edit_status(cut, None) == EditStatus.UNFINISHED
  assert edit_status(make_trajectory(roles=(Role.ACT,)), None) is None
  assert edit_status(make_trajectory(roles=()), None) is None


def two_groups():
  """Group 7: three members; group 2: two members without review."""
  rows = [
    make_trajectory("a", group_id=7, success=True),
    make_trajectory("b", group_id=2, roles=(Role.ACT,) * 3, success=True),
    make_trajectory("c", group_id=7, success=True),
    make_trajectory("d", group_id=7, edit_rejection="bad_json"),
    make_trajectory("e", group_id=2, roles=(Role.ACT,) * 3, rejections=("no_think",) * 2),
  ]
  edits = {"a": outcome("added"), "c": outcome("kept")}
  return rows, edits, {"a": 0.5}


def test_two_groups_by_hand():
  rows, edits, utilities = two_groups()
  credit = assign(rows, edits, utilities, CreditSettings())
  # act: success 1, less 0.1 for each rejected action. edit: added 0.1 + U, kept 0.1,
  # unparsable -1.
  nan = math.nan
  expected = [[1.0, 0.6], [1.0, nan], [1.0, 0.1], [0.0, -1.0], [-0.2, nan]]
  np.testing.assert_allclose(credit.rewards, expected, atol=1e-6)
  # Group 7, act: mean 2/3, std √(((1/3)² + (1/3)² + (2/3)²) / 2) = 0.57735.
  # Group 7, edit: mean -0.1, deviations 0.7, 0.2, -0.9, std √(1.34 / 2) = 0.818535,
  # times λ = 0.2: 0.171037, 0.048868, -0.219905.
  # Group 2, act: two members are always ±1/√2.
  expected = [
    [0.577350, 0.171037],
    [0.707107, 0.0],
    [0.577350, 0.048868],
    [-1.154701, -0.219905],
    [-0.707107, 0.0],
  ]
  np.testing.assert_allclose(credit.advantages, expected, atol=1e-4)
  assert credit.statuses == (
    EditStatus.ADDED,
    None,
    EditStatus.KEPT,
    EditStatus.UNPARSABLE,
    None,
  )


def test_tokens_get_the_advantage_of_their_role():
  rows, edits, utilities = two_groups()
  credit = assign(rows, edits, utilities, CreditSettings())
  # Two task turns and a review, each of 2 context and 3 sampled tokens.
  act, edit = credit.advantages[0]
  line = [0, 0, act, act, act, 0, 0, act, act, act, 0, 0, edit, edit, edit]
  np.testing.assert_array_equal(credit.per_token[0], np.float32(line))
  for trajectory, values in zip(rows, credit.per_token, strict=True):
    assert values.dtype == np.float32 and values.shape == trajectory.tokens.shape
    assert not values[~trajectory.loss_mask].any()
  np.testing.assert_array_equal(spread(rows[0], np.array([0.0, 0.0])), np.zeros(15))


def test_order_of_members_changes_nothing():
  rows, edits, utilities = two_groups()
  credit = assign(rows, edits, utilities, CreditSettings())
  order = [3, 1, 4, 0, 2]
  again = assign([rows[i] for i in order], edits, utilities, CreditSettings())
  np.testing.assert_allclose(again.advantages, credit.advantages[order], atol=1e-6)


@pytest.mark.parametrize(
  ("settings", "expected"),
  [
    # λ = 1: the edits' advantages as they are.
    (CreditSettings(edit_weight=1.0), [0.855186, 0.244339, -1.099525]),
    # Leave-one-out: 0.6 − (0.1 − 1) / 2 … of all six rewards of the group (sum 1.7):
    # r − (1.7 − r) / 5.
    (CreditSettings(advantage="rloo"), [0.38, -0.22, -1.54]),
    # Without std: r − mean of the six, 1.7 / 6.
    (CreditSettings(advantage="dr_grpo"), [0.316667, -0.183333, -1.283333]),
  ],
)
def test_estimators(settings, expected):
  rows, edits, utilities = two_groups()
  credit = assign(rows, edits, utilities, settings)
  np.testing.assert_allclose(credit.advantages[[0, 2, 3], 1], expected, atol=1e-4)


def test_only_an_edit_that_changes_the_bank_earns_its_utility():
  rows = [make_trajectory(name) for name in "ab"]
  edits = {"a": outcome("duplicate"), "b": outcome("updated")}
  credit = assign(rows, edits, {"a": 5.0, "b": 5.0}, CreditSettings())
  np.testing.assert_allclose(credit.rewards[:, 1], [-0.5, 5.1], atol=1e-6)


def test_an_unknown_utility_gives_no_gradient():
  rows = [make_trajectory(name, group_id=1) for name in "abc"]
  edits = {name: outcome("added") for name in "abc"}
  utilities = {"a": math.nan, "b": 0.0, "c": 1.0}
  credit = assign(rows, edits, utilities, CreditSettings())
  assert math.isnan(credit.rewards[0, 1])
  np.testing.assert_allclose(
    credit.advantages[:, 1], [0.0, -0.141421, 0.141421], atol=1e-4
  )
  assert np.isfinite(credit.per_token[0]).all() and not credit.per_token[0].any()


def test_an_update_in_which_every_episode_failed():
  credit = assign([], {}, {}, CreditSettings())
  assert credit.rewards.shape == credit.advantages.shape == (0, 2)
  assert (credit.per_token, credit.statuses) == ((), ())


def test_shaping_is_passed_on():
  rows = [
    make_trajectory("a", success=True, rejections=("no_think",)),
    make_trajectory("b", edit_rejection="bad_json"),
  ]
  settings = CreditSettings(
    act=ActShaping(success=10.0, invalid_action=1.0, max_penalty=9.0, efficiency=4.0),
    edit=EditShaping(valid=3.0, unparsable=-7.0),
  )
  credit = assign(rows, {"a": outcome("kept")}, {}, settings)
  # 10 + 4 · (4 − 2) / 4 turns saved − 1 for the rejected action.
  np.testing.assert_allclose(credit.rewards, [[11.0, 3.0], [0.0, -7.0]])


@pytest.mark.parametrize(
  ("settings", "message"),
  [
    ({"advantage": "ppo"}, r"advantage='ppo' must be one of .*rl\.advantage"),
    ({"advantage": "grpo", "edit_weight": 0.2}, r"no effect .*rl\.edit_weight"),
    ({"edit_weight": -0.1}, r"edit_weight=-0.1 must be >= 0 .*rl\.edit_weight"),
  ],
)
def test_settings_are_checked(settings, message):
  with pytest.raises(ValueError, match=message):
    CreditSettings(**settings)
