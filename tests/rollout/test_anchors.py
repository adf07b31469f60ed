import dataclasses

import numpy as np
import pytest

from skilljax.rl.rewards import ActShaping
from skilljax.rollout import anchors
from skilljax.rollout.anchors import GigpoSettings, turn_advantages
from skilljax.rollout.credit import CreditSettings, assign
from skilljax.types import Role
from tests.rollout.trajectories import make_trajectory


def walk(name, seen, *, rewards=(), review=False, **fields):
  """An episode that answers the observations `seen`, in order."""
  roles = (Role.ACT,) * len(seen) + (Role.EDIT,) * review
  made = make_trajectory(name, roles=roles, first_observation=seen[0], **fields)
  following = (*seen[1:], "the end", "")
  turns = tuple(
    dataclasses.replace(
      turn, observation=text, reward=rewards[i] if i < len(rewards) else 0.0
    )
    for i, (turn, text) in enumerate(zip(made.turns, following, strict=False))
  )
  return dataclasses.replace(made, turns=turns)


def one_group():
  # γ = 0.5. Returns: a: hall 0.5, den 1. b: hall 0, attic 0. c: hall 0.25, den 0.5,
  # den 1, less 0.1 at its second turn, which was rejected.
  return [
    walk("a", ("hall", "den"), success=True),
    walk("b", ("hall", "attic"), review=True),
    walk("c", ("hall", "den", "den"), success=True, rejections=("", "no_think")),
  ]


def values(rows, shaping=None, **settings):
  settings = GigpoSettings(**{"gamma": 0.5, "use_std": False, **settings})
  return turn_advantages(rows, shaping=shaping or ActShaping(), settings=settings)


def close(actual, expected):
  for got, wanted in zip(actual, expected, strict=True):
    np.testing.assert_allclose(got, wanted, atol=1e-5)


def test_without_std_by_hand():
  # hall: 0.5, 0, 0.25, mean 0.25. den: 1, 0.4, 1, mean 0.8. attic stands alone.
  expected = [[0.25, 0.2], [-0.25, 0, 0], [0, -0.4, 0.2]]
  close(values(one_group()), expected)
  close(values(one_group(), omega=3.0), [np.multiply(3, row) for row in expected])


def test_with_std_by_hand():
  # Deviations as above. hall: std √((0.25² + 0.25²) / 2) = 0.25; den: std
  # √((0.2² + 0.4² + 0.2²) / 2) = 0.34641.
  expected = [[1, 0.57735], [-1, 0, 0], [0, -1.15470, 0.57735]]
  close(values(one_group(), use_std=True), expected)


def test_rewards_on_the_way_and_shaping_by_hand():
  # Environment rewards count twice. a: R_1 = 0, R_0 = 2. b: R_1 = 6 + 10 + 4 · 2 / 4, as
  # two of four turns are saved, R_0 = 9. hall: 2 and 9; den: 0 and 18.
  shaping = ActShaping(success=10.0, env_return=2.0, efficiency=4.0)
  rows = [
    walk("a", ("hall", "den"), rewards=(1, 0)),
    walk("b", ("hall", "den"), rewards=(0, 3), success=True),
  ]
  close(values(rows, shaping), [[-3.5, -9], [3.5, 9]])


def test_other_groups_and_other_texts_are_other_anchors():
  rows = [
    walk("a", ("hall", "den"), success=True),
    walk("b", ("hall", "den"), group_id=1),
    walk("c", ("hall ", "DEN"), group_id=0),
  ]
  assert not np.concatenate(values(rows)).any()


def test_order_of_episodes_changes_nothing():
  rows = [
    *one_group(),
    walk("d", ("hall", "den"), group_id=5, success=True),
    walk("e", ("den", "hall"), group_id=5),
  ]
  order = [3, 1, 4, 0, 2]
  again = values([rows[i] for i in order])
  close(again, [values(rows)[i] for i in order])


def test_equal_episodes_and_no_episodes_get_nothing():
  assert not np.concatenate(values([walk(n, ("hall", "den")) for n in "abc"])).any()
  assert values([]) == []
  assert [v.size for v in values([make_trajectory(roles=())])] == [0]


def test_every_task_turn_gets_its_own_part_and_reviews_none():
  settings = GigpoSettings(gamma=0.5, use_std=False)
  rows = one_group()
  credit = assign(rows, {}, {}, CreditSettings(gigpo=settings))
  plain = assign(rows, {}, {}, CreditSettings())
  np.testing.assert_array_equal(credit.advantages, plain.advantages)
  # Each turn is 2 tokens of context and 3 sampled ones.
  own = np.repeat([-0.25, 0, 0], 5) * rows[1].loss_mask
  np.testing.assert_allclose(credit.per_token[1], plain.per_token[1] + own, atol=1e-5)
  assert credit.per_token[1].dtype == np.float32
  assert not credit.per_token[0][~rows[0].loss_mask].any()
  # a's first turn: A_E + A_S. Rewards 1, 0, 0.9 have mean 0.63333, std 0.55076.
  grpo = CreditSettings(advantage="grpo", gigpo=settings)
  first = assign([rows[0], walk("b", ("hall", "attic")), rows[2]], {}, {}, grpo)
  np.testing.assert_allclose(first.per_token[0][2], 0.66574 + 0.25, atol=1e-4)


@pytest.mark.parametrize("advantage", ["grpo", "dr_grpo", "rloo"])
def test_without_weight_it_is_the_estimator_alone(advantage):
  rows = one_group()
  zero = CreditSettings(advantage=advantage, gigpo=GigpoSettings(omega=0.0))
  with_gigpo = assign(rows, {}, {}, zero)
  alone = assign(rows, {}, {}, CreditSettings(advantage=advantage))
  for got, wanted in zip(with_gigpo.per_token, alone.per_token, strict=True):
    np.testing.assert_array_equal(got, wanted)
  assert alone.per_turn is None


def test_updates_of_other_lengths_compile_nothing_again():
  def update(turns):
    return [walk(n, ("hall",) * turns, success=n == "a") for n in "ab"]

  values([*update(1), *update(4)])  # 10 turns, a bucket of 16
  before = anchors._anchor_values._cache_size()
  for turns in (2, 3):
    values([*update(4), *update(turns)])
  assert anchors._anchor_values._cache_size() == before


@pytest.mark.parametrize(
  ("settings", "message"),
  [
    ({"omega": -1.0}, r"omega=-1.0 must be >= 0 .*rl\.gigpo\.omega"),
    ({"omega": float("nan")}, r"omega=nan must be >= 0"),
    ({"gamma": 1.5}, r"gamma=1.5 must be in \[0, 1\] .*rl\.gigpo\.gamma"),
    ({"gamma": -0.1}, r"gamma=-0.1 must be in \[0, 1\]"),
  ],
)
def test_settings_are_checked(settings, message):
  with pytest.raises(ValueError, match=message):
    GigpoSettings(**settings)
