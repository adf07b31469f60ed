import jax
import numpy as np
import pytest

from skilljax.data.packing import assign_rows, pack
from skilljax.models.config import ModelConfig
from skilljax.models.logprobs import sequence_logprobs
from skilljax.models.transformer import init_params
from skilljax.types import Role
from tests.rollout.trajectories import make_trajectory

ROLES = ((Role.ACT,), (Role.ACT, Role.EDIT), (Role.ACT, Role.ACT, Role.EDIT))


def some(num=7, seed=0):
  """Trajectories of 5, 10 or 15 tokens with advantages that name them."""
  rng = np.random.default_rng(seed)
  rows = [
    make_trajectory(f"e{i}", roles=ROLES[rng.integers(3)], first_token=1 + 3 * i)
    for i in range(num)
  ]
  advantages = [
    np.where(t.loss_mask, i + 1.0, 0).astype("f4") for i, t in enumerate(rows)
  ]
  return rows, advantages


def test_first_fit_decreasing_by_hand():
  # Longest first: 6 → row 0 (4 left), 5 → row 1 (5 left), 4 → row 0, 3 and 2 → row 1.
  assert assign_rows([3, 6, 2, 5, 4], 10) == [[1, 4], [3, 0, 2]]
  assert assign_rows([10, 10], 10) == [[0], [1]]
  # Equal lengths keep their order.
  assert assign_rows([4, 4, 4], 8) == [[0, 1], [2]]
  assert assign_rows([], 8) == []


def test_every_sequence_has_one_place_and_no_row_overflows():
  rng = np.random.default_rng(0)
  lengths = rng.integers(1, 40, 200).tolist()
  rows = assign_rows(lengths, 40)
  assert sorted(i for row in rows for i in row) == list(range(200))
  assert max(sum(lengths[i] for i in row) for row in rows) <= 40
  # First fit decreasing needs at most 11/9 of the best, plus one.
  assert len(rows) <= 11 / 9 * sum(lengths) / 40 + 1


def test_a_sequence_that_is_longer_than_a_row():
  with pytest.raises(
    ValueError, match=r"sequence 1 has 11 tokens.*row_len=10.*learner\."
  ):
    assign_rows([3, 11], 10)


@pytest.mark.parametrize(("row_len", "rows_per_batch"), [(15, 1), (32, 2), (64, 4)])
def test_what_was_packed_can_be_read_back(row_len, rows_per_batch):
  rows, advantages = some()
  batch = pack(rows, advantages, row_len=row_len, rows_per_batch=rows_per_batch)
  shape = batch.tokens.shape
  assert shape[1:] == (rows_per_batch, row_len)
  for index, trajectory in enumerate(rows):
    place = np.nonzero(batch.sequence_id == index)
    # One row, side by side, with a segment of its own.
    assert len(set(zip(place[0], place[1], strict=True))) == 1
    assert np.array_equal(place[2], place[2][0] + np.arange(len(trajectory.tokens)))
    (segment,) = set(batch.segment_ids[place])
    row = batch.segment_ids[place[0][0], place[1][0]]
    assert (row == segment).sum() == len(trajectory.tokens)
    assert batch.positions[place].tolist() == list(range(len(trajectory.tokens)))
    for name, expected in (
      ("tokens", trajectory.tokens),
      ("loss_mask", trajectory.loss_mask),
      ("role", trajectory.role),
      ("behavior_logprobs", trajectory.behavior_logprobs),
      ("advantages", advantages[index]),
    ):
      assert np.array_equal(vars(batch)[name][place], expected), name
  padding = batch.sequence_id == -1
  assert padding.sum() == np.prod(shape) - sum(len(t.tokens) for t in rows)
  for name in ("tokens", "segment_ids", "loss_mask", "role", "advantages", "positions"):
    assert not vars(batch)[name][padding].any(), name
  assert not batch.ref_logprobs.any()
  assert batch.weights is None and batch.old_logprobs is None


def test_dtypes_and_segments():
  rows, advantages = some()
  batch = pack(rows, advantages, row_len=32, rows_per_batch=2)
  dtypes = {name: value.dtype for name, value in vars(batch).items() if value is not None}
  assert dtypes == {
    "tokens": np.int32,
    "positions": np.int32,
    "segment_ids": np.int32,
    "loss_mask": np.float32,
    "role": np.int8,
    "advantages": np.float32,
    "behavior_logprobs": np.float32,
    "ref_logprobs": np.float32,
    "sequence_id": np.int32,
  }
  for row in batch.segment_ids.reshape(-1, 32):
    used = row[row > 0]
    assert sorted(set(used.tolist())) == list(range(1, used.max(initial=0) + 1))


def test_packing_is_deterministic():
  left, right = (pack(*some(), row_len=32, rows_per_batch=2) for _ in range(2))
  jax.tree.map(np.testing.assert_array_equal, left, right)


def test_other_masks_can_be_given():
  rows, advantages = some(3)
  masks = [t.loss_mask & (t.role == Role.EDIT) for t in rows]
  batch = pack(rows, advantages, row_len=32, rows_per_batch=2, loss_masks=masks)
  assert batch.loss_mask.sum() == sum(m.sum() for m in masks)
  assert not batch.loss_mask[batch.role != Role.EDIT].any()


def test_nothing_packs_into_nothing():
  assert pack([], [], row_len=8, rows_per_batch=2).tokens.shape == (0, 2, 8)


def test_packed_logprobs_are_those_of_each_sequence_alone():
  model = ModelConfig(
    vocab_size=64, d_model=16, num_layers=1, num_heads=2, num_kv_heads=1, head_dim=8,
    d_ff=32, max_len=32,
  )  # fmt: skip
  params = init_params(jax.random.key(0), model)
  # Unpacked is packed one by one: a row for each.
  rows, advantages = some(5)

  @jax.jit
  def score(tokens, positions, segment_ids):
    return sequence_logprobs(params, tokens, positions, segment_ids, model, chunk=32)[0]

  def logprobs(batch):
    return np.asarray(score(batch.tokens[0], batch.positions[0], batch.segment_ids[0]))

  packed = pack(rows, advantages, row_len=32, rows_per_batch=2)
  assert packed.tokens.shape == (1, 2, 32)
  together = logprobs(packed)
  for index, trajectory in enumerate(rows):
    alone = pack([trajectory], [advantages[index]], row_len=32, rows_per_batch=2)
    values = logprobs(alone)[0, : len(trajectory.tokens)]
    np.testing.assert_allclose(
      together[packed.sequence_id[0] == index][1:], values[1:], atol=1e-5
    )
    assert np.ptp(values[1:]) > 0
