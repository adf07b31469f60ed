"""What a generation engine is: the request, the result and the protocol.

Purpose: the seam between rollouts and whatever produces tokens.
Must not know about: environments, prompts, skills, how tokens are produced.
"""

import dataclasses
from collections.abc import Collection
from typing import Any, Literal, Protocol

import numpy as np

Finish = Literal["stop", "length", "full"]


@dataclasses.dataclass(frozen=True, eq=False)
class GenerateRequest:
  """One turn of one append-only sequence.

  Attributes:
    sequence: name of the sequence; its first request opens it.
    tokens: [S] int32, only what is new since the last result of this sequence. The
      engine remembers everything before it, its own samples included.
    max_new_tokens: sample at most this many, >= 1.
    key: parts folded one by one into the engine's root key, each in [0, 2**32). The
      samples depend on it, the policy and the sequence's tokens, and on nothing else.
    temperature: of the softmax, >= 0; 0 means greedy.
  """

  sequence: str
  tokens: np.ndarray
  max_new_tokens: int
  key: tuple[int, ...]
  temperature: float = 1.0


@dataclasses.dataclass(frozen=True, eq=False)
class GenerateResult:
  """What was sampled for one request.

  Attributes:
    sequence: name of the sequence.
    tokens: [n] int32, n >= 1; ends with the stop token if `finish` is 'stop'.
    behavior_logprobs: [n] float32 under the full softmax at the sampling temperature
      (at temperature 1 for a greedy request, whose own limit would be all zeros).
    sampled_logprobs: [n] float32 after top-k and top-p renormalisation (0 if greedy).
    finish: 'stop' (a stop token), 'length' (`max_new_tokens`) or 'full' (the context
      limit of the engine); where two apply, the first of this list.
  """

  sequence: str
  tokens: np.ndarray
  behavior_logprobs: np.ndarray
  sampled_logprobs: np.ndarray
  finish: Finish


class Engine(Protocol):
  """Samples turns of many open sequences at once.

  A sequence is open from its first `submit` until `release` and holds one slot.
  """

  @property
  def policy_version(self) -> int:
    """Version of the last published policy; -1 before the first."""

  @property
  def num_free(self) -> int:
    """How many more sequences can be opened now."""

  @property
  def max_len(self) -> int:
    """Most tokens of one sequence, samples included."""

  def publish(self, params: Any, version: int) -> None:
    """Takes a new policy. Raises RuntimeError while sequences are open."""

  def submit(self, request: GenerateRequest) -> None:
    """Queues one request. Raises ValueError if it can never be served."""

  def step(self) -> list[GenerateResult]:
    """Works for a while and returns what finished; [] if nothing did."""

  def release(self, sequence: str) -> None:
    """Closes a sequence and frees its slot; drops its request if one is running."""


MAX_KEY_PARTS = 8  # room for (purpose, update, episode, turn, …) in a fixed-size array


def check_request(
  request: GenerateRequest, *, num_free: int, is_open: bool, is_running: bool
) -> None:
  """Raises for a request that no engine can serve in the given state.

  Raises:
    ValueError: bad tokens, `max_new_tokens`, `key` or `temperature`; or the sequence
      still waits for its last request.
    RuntimeError: a new sequence and no free slot.
  """
  name = request.sequence
  if is_running:
    raise ValueError(f"sequence {name!r} has a running request: wait for its result")
  tokens = np.asarray(request.tokens)
  if tokens.ndim != 1 or (tokens.size and tokens.dtype.kind not in "iu"):
    raise ValueError(
      f"tokens of {name!r} must be [S] integers, got {tokens.dtype}{list(tokens.shape)}"
    )
  if not is_open and tokens.size == 0:
    raise ValueError(f"tokens of {name!r} must not be empty in its first request")
  if request.max_new_tokens < 1:
    raise ValueError(
      f"max_new_tokens of {name!r} must be >= 1, got {request.max_new_tokens}"
    )
  if not 0.0 <= request.temperature < float("inf"):
    raise ValueError(
      f"temperature of {name!r} must be finite and >= 0, got {request.temperature}"
    )
  parts = request.key
  if len(parts) > MAX_KEY_PARTS or not all(0 <= part < 2**32 for part in parts):
    raise ValueError(
      f"key of {name!r} must be at most {MAX_KEY_PARTS} ints in [0, 2**32), got {parts}"
    )
  if not is_open and num_free < 1:
    raise RuntimeError(
      f"no free slot for sequence {name!r}: release one or raise engine.num_slots"
    )


def check_publishable(open_sequences: Collection[str], version: int) -> None:
  """Raises if a new policy would leave stale state behind.

  Raises:
    ValueError: version < 0.
    RuntimeError: sequences are open; their cached keys and values belong to the policy
      that computed them.
  """
  if version < 0:
    raise ValueError(f"version must be >= 0, got {version}")
  if open_sequences:
    some = sorted(open_sequences)[:3]
    raise RuntimeError(
      f"publish(version={version}) with {len(open_sequences)} open sequences, e.g. "
      f"{some}: their KV cache belongs to the old policy; release them first"
    )
