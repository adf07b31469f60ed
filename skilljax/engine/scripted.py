"""An engine without a network: text agents behind the token protocol.

Purpose: run the whole pipeline (rollouts, probes, gates) with scripted policies.
Must not know about: JAX, environments; an agent sees only the text it was sent.
"""

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from skilljax.engine import base


class Agent(Protocol):
  """A scripted policy of one sequence; it may keep state between turns."""

  def reply(self, context_text: str) -> str:
    """Answers the text that is new since its last reply."""


class Tokenizer(Protocol):
  """What the engine needs of a tokenizer; special tokens survive `decode`."""

  def encode(self, text: str) -> list[int]:
    """Text to ids, with nothing added."""

  def decode(self, ids: list[int]) -> str:
    """Ids to text, special tokens included."""


class ScriptedEngine:
  """Implements `base.Engine` with one agent per sequence.

  Sampling arguments (`key`, `temperature`) have no effect: agents own their randomness.
  Log-probabilities are 0.
  """

  def __init__(
    self,
    make_agent: Callable[[str], Agent],
    tokenizer: Tokenizer,
    num_slots: int,
    stop_id: int,
    max_len: int = 1 << 30,
  ):
    """Builds an engine.

    Args:
      make_agent: sequence name -> a fresh agent, called when the sequence opens.
      tokenizer: turns contexts into text and replies into ids.
      num_slots: sequences that can be open at once, >= 1.
      stop_id: appended to every reply that fits into `max_new_tokens`.
      max_len: tokens of a sequence, as the decoder that it stands for would allow.
    Raises:
      ValueError: num_slots < 1.
    """
    if num_slots < 1:
      raise ValueError(f"engine.num_slots must be >= 1, got {num_slots}")
    self._make_agent = make_agent
    self._tokenizer = tokenizer
    self._num_slots = num_slots
    self._stop_id = stop_id
    self._max_len = max_len
    self._agents: dict[str, Agent] = {}
    self._lengths: dict[str, int] = {}  # tokens of each sequence so far
    self._pending: dict[str, base.GenerateRequest] = {}
    self._version = -1

  @property
  def policy_version(self) -> int:
    """Version of the last published policy; -1 before the first."""
    return self._version

  @property
  def num_free(self) -> int:
    """How many more sequences can be opened now."""
    return self._num_slots - len(self._agents)

  @property
  def max_len(self) -> int:
    """Most tokens of one sequence, samples included."""
    return self._max_len

  def publish(self, params: Any, version: int) -> None:
    """Takes a version number; `params` is not looked at."""
    del params
    base.check_publishable(self._agents, version)
    self._version = version

  def submit(self, request: base.GenerateRequest) -> None:
    """Queues one request; see `base.check_request` for the errors."""
    name = request.sequence
    base.check_request(
      request,
      num_free=self.num_free,
      is_open=name in self._agents,
      is_running=name in self._pending,
    )
    if name not in self._agents:
      self._agents[name] = self._make_agent(name)
      self._lengths[name] = 0
    self._pending[name] = request

  def step(self) -> list[base.GenerateResult]:
    """Answers everything that is queued, in order of submission."""
    pending, self._pending = self._pending, {}
    return [self._answer(request) for request in pending.values()]

  def release(self, sequence: str) -> None:
    """Closes a sequence. Raises ValueError if it is not open."""
    if sequence not in self._agents:
      raise ValueError(f"release: sequence {sequence!r} is not open")
    del self._agents[sequence], self._lengths[sequence]
    self._pending.pop(sequence, None)

  def _answer(self, request: base.GenerateRequest) -> base.GenerateResult:
    text = self._tokenizer.decode([int(token) for token in request.tokens])
    reply = self._agents[request.sequence].reply(text)
    ids = [*self._tokenizer.encode(reply), self._stop_id]
    before = self._lengths[request.sequence] + len(request.tokens)
    room = self._max_len - before
    tokens = np.asarray(ids[: min(request.max_new_tokens, room)], np.int32)
    self._lengths[request.sequence] = before + len(tokens)
    if len(tokens) == len(ids):
      finish = "stop"
    else:
      finish = "length" if request.max_new_tokens <= room else "full"
    return base.GenerateResult(
      sequence=request.sequence,
      tokens=tokens,
      behavior_logprobs=np.zeros(tokens.shape, np.float32),
      sampled_logprobs=np.zeros(tokens.shape, np.float32),
      finish=finish,
    )
