"""Several decode engines side by side, stepped by one host thread each.

On a CPU, XLA runs the many small products of a decode step on one core; two lanes keep
two cores busy. A sample does not depend on its lane, so lanes change speed, nothing else.

Must not know about: how a lane decodes, environments.
"""

from collections.abc import Sequence
from concurrent import futures
from typing import Any

from skilljax.engine import base
from skilljax.engine.engine import DecodeEngine


class LaneEngine:
  """Implements `base.Engine` over equal lanes. Also `warmup` and `stats` of the lanes."""

  def __init__(self, lanes: Sequence[DecodeEngine]):
    """Takes over engines that nobody else uses.

    Raises:
      ValueError: no lanes.
    """
    if not lanes:
      raise ValueError("lanes: at least one engine is needed (engine.num_lanes)")
    self._lanes = tuple(lanes)
    self._lane_of: dict[str, DecodeEngine] = {}
    self._threads = futures.ThreadPoolExecutor(len(lanes), "decode-lane")

  @property
  def policy_version(self) -> int:
    """Version of the last published policy; -1 before the first."""
    return self._lanes[0].policy_version

  @property
  def num_free(self) -> int:
    """How many more sequences can be opened now."""
    return sum(lane.num_free for lane in self._lanes)

  @property
  def max_len(self) -> int:
    """Most tokens of one sequence, samples included."""
    return self._lanes[0].max_len

  @property
  def num_traces(self) -> int:
    """Programs traced so far; constant after `warmup`."""
    return sum(lane.num_traces for lane in self._lanes)

  @property
  def cache_bytes(self) -> int:
    """Size of the KV caches."""
    return sum(lane.cache_bytes for lane in self._lanes)

  def publish(self, params: Any, version: int) -> None:
    """Gives every lane the policy. Errors as `DecodeEngine.publish`."""
    base.check_publishable(self._lane_of, version)
    for lane in self._lanes:
      lane.publish(params, version)

  def submit(self, request: base.GenerateRequest) -> None:
    """Queues a request; a new sequence opens in the lane with most room."""
    lane = self._lane_of.get(request.sequence)
    if lane is None:
      lane = max(self._lanes, key=lambda candidate: candidate.num_free)
    lane.submit(request)
    self._lane_of[request.sequence] = lane

  def step(self) -> list[base.GenerateResult]:
    """Steps all lanes at once; results in lane order."""
    parts = self._threads.map(lambda lane: lane.step(), self._lanes)
    return [result for part in parts for result in part]

  def release(self, sequence: str) -> None:
    """Closes a sequence. Raises ValueError if it is not open."""
    if sequence not in self._lane_of:
      raise ValueError(f"release: sequence {sequence!r} is not open")
    self._lane_of.pop(sequence).release(sequence)

  def warmup(self) -> None:
    """Compiles the buckets of every lane, side by side."""
    list(self._threads.map(lambda lane: lane.warmup(), self._lanes))

  def stats(self) -> dict[str, float]:
    """Totals over the lanes; seconds and shares are means, rates are sums."""
    rows = [lane.stats() for lane in self._lanes]
    mean = {"device_s", "step_s", "occupancy", "extend_fill", "num_steps"}
    return {
      name: sum(row[name] for row in rows) / (len(rows) if name in mean else 1)
      for name in rows[0]
    }

  def reset_stats(self) -> None:
    """Zeroes what `stats` counts."""
    for lane in self._lanes:
      lane.reset_stats()
