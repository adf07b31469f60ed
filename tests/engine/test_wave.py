import dataclasses

import numpy as np

from skilljax.engine.settings import EngineSettings
from skilljax.engine.wave import plan_decode, plan_wave

SETTINGS = EngineSettings(
  num_slots=8,
  max_len=64,
  attend_buckets=(32,),
  extend_buckets=(4, 16),
  row_buckets=(1, 3),
)


def plan(queue, lengths=None):
  lengths = np.zeros(8, np.int32) if lengths is None else np.asarray(lengths, np.int32)
  queue = {slot: np.asarray(tokens, np.int32) for slot, tokens in queue.items()}
  return list(plan_wave(queue, lengths, SETTINGS))


def test_shapes_by_hand():
  # Four rows of <= 4 tokens: a call of 3 and a call of 1. 35 tokens: 16, 16, then 3.
  calls = plan({0: [1], 1: [2] * 4, 2: [3] * 2, 3: [4] * 3, 4: [5] * 35})
  assert [call.tokens.shape for call in calls] == [
    (3, 4),
    (1, 4),
    (1, 16),
    (1, 16),
    (1, 4),
  ]
  assert [call.attend_len for call in calls] == [32, 32, 32, 32, 64]
  assert calls[0].rows.tolist() == [0, 2, 3]
  assert calls[0].counts.tolist() == [1, 2, 3]
  assert [call.starts.tolist() for call in calls[2:]] == [[0], [16], [32]]


def test_a_bucket_must_be_three_quarters_full():
  # 12 of 16 is enough; 11 tokens go as 4 + 4 + 3.
  assert [call.tokens.shape[1] for call in plan({0: [1] * 12})] == [16]
  calls = plan({0: [1] * 11})
  assert [call.counts.tolist() for call in calls] == [[4], [4], [3]]


def test_padding_rows():
  (call,) = plan({5: [1, 2], 6: [3]}, lengths=[0, 0, 0, 0, 0, 30, 31, 0])
  assert sorted(call.rows.tolist()) == [5, 6, 8]
  assert call.counts.sum() == 3
  assert call.tokens[2].tolist() == [0] * 4
  assert call.attend_len == 32


def test_rows_of_one_length_share_calls():
  lengths = [2, 50, 2, 50, 2, 50, 0, 0]
  calls = plan({slot: [7] for slot in range(6)}, lengths)
  assert [call.attend_len for call in calls] == [32, 64]
  assert sorted(calls[0].rows.tolist()) == [0, 2, 4]


def test_every_token_lands_once_and_in_order():
  rng = np.random.default_rng(0)
  for _ in range(50):
    lengths = rng.integers(0, 20, 8)
    slots = rng.permutation(8)[: rng.integers(1, 9)]
    queue = {
      int(slot): rng.integers(1, 99, rng.integers(1, 44)).tolist() for slot in slots
    }
    written = {slot: [] for slot in queue}
    for call in plan(queue, lengths):
      real = call.rows < 8
      assert len(set(call.rows[real])) == real.sum()
      for i in np.flatnonzero(real):
        slot, count = int(call.rows[i]), int(call.counts[i])
        assert call.starts[i] == lengths[slot] + len(written[slot])
        assert call.starts[i] + count <= call.attend_len
        written[slot] += call.tokens[i, :count].tolist()
    assert written == queue


def decode_calls(ends, **overrides):
  """Slots that rest have 0 in `ends`."""
  ends = np.asarray(ends, np.int32)
  settings = dataclasses.replace(SETTINGS, num_slots=len(ends), **overrides)
  calls = plan_decode(ends > 0, ends, settings)
  return [(call.rows.tolist(), call.attend_len) for call in calls]


def test_without_buckets_all_slots_decode_in_one_call():
  assert decode_calls([0, 9, 33, 0]) == [([0, 1, 2, 3], 64)]


def test_decode_calls_by_hand():
  ends = [60, 0, 9, 33, 0, 32, 5]
  # Shortest first, three at a time: 5, 9, 32 and then 33, 60; one row of seven pads.
  assert decode_calls(ends, decode_rows=(1, 3), row_buckets=(1,)) == [
    ([6, 2, 5], 32),
    ([3, 0, 7], 64),
  ]
  assert decode_calls([0, 0, 7, 0], decode_rows=(1, 3)) == [([2], 32)]
  # The bucket of all slots keeps them in their order.
  assert decode_calls([8, 9, 7, 0], decode_rows=(2, 4)) == [([0, 1, 2, 3], 32)]


def test_every_running_slot_decodes_once():
  rng = np.random.default_rng(0)
  for _ in range(50):
    ends = rng.integers(1, 65, 8) * rng.integers(0, 2, 8)
    seen = []
    for rows, attend_len in decode_calls(ends, decode_rows=(2, 5)):
      real = [row for row in rows if row < 8]
      assert all(ends[row] <= attend_len for row in real)
      seen += real
    assert sorted(seen) == np.flatnonzero(ends).tolist()
