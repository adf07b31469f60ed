"""Capacity and shape settings of the decode engine.

Purpose: validate before anything is compiled; every error names the config key.
Must not know about: parameters, devices, requests.
"""

import dataclasses


def _check_buckets(key: str, buckets: tuple[int, ...], largest: int | None) -> None:
  if not buckets or min(buckets) < 1 or list(buckets) != sorted(set(buckets)):
    raise ValueError(
      f"{key} must be a strictly increasing tuple of positive ints, got {buckets}"
    )
  if largest is not None and buckets[-1] > largest:
    raise ValueError(f"{key} must not exceed {largest}, got {buckets}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class EngineSettings:
  """Shapes of a `DecodeEngine`. Config section `engine`.

  The engine compiles one program per (decode row, attention) bucket for decoding and one
  per (row, extend, attention) bucket for extending, so keep the lists short.

  Attributes:
    num_slots: sequences that can be open at once.
    num_lanes: decode engines that share the slots, one host thread each; more than one
      helps where a decode step keeps one core busy (`lanes.py`). Must divide num_slots.
    max_len: most tokens of one sequence, samples included.
    attend_buckets: lengths of cache that attention reads; `max_len` is added to them.
    extend_buckets: tokens per row of an extend call; longer inputs take several calls.
    row_buckets: rows of an extend call; larger waves take several calls.
    decode_rows: rows of a decode call; () runs all slots in one call, resting ones too.
      With buckets, the running rows go in order of length, as many as the largest bucket
      at a time: worth it where a step costs as much as its rows and their caches (CPU)
      or where few slots run for long.
    decode_chunk: most tokens per sequence that one decode call samples.
    exit_fraction: a decode call ends early when this share of the rows that it started
      with has finished; in (0, 1].
    top_k: keep the k likeliest tokens; 0 keeps all.
    top_p: keep the smallest set of likeliest tokens with this mass; 1 keeps all.
  """

  num_slots: int = 64
  num_lanes: int = 1
  max_len: int = 768
  attend_buckets: tuple[int, ...] = (256, 512)
  extend_buckets: tuple[int, ...] = (16, 64)
  row_buckets: tuple[int, ...] = (8,)
  decode_rows: tuple[int, ...] = ()
  decode_chunk: int = 32
  exit_fraction: float = 0.25
  top_k: int = 0
  top_p: float = 1.0

  def __post_init__(self):
    for name in ("num_slots", "num_lanes", "decode_chunk"):
      value = vars(self)[name]
      if value < 1:
        raise ValueError(f"engine.{name} must be >= 1, got {value}")
    if self.num_slots % self.num_lanes:
      raise ValueError(
        f"engine.num_lanes={self.num_lanes} must divide engine.num_slots={self.num_slots}"
      )
    if self.max_len < 2:
      raise ValueError(f"engine.max_len must be >= 2, got {self.max_len}")
    _check_buckets("engine.attend_buckets", self.attend_buckets, None)
    _check_buckets("engine.extend_buckets", self.extend_buckets, self.max_len)
    _check_buckets("engine.row_buckets", self.row_buckets, self.num_slots)
    if self.decode_rows:
      _check_buckets("engine.decode_rows", self.decode_rows, self.num_slots)
    if not 0.0 < self.exit_fraction <= 1.0:
      raise ValueError(
        f"engine.exit_fraction must be in (0, 1], got {self.exit_fraction}"
      )
    if self.top_k < 0:
      raise ValueError(f"engine.top_k must be >= 0 (0: keep all), got {self.top_k}")
    if not 0.0 < self.top_p <= 1.0:
      raise ValueError(f"engine.top_p must be in (0, 1], got {self.top_p}")

  @property
  def attend_lengths(self) -> tuple[int, ...]:
    """The attention buckets in use: those below `max_len`, then `max_len` itself."""
    return (*(n for n in self.attend_buckets if n < self.max_len), self.max_len)


def bucket_for(size: int, buckets: tuple[int, ...]) -> int:
  """The smallest bucket that holds `size`, or the largest one if none does."""
  return next((bucket for bucket in buckets if bucket >= size), buckets[-1])
