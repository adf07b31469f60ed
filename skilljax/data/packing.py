"""Packs trajectories into rows of fixed length, so that shapes never change.

First fit, longest first: rows of `row_len` tokens hold whole trajectories, told apart by
segment ids; a micro-batch is a fixed number of rows. Packing changes no result: positions
restart in each segment and attention stays inside it (tests/data/test_packing.py).

Must not know about: text, models, losses.
"""

from collections.abc import Sequence

import numpy as np

from skilljax.rl.batch import TokenBatch
from skilljax.types import Trajectory


def assign_rows(lengths: Sequence[int], row_len: int) -> list[list[int]]:
  """First-fit decreasing bin packing; deterministic.

  Args:
    lengths: tokens of each sequence, each in [1, row_len].
    row_len: tokens of a row.
  Returns:
    Row -> indices into `lengths`.
  Raises:
    ValueError: a sequence is longer than a row.
  """
  rows: list[list[int]] = []
  room: list[int] = []
  for index in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
    length = lengths[index]
    if length > row_len:
      raise ValueError(
        f"sequence {index} has {length} tokens, a row holds row_len={row_len}; "
        "raise learner.row_len or lower engine.max_len (config keys)"
      )
    row = next((r for r, free in enumerate(room) if free >= length), None)
    if row is None:
      row = len(rows)
      rows.append([])
      room.append(row_len)
    rows[row].append(index)
    room[row] -= length
  return rows


def pack(
  trajectories: Sequence[Trajectory],
  advantages: Sequence[np.ndarray],
  *,
  row_len: int,
  rows_per_batch: int,
  loss_masks: Sequence[np.ndarray] | None = None,
) -> TokenBatch:
  """Packs whole trajectories into one stack of micro-batches.

  Args:
    trajectories: N of them.
    advantages: N arrays [T_n] float32, per token.
    row_len: T, tokens of a row.
    rows_per_batch: R, rows of a micro-batch; the last one is filled with empty rows.
    loss_masks: N arrays [T_n] bool in place of the trajectories' own.
  Returns:
    TokenBatch with numpy leaves [M, R, T]: M micro-batches. `sequence_id` is the index
    into `trajectories`; `ref_logprobs` is 0 until a reference scores the rows.
  """
  rows = assign_rows([len(t.tokens) for t in trajectories], row_len)
  num_rows = -(-len(rows) // rows_per_batch) * rows_per_batch
  shape = (num_rows, row_len)
  arrays = {
    "tokens": np.zeros(shape, np.int32),
    "positions": np.zeros(shape, np.int32),
    "segment_ids": np.zeros(shape, np.int32),
    "loss_mask": np.zeros(shape, np.float32),
    "role": np.zeros(shape, np.int8),
    "advantages": np.zeros(shape, np.float32),
    "behavior_logprobs": np.zeros(shape, np.float32),
    "ref_logprobs": np.zeros(shape, np.float32),
    "sequence_id": np.full(shape, -1, np.int32),
  }
  for row, members in enumerate(rows):
    start = 0
    for segment, index in enumerate(members, start=1):
      trajectory = trajectories[index]
      mask = trajectory.loss_mask if loss_masks is None else loss_masks[index]
      stop = start + len(trajectory.tokens)
      span = (row, slice(start, stop))
      arrays["tokens"][span] = trajectory.tokens
      arrays["positions"][span] = np.arange(stop - start)
      arrays["segment_ids"][span] = segment
      arrays["loss_mask"][span] = mask
      arrays["role"][span] = trajectory.role
      arrays["advantages"][span] = advantages[index]
      arrays["behavior_logprobs"][span] = trajectory.behavior_logprobs
      arrays["sequence_id"][span] = index
      start = stop
  batches = num_rows // rows_per_batch
  return TokenBatch(
    **{
      name: array.reshape(batches, rows_per_batch, row_len)
      for name, array in arrays.items()
    }
  )
