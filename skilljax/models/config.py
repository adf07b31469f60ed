"""The description of one decoder: Qwen2/2.5, Qwen3, Llama, Mistral or Gemma 3.

Purpose: one frozen, hashable value (a static argument under `jit`) that says everything
about the shape of a model.
Must not know about: arrays, files, tokenizers, meshes.
"""

import dataclasses
import math

from skilljax.models import params as params_lib
from skilljax.models.lora import LoraSettings
from skilljax.models.rope import Scaling

_DTYPES = ("float32", "bfloat16")
REMAT = ("none", "attention", "full")
_ACTIVATIONS = ("silu", "gelu")


@dataclasses.dataclass(frozen=True)
class ModelConfig:
  """Shape and numerics of one decoder.

  Attributes:
    vocab_size: V.
    d_model: D, width of the residual stream.
    num_layers: L.
    num_heads: N, query heads.
    num_kv_heads: K, key/value heads; divides N.
    head_dim: H, even (rotary pairs).
    d_ff: F, hidden width of the gated feed-forward.
    rope_theta: base of the rotary wavelengths.
    rope_scaling: the stretch of rotary wavelengths, see `models/rope.py`, or None.
    norm_eps: epsilon of every RMS norm.
    tie_embeddings: the output head is the transposed embedding.
    qkv_bias: biases on the q, k and v projections (Qwen2).
    qk_norm: RMS norm over each head of q and k (Qwen3, Gemma 3).
    layer_windows: for each layer, how many tokens a token attends to, itself included;
      0 = all before it. () = no layer has a window.
    window_rope_theta: base of the rotary wavelengths of layers with a window, which are
      not stretched; 0 = as the other layers.
    activation: of the gate, 'silu' or 'gelu' (the tanh approximation).
    query_scalar: attention scores are divided by its square root; 0 = `head_dim`.
    unit_offset_norms: norm scales are stored minus one (Gemma).
    post_norms: RMS norms also after attention and after the feed-forward (Gemma 3).
    scale_embed: embeddings are multiplied by sqrt(D) (Gemma).
    lora: adapters that are trained in place of the matrices, or None.
    max_len: longest sequence the model is meant for, tokens.
    dtype: compute type, 'float32' or 'bfloat16'. Norms, softmax and log-probs are
      float32 in either case; parameters keep the type they have.
    remat: what the backward pass computes again: 'none' keeps all activations, 'full'
      recomputes each layer, 'attention' all of it but what attention returned.

  Raises:
    ValueError: a value is out of range; names the config key, value and range.
  """

  vocab_size: int
  d_model: int
  num_layers: int
  num_heads: int
  num_kv_heads: int
  head_dim: int
  d_ff: int
  rope_theta: float = 10_000.0
  rope_scaling: Scaling | None = None
  norm_eps: float = 1e-6
  tie_embeddings: bool = True
  qkv_bias: bool = False
  qk_norm: bool = False
  layer_windows: tuple[int, ...] = ()
  window_rope_theta: float = 0.0
  activation: str = "silu"
  query_scalar: float = 0.0
  unit_offset_norms: bool = False
  post_norms: bool = False
  scale_embed: bool = False
  lora: LoraSettings | None = None
  max_len: int = 4096
  dtype: str = "float32"
  remat: str = "none"

  def __post_init__(self):
    for name in (
      *("vocab_size", "d_model", "num_layers", "num_heads", "num_kv_heads"),
      *("head_dim", "d_ff", "max_len"),
    ):
      value = self.__dict__[name]
      _check(isinstance(value, int) and value >= 1, name, value, "an integer >= 1")
    _check(
      self.num_heads % self.num_kv_heads == 0,
      "num_heads",
      self.num_heads,
      f"a multiple of model.num_kv_heads={self.num_kv_heads}",
    )
    _check(self.head_dim % 2 == 0, "head_dim", self.head_dim, "even")
    _check(
      math.isfinite(self.rope_theta) and self.rope_theta > 1,
      "rope_theta",
      self.rope_theta,
      "> 1",
    )
    _check(0 < self.norm_eps < 1, "norm_eps", self.norm_eps, "in (0, 1)")
    _check(
      len(self.layer_windows) in (0, self.num_layers) and min(self.windows) >= 0,
      "layer_windows",
      self.layer_windows,
      f"() or model.num_layers={self.num_layers} numbers >= 0",
    )
    for name in ("window_rope_theta", "query_scalar"):
      value = self.__dict__[name]
      _check(math.isfinite(value) and value >= 0, name, value, "a finite number >= 0")
    _check(
      self.activation in _ACTIVATIONS,
      "activation",
      self.activation,
      f"one of {_ACTIVATIONS}",
    )
    _check(self.dtype in _DTYPES, "dtype", self.dtype, f"one of {_DTYPES}")
    _check(self.remat in REMAT, "remat", self.remat, f"one of {REMAT}")

  @property
  def windows(self) -> tuple[int, ...]:
    """[L] window of each layer; 0 = none."""
    return self.layer_windows or (0,) * self.num_layers

  @property
  def num_params(self) -> int:
    """Number of scalars in the parameter tree; a tied head counts once."""
    return params_lib.count(params_lib.param_specs(self))


def _check(ok: bool, name: str, value: object, allowed: str) -> None:
  if not ok:
    raise ValueError(f"{name}={value!r} must be {allowed} (config key model.{name})")
