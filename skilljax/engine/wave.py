"""Cutting one step of the engine into extend and decode calls of bucketed shapes.

Purpose: pure plans in numpy, [R, S] per extend call and [R] per decode call.
Must not know about: JAX, sampling, names.
"""

import dataclasses
from collections.abc import Iterator, Mapping

import numpy as np

from skilljax.engine.settings import EngineSettings, bucket_for


@dataclasses.dataclass(frozen=True, eq=False)
class ExtendCall:
  """Arguments of one extend call; padding rows have slot num_slots and count 0.

  Attributes:
    rows: [R] int32 slots.
    tokens: [R, S] int32.
    starts: [R] int32, cache length before the call.
    counts: [R] int32, valid tokens.
    attend_len: attention bucket that holds starts + counts.
  """

  rows: np.ndarray
  tokens: np.ndarray
  starts: np.ndarray
  counts: np.ndarray
  attend_len: int

  @classmethod
  def blank(
    cls, num_rows: int, num_columns: int, attend_len: int, num_slots: int
  ) -> "ExtendCall":
    """A call of padding rows only."""
    return cls(
      rows=np.full(num_rows, num_slots, np.int32),
      tokens=np.zeros((num_rows, num_columns), np.int32),
      starts=np.zeros(num_rows, np.int32),
      counts=np.zeros(num_rows, np.int32),
      attend_len=attend_len,
    )


@dataclasses.dataclass(frozen=True, eq=False)
class DecodeCall:
  """Which rows one decode call runs; padding rows have slot num_slots.

  Attributes:
    rows: [R] int32 slots; all slots in their order where R = num_slots.
    attend_len: attention bucket that holds whatever a running row can reach.
  """

  rows: np.ndarray
  attend_len: int


def plan_decode(
  running: np.ndarray, ends: np.ndarray, settings: EngineSettings
) -> Iterator[DecodeCall]:
  """Yields decode calls that hold every running slot once.

  Args:
    running: [N] bool, some of them True.
    ends: [N] int32, cache length that a slot can reach in the call; < 0 never counts.
    settings: the buckets.
  """
  rest = np.flatnonzero(running)
  rest = rest[np.argsort(ends[rest], kind="stable")]
  largest = settings.decode_rows[-1] if settings.decode_rows else settings.num_slots
  while len(rest):
    some, rest = rest[:largest], rest[largest:]
    size = bucket_for(len(some), settings.decode_rows or (largest,))
    rows = np.arange(settings.num_slots, dtype=np.int32)
    if size < settings.num_slots:
      rows = np.full(size, settings.num_slots, np.int32)
      rows[: len(some)] = some
    yield DecodeCall(rows, bucket_for(int(ends[some].max()), settings.attend_lengths))


@dataclasses.dataclass(frozen=True, eq=False)
class _Piece:
  slot: int
  start: int
  tokens: np.ndarray
  columns: int  # extend bucket


def plan_wave(
  queue: Mapping[int, np.ndarray], lengths: np.ndarray, settings: EngineSettings
) -> Iterator[ExtendCall]:
  """Yields extend calls; the pieces of one row come in order, in separate calls.

  Rows are grouped by extend bucket and sorted by where they end, so that rows which
  need a long attention share calls.

  Args:
    queue: slot -> [n] int32, n >= 1, what to append.
    lengths: [N] int32, cache lengths; must not change while the plan is read.
    settings: the buckets.
  """
  rest = {slot: (int(lengths[slot]), tokens) for slot, tokens in queue.items()}
  while rest:
    groups: dict[int, list[_Piece]] = {}
    later = {}
    for slot, (start, tokens) in rest.items():
      columns = _columns(len(tokens), settings.extend_buckets)
      size = min(len(tokens), columns)
      groups.setdefault(columns, []).append(_Piece(slot, start, tokens[:size], columns))
      if size < len(tokens):
        later[slot] = (start + size, tokens[size:])
    for _, group in sorted(groups.items()):
      group.sort(key=lambda piece: piece.start + len(piece.tokens))
      yield from _pack(group, settings)
    rest = later


def _columns(size: int, buckets: tuple[int, ...]) -> int:
  """The largest bucket that `size` fills to three quarters, else the smallest.

  The cost of a call is close to linear in its cells, so two small calls with little
  padding beat a large one that is half empty.
  """
  return next((b for b in reversed(buckets) if 4 * size >= 3 * b), buckets[0])


def _pack(group: list[_Piece], settings: EngineSettings) -> Iterator[ExtendCall]:
  """Calls for pieces of one extend bucket."""
  while group:
    num_rows = bucket_for(len(group), settings.row_buckets)
    batch, group = group[:num_rows], group[num_rows:]
    end = max(piece.start + len(piece.tokens) for piece in batch)
    columns = batch[0].columns
    attend_len = bucket_for(max(end, columns), settings.attend_lengths)
    call = ExtendCall.blank(num_rows, columns, attend_len, settings.num_slots)
    for i, piece in enumerate(batch):
      call.rows[i] = piece.slot
      call.tokens[i, : len(piece.tokens)] = piece.tokens
      call.starts[i] = piece.start
      call.counts[i] = len(piece.tokens)
    yield call
