"""The host's view of the slots: numpy columns with one row per slot.

Purpose: who owns which slot, how far it is, what it has sampled. The work per step is
a few vectorised lines; nothing here loops over tokens.
Must not know about: JAX, the model, how an extend wave is cut into calls.
"""

import numpy as np

from skilljax.engine import base

NO_TOKEN = -1


class SlotTable:
  """Bookkeeping of `num_slots` sequences; arrays are indexed by slot.

  Attributes:
    length: [N] int32, tokens whose keys and values are in the cache.
    pending: [N] int32, the last token of the sequence, which is not cached yet;
      NO_TOKEN before the first request.
    running: [N] bool, the slot is sampling.
    generated: [N] int32, tokens of the running response so far.
    limit: [N] int32, most tokens of the running response.
    key_parts: [N, MAX_KEY_PARTS] uint32; num_parts: [N] int32, how many are used.
    temperature: [N] float32.
  """

  def __init__(self, num_slots: int, max_len: int):
    self.length = np.zeros(num_slots, np.int32)
    self.pending = np.full(num_slots, NO_TOKEN, np.int32)
    self.running = np.zeros(num_slots, bool)
    self.generated = np.zeros(num_slots, np.int32)
    self.limit = np.zeros(num_slots, np.int32)
    self.key_parts = np.zeros((num_slots, base.MAX_KEY_PARTS), np.uint32)
    self.num_parts = np.zeros(num_slots, np.int32)
    self.temperature = np.ones(num_slots, np.float32)
    self.slot_of: dict[str, int] = {}
    self._max_len = max_len
    self._max_new = np.zeros(num_slots, np.int32)
    self._name = [""] * num_slots
    self._free = list(range(num_slots))[::-1]
    self._tokens = np.zeros((num_slots, max_len), np.int32)
    self._behavior = np.zeros((num_slots, max_len), np.float32)
    self._sampled = np.zeros((num_slots, max_len), np.float32)

  @property
  def num_free(self) -> int:
    """Slots without a sequence."""
    return len(self._free)

  def context_len(self, name: str) -> int:
    """Tokens of a sequence so far, its samples included; 0 if it is not open."""
    slot = self.slot_of.get(name)
    if slot is None:
      return 0
    return int(self.length[slot]) + int(self.pending[slot] != NO_TOKEN)

  def open(self, name: str) -> int:
    """Gives a free slot to a sequence."""
    slot = self._free.pop()
    self.slot_of[name] = slot
    self._name[slot] = name
    self.length[slot] = 0
    self.pending[slot] = NO_TOKEN
    return slot

  def close(self, name: str) -> int:
    """Takes the slot back, whatever it was doing, and returns it."""
    slot = self.slot_of.pop(name)
    self._free.append(slot)
    self.running[slot] = False
    return slot

  def start(self, slot: int, request: base.GenerateRequest) -> np.ndarray:
    """Begins a response and returns the tokens [S] to extend the cache with.

    They are what was pending and what is new, less the last one, pending from now on.
    """
    fed = np.asarray(request.tokens, np.int32)
    if self.pending[slot] != NO_TOKEN:
      fed = np.concatenate([self.pending[slot : slot + 1], fed])
    self.pending[slot] = fed[-1]
    self.running[slot] = True
    self._max_new[slot] = min(request.max_new_tokens, self._max_len + 1)
    room = self._max_len - int(self.length[slot]) - len(fed)
    self.limit[slot] = min(request.max_new_tokens, room)
    self.generated[slot] = 0
    self.key_parts[slot] = 0
    self.key_parts[slot, : len(request.key)] = request.key
    self.num_parts[slot] = len(request.key)
    self.temperature[slot] = request.temperature
    return fed[:-1]

  def append(
    self,
    slots: np.ndarray,
    counts: np.ndarray,
    tokens: np.ndarray,
    behavior: np.ndarray,
    sampled: np.ndarray,
  ) -> None:
    """Records what a decode call sampled: the first `counts[r]` columns of each row.

    Args:
      slots: [R] int32, whose row it is; unique where the count is not 0.
      counts: [R] int32.
      tokens: [R, C] int32; behavior, sampled: [R, C] float32.
    """
    row, column = np.nonzero(np.arange(tokens.shape[1]) < counts[:, None])
    place = slots[row], self.generated[slots[row]] + column
    self._tokens[place] = tokens[row, column]
    self._behavior[place] = behavior[row, column]
    self._sampled[place] = sampled[row, column]
    some = np.flatnonzero(counts)
    self.generated[slots[some]] += counts[some]
    self.length[slots[some]] += counts[some]
    self.pending[slots[some]] = tokens[some, counts[some] - 1]

  def finish(self, stop_ids: np.ndarray) -> list[base.GenerateResult]:
    """Ends every running response that hit a stop token or its limit."""
    stopped = (self.generated > 0) & np.isin(self.pending, stop_ids)
    ended = self.running & (stopped | (self.generated >= self.limit))
    self.running &= ~ended
    return [self._result(slot, bool(stopped[slot])) for slot in np.flatnonzero(ended)]

  def _result(self, slot: int, stopped: bool) -> base.GenerateResult:
    size = int(self.generated[slot])
    by_length = self.limit[slot] == self._max_new[slot]
    return base.GenerateResult(
      sequence=self._name[slot],
      tokens=self._tokens[slot, :size].copy(),
      behavior_logprobs=self._behavior[slot, :size].copy(),
      sampled_logprobs=self._sampled[slot, :size].copy(),
      finish="stop" if stopped else "length" if by_length else "full",
    )
