"""The decode engine: slots, continuous batching, KV kept across the turns of an episode.

Purpose: the host loop around two device programs. `step` runs one wave of extends over
what was submitted, then decode calls over what samples, and reads the device once.
Must not know about: text, environments, rewards, how a token is drawn.
"""

import dataclasses
import functools
import math
import time
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from skilljax import hosts, sharding
from skilljax.engine import base, programs
from skilljax.engine import cache as cache_lib
from skilljax.engine.places import Places
from skilljax.engine.settings import EngineSettings
from skilljax.engine.slots import SlotTable
from skilljax.engine.wave import DecodeCall, ExtendCall, plan_decode, plan_wave
from skilljax.models import transformer
from skilljax.models.config import ModelConfig


@dataclasses.dataclass
class _Counters:
  num_steps: int = 0
  num_extend_calls: int = 0
  num_loop_steps: int = 0
  decoded_tokens: int = 0
  decode_cells: int = 0
  extend_tokens: int = 0
  extend_cells: int = 0
  running_rows: int = 0
  device_s: float = 0.0
  step_s: float = 0.0


class DecodeEngine:
  """Implements `base.Engine` with a JAX decoder.

  Results depend on (policy, root_key, request key, tokens, temperature) only: not on
  slot order, batch-mates, `num_slots` or `decode_chunk`.
  """

  def __init__(
    self,
    model_config: ModelConfig,
    *,
    settings: EngineSettings,
    root_key: jax.Array,
    stop_ids: Sequence[int],
    mesh: Mesh | None = None,
  ):
    """Takes no memory yet; `publish` and `warmup` come next.

    Args:
      model_config: the decoder.
      settings: capacities and bucket shapes.
      root_key: typed key (`jax.random.key`) under which all request keys are folded.
      stop_ids: tokens that end a response; may be empty.
      mesh: over which weights and cache are split; None: one device.
    Raises:
      ValueError: a stop id outside the vocabulary, an old-style key, `max_len` beyond
        the model's, or a mesh that does not divide the model or the slots.
    """
    if not jnp.issubdtype(root_key.dtype, jax.dtypes.prng_key):
      raise ValueError(f"root_key must be a typed jax.random.key, got {root_key.dtype}")
    if not all(0 <= token < model_config.vocab_size for token in stop_ids):
      raise ValueError(
        f"stop_ids must be in [0, {model_config.vocab_size}), got {tuple(stop_ids)}"
      )
    if settings.max_len > model_config.max_len:
      raise ValueError(
        f"engine.max_len must be <= model.max_len={model_config.max_len}, "
        f"got {settings.max_len}"
      )
    self._config = model_config
    self._settings = settings
    self._root_key = root_key
    self._stop_ids = np.asarray(stop_ids, np.int32)
    self._slots = SlotTable(settings.num_slots, settings.max_len)
    self._queue: dict[int, np.ndarray] = {}  # slot -> tokens to extend with
    self._params: transformer.Params | None = None
    self._version = -1
    self._traces = programs.TraceCounter()
    self._counters = _Counters()
    self._places = Places(dtype=model_config.dtype, adapters=model_config.lora)
    if mesh is not None:
      self._places = Places.on(mesh, model_config, settings.num_slots)
    self._cache: cache_lib.Cache | None = None
    self._extend, self._decode = self._compile()

  @property
  def policy_version(self) -> int:
    """Version of the last published policy; -1 before the first."""
    return self._version

  @property
  def num_free(self) -> int:
    """How many more sequences can be opened now."""
    return self._slots.num_free

  @property
  def max_len(self) -> int:
    """Most tokens of one sequence, samples included."""
    return self._settings.max_len

  @property
  def num_traces(self) -> int:
    """Programs traced so far; constant after `warmup`."""
    return self._traces.num_traces

  @property
  def cache_bytes(self) -> int:
    """Size of the KV cache."""
    return cache_lib.cache_bytes(
      self._config, num_slots=self._settings.num_slots, max_len=self._settings.max_len
    )

  def publish(self, params: transformer.Params, version: int) -> None:
    """Takes a new policy, in the learner's stacked layout; keeps no reference to it.

    The first one also allocates the cache.

    Raises:
      ValueError: version < 0.
      RuntimeError: sequences are open, whose cache belongs to the old policy.
    """
    base.check_publishable(self._slots.slot_of, version)
    if self._cache is None:
      self._cache = cache_lib.allocate(
        self._config,
        num_slots=self._settings.num_slots,
        max_len=self._settings.max_len,
        shardings=self._places.cache,
      )
    self._params = None  # nobody decodes; two policies at once would be the peak
    decode_params = self._places.decode_params(params)
    # Arrays that passed through unchanged are copied: the learner donates its own.
    theirs = {id(leaf) for leaf in jax.tree.leaves(params)}
    self._params = jax.tree.map(
      lambda leaf: jnp.copy(leaf) if id(leaf) in theirs else leaf, decode_params
    )
    self._version = version

  def submit(self, request: base.GenerateRequest) -> None:
    """Queues one request for the next `step`.

    Raises:
      ValueError: see `base.check_request`; also a token outside the vocabulary, or a
        context that leaves no room for one new token (names engine.max_len).
      RuntimeError: no free slot for a new sequence, or nothing was published yet.
    """
    if self._params is None:
      raise RuntimeError("submit before publish: the engine has no policy")
    name = request.sequence
    slot = self._slots.slot_of.get(name)
    base.check_request(
      request,
      num_free=self.num_free,
      is_open=slot is not None,
      is_running=slot is not None and bool(self._slots.running[slot]),
    )
    self._check_tokens(request)
    if slot is None:
      slot = self._slots.open(name)
    extension = self._slots.start(slot, request)
    if extension.size:
      self._queue[slot] = extension

  def step(self) -> list[base.GenerateResult]:
    """One extend wave, one wave of decode calls; returns the responses that ended."""
    if not self._slots.running.any():
      return []
    begin = time.perf_counter()
    for call in plan_wave(self._queue, self._slots.length, self._settings):
      self._run_extend(call)
    for slot, tokens in self._queue.items():
      self._slots.length[slot] += len(tokens)
    self._queue = {}
    self._run_decode()
    results = self._slots.finish(self._stop_ids)
    self._counters.num_steps += 1
    self._counters.step_s += time.perf_counter() - begin
    return results

  def release(self, sequence: str) -> None:
    """Closes a sequence. Raises ValueError if it is not open."""
    if sequence not in self._slots.slot_of:
      raise ValueError(f"release: sequence {sequence!r} is not open")
    self._queue.pop(self._slots.close(sequence), None)

  def warmup(self) -> None:
    """Compiles every bucket on dummy rows, then makes any later trace an error.

    Raises:
      RuntimeError: nothing was published, or sequences are open.
    """
    if self._params is None:
      raise RuntimeError("warmup before publish: the engine has no policy")
    if self._slots.slot_of:
      raise RuntimeError("warmup with open sequences: call it right after publish")
    settings = self._settings
    for attend_len in settings.attend_lengths:
      for num_columns in settings.extend_buckets:
        if num_columns > attend_len:
          continue
        for num_rows in settings.row_buckets:
          hosts.tick()
          self._run_extend(
            ExtendCall.blank(num_rows, num_columns, attend_len, settings.num_slots)
          )
      for num_rows in settings.decode_rows or (settings.num_slots,):
        rows = np.arange(num_rows, dtype=np.int32)
        self._call_decode(DecodeCall(rows, attend_len))
    jax.block_until_ready(self._cache)
    self._traces.armed = True
    self.reset_stats()

  def stats(self) -> dict[str, float]:
    """Totals and rates since `reset_stats`.

    decoded_tok_s counts sampled tokens per second inside `step`, extends included;
    occupancy is the mean share of slots that sample during a step; decode_fill and
    extend_fill are the shares of computed cells that hold a real token.
    """
    c = self._counters
    slots = self._settings.num_slots
    return {
      "num_steps": c.num_steps,
      "num_extend_calls": c.num_extend_calls,
      "num_loop_steps": c.num_loop_steps,
      "decoded_tokens": c.decoded_tokens,
      "extend_tokens": c.extend_tokens,
      "device_s": c.device_s,
      "step_s": c.step_s,
      "decoded_tok_s": c.decoded_tokens / c.step_s if c.step_s else 0.0,
      "occupancy": c.running_rows / (slots * c.num_steps) if c.num_steps else 0.0,
      "decode_fill": c.decoded_tokens / c.decode_cells if c.decode_cells else 0.0,
      "extend_fill": c.extend_tokens / c.extend_cells if c.extend_cells else 0.0,
    }

  def reset_stats(self) -> None:
    """Zeroes what `stats` counts."""
    self._counters = _Counters()

  def _compile(self):
    """The two programs, jitted; tracing happens at the first call of each shape."""
    config, settings = self._config, self._settings
    draws = programs.Draws(settings.top_k, settings.top_p)
    places = self._places
    jit = functools.partial(
      jax.jit, static_argnames="attend_len", donate_argnames="cache"
    )

    @functools.partial(jit, out_shardings=places.cache)
    def extend(params, cache, batch, *, attend_len):
      shape = batch.tokens.shape
      self._traces.note(f"extend (rows, tokens)={shape}, attend_len={attend_len}")
      return programs.extend_rows(
        params, cache, batch, attend_len=attend_len, config=config
      )

    @functools.partial(
      jit, out_shardings=None if places.whole is None else (places.cache, places.whole)
    )
    def decode(params, cache, root_key, batch, *, attend_len):
      self._traces.note(f"decode rows={batch.rows.shape}, attend_len={attend_len}")
      return programs.decode(
        *(params, cache, root_key, batch),
        max_steps=settings.decode_chunk,
        attend_len=attend_len,
        config=config,
        draws=draws,
      )

    return extend, decode

  def _check_tokens(self, request: base.GenerateRequest) -> None:
    tokens = request.tokens
    vocab = self._config.vocab_size
    if len(tokens) and not (np.min(tokens) >= 0 and np.max(tokens) < vocab):
      raise ValueError(
        f"tokens of {request.sequence!r} must be in [0, {vocab}), got "
        f"{int(np.min(tokens))}..{int(np.max(tokens))}"
      )
    total = self._slots.context_len(request.sequence) + len(tokens)
    if total >= self.max_len:
      raise ValueError(
        f"sequence {request.sequence!r} would hold {total} tokens, which leaves no room "
        f"to sample one: engine.max_len={self.max_len}"
      )

  def _run_extend(self, call: ExtendCall) -> None:
    begin = time.perf_counter()
    batch = programs.ExtendBatch(call.rows, call.tokens, call.starts, call.counts)
    self._cache = self._extend(
      self._params, self._cache, batch, attend_len=call.attend_len
    )
    counters = self._counters
    counters.num_extend_calls += 1
    counters.extend_tokens += int(call.counts.sum())
    counters.extend_cells += call.tokens.size
    counters.device_s += time.perf_counter() - begin

  def _run_decode(self) -> None:
    """Runs the decode calls of a step and waits for them: its one read."""
    slots, counters = self._slots, self._counters
    num_running = int(slots.running.sum())
    steps = np.minimum(slots.limit - slots.generated, self._settings.decode_chunk)
    begin = time.perf_counter()
    calls = list(plan_decode(slots.running, slots.length + steps, self._settings))
    outs = jax.device_get([self._call_decode(call) for call in calls])
    counters.device_s += time.perf_counter() - begin
    for call, out in zip(calls, outs, strict=True):
      slots.append(call.rows, out.counts, out.tokens, out.behavior, out.sampled)
      counters.num_loop_steps += int(out.num_steps)
      counters.decoded_tokens += int(out.counts.sum())
      counters.decode_cells += int(out.num_steps) * len(call.rows)
    counters.running_rows += num_running

  def _call_decode(self, call: DecodeCall) -> programs.DecodeOutput:
    """Starts the decode program on some rows."""
    self._cache, out = self._decode(
      *(self._params, self._cache, self._root_key, self._decode_batch(call)),
      attend_len=call.attend_len,
    )
    return out

  def _decode_batch(self, call: DecodeCall) -> programs.DecodeBatch:
    """The rows of a call as the decode program takes them."""
    slots, settings = self._slots, self._settings
    mine = np.minimum(call.rows, settings.num_slots - 1)  # of padding rows: any
    running = slots.running[mine] & (call.rows < settings.num_slots)
    return programs.DecodeBatch(
      rows=call.rows,
      token=np.maximum(slots.pending[mine], 0),
      lengths=slots.length[mine],
      generated=slots.generated[mine],
      limits=slots.limit[mine],
      running=running,
      key_parts=slots.key_parts[mine],
      num_parts=slots.num_parts[mine],
      temperature=slots.temperature[mine],
      stop_ids=self._stop_ids,
      num_exit=np.int32(max(1, math.ceil(settings.exit_fraction * running.sum()))),
    )

  def lower(self, params: transformer.Params) -> dict[str, jax.stages.Lowered]:
    """What `publish` and `warmup` compile, the largest of each kind, from shapes alone.

    Allocates nothing, and needs none of the devices of the mesh.

    Args:
      params: shapes of a learner's parameters, with their shardings.
    Raises:
      ValueError: the engine has no mesh.
    """
    settings, places = self._settings, self._places
    if places.params is None:
      raise ValueError("lower needs an engine with a mesh, of one device at least")
    cache = cache_lib.shapes(
      self._config, num_slots=settings.num_slots, max_len=settings.max_len
    )
    publish = places.unstack_program
    state = sharding.placed(
      (jax.eval_shape(publish, params), cache), (places.params, places.cache)
    )
    call = ExtendCall.blank(
      settings.row_buckets[-1], settings.extend_buckets[-1], 0, settings.num_slots
    )
    batch = programs.ExtendBatch(call.rows, call.tokens, call.starts, call.counts)
    num_rows = max(settings.decode_rows, default=settings.num_slots)
    rows = np.arange(num_rows, dtype=np.int32)
    decoded = self._decode_batch(DecodeCall(rows, settings.max_len))
    key = jax.eval_shape(lambda: jax.random.key(0))
    most = {"attend_len": settings.max_len}
    return {
      "publish": publish.lower(params),
      "extend": self._extend.lower(*state, batch, **most),
      "decode": self._decode.lower(*state, key, decoded, **most),
    }
