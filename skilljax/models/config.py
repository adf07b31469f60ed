"""The description of one decoder: Qwen2/2.5, Qwen3 or Llama.

Purpose: one frozen, hashable value (a static argument under `jit`) that says everything
about the shape of a model, and its translation from and to a Hugging Face `config.json`.
Must not know about: arrays, files, tokenizers, meshes.
"""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from skilljax.models import params as params_lib

_DTYPES = ("float32", "bfloat16")
_REMAT = ("none", "full")
_FAMILIES = ("Qwen2ForCausalLM", "Qwen3ForCausalLM", "LlamaForCausalLM")
# What a config.json may switch on that this decoder does not compute, and the value
# that means 'off'. Reading past one of these would give silently wrong logits.
_UNSUPPORTED = {
  "mlp_bias": False,
  "use_sliding_window": False,
  "partial_rotary_factor": 1.0,
  "hidden_act": "silu",
}


@dataclasses.dataclass(frozen=True)
class RopeScaling:
  """The 'llama3' stretch of the rotary wavelengths (Llama 3.1).

  Attributes:
    factor: how much the slow rotations are slowed down further, >= 1.
    low_freq_factor, high_freq_factor: wavelengths above `original_max_len /
      low_freq_factor` are stretched, below `original_max_len / high_freq_factor` kept,
      blended in between.
    original_max_len: context length of the unstretched model, tokens.
  """

  factor: float = 8.0
  low_freq_factor: float = 1.0
  high_freq_factor: float = 4.0
  original_max_len: int = 8192

  def __post_init__(self):
    _check(self.factor >= 1, "rope_scaling.factor", self.factor, ">= 1")
    _check(
      0 < self.low_freq_factor < self.high_freq_factor,
      "rope_scaling.low_freq_factor",
      self.low_freq_factor,
      f"in (0, high_freq_factor={self.high_freq_factor})",
    )
    _check(
      self.original_max_len >= 1,
      "rope_scaling.original_max_len",
      self.original_max_len,
      ">= 1",
    )


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
    rope_scaling: the llama3 stretch, or None.
    norm_eps: epsilon of every RMS norm.
    tie_embeddings: the output head is the transposed embedding.
    qkv_bias: biases on the q, k and v projections (Qwen2).
    qk_norm: RMS norm over each head of q and k (Qwen3).
    max_len: longest sequence the model is meant for, tokens.
    dtype: compute type, 'float32' or 'bfloat16'. Norms, softmax and log-probs are
      float32 in either case; parameters keep the type they have.
    remat: 'none' keeps activations for the backward pass, 'full' recomputes each layer.

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
  rope_scaling: RopeScaling | None = None
  norm_eps: float = 1e-6
  tie_embeddings: bool = True
  qkv_bias: bool = False
  qk_norm: bool = False
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
    _check(self.dtype in _DTYPES, "dtype", self.dtype, f"one of {_DTYPES}")
    _check(self.remat in _REMAT, "remat", self.remat, f"one of {_REMAT}")

  @property
  def num_params(self) -> int:
    """Number of scalars in the parameter tree; a tied head counts once."""
    return params_lib.count(params_lib.param_specs(self))

  @classmethod
  def from_hf_dict(
    cls, hf: Mapping[str, Any], *, dtype: str = "float32", remat: str = "none"
  ) -> "ModelConfig":
    """Reads the contents of a Hugging Face `config.json`.

    Both spellings of the rotary settings are read: `rope_parameters` (transformers 5)
    and `rope_theta` with `rope_scaling` (transformers 4).

    Args:
      hf: the parsed JSON object.
      dtype: compute type; the file's own type describes storage only.
      remat: see the class.
    Raises:
      ValueError: an architecture, or a switched-on feature, that is not supported.
      KeyError: a size is missing; names the key.
    """
    family = _family(hf)
    theta, scaling = _read_rope(hf)
    num_heads = hf["num_attention_heads"]
    return cls(
      vocab_size=hf["vocab_size"],
      d_model=hf["hidden_size"],
      num_layers=hf["num_hidden_layers"],
      num_heads=num_heads,
      num_kv_heads=hf.get("num_key_value_heads") or num_heads,
      head_dim=hf.get("head_dim") or _default_head_dim(family, hf, num_heads),
      d_ff=hf["intermediate_size"],
      rope_theta=theta,
      rope_scaling=scaling,
      norm_eps=hf.get("rms_norm_eps", 1e-6),
      tie_embeddings=hf.get("tie_word_embeddings", False),
      qkv_bias=family == "Qwen2ForCausalLM",
      qk_norm=family == "Qwen3ForCausalLM",
      max_len=hf["max_position_embeddings"],
      dtype=dtype,
      remat=remat,
    )

  def to_hf_dict(self) -> dict[str, Any]:
    """The `config.json` contents of the family that computes this model.

    Raises:
      ValueError: `qkv_bias` and `qk_norm` together; no supported family has both.
    """
    if self.qkv_bias and self.qk_norm:
      raise ValueError(
        "model.qkv_bias=True with model.qk_norm=True cannot be exported: Qwen2 has only "
        "biases, Qwen3 only norms; switch one off"
      )
    family = _FAMILIES[0 if self.qkv_bias else 1 if self.qk_norm else 2]
    rope: dict[str, Any] = {"rope_type": "default"}
    if self.rope_scaling is not None:
      rope = {
        "rope_type": "llama3",
        "factor": self.rope_scaling.factor,
        "low_freq_factor": self.rope_scaling.low_freq_factor,
        "high_freq_factor": self.rope_scaling.high_freq_factor,
        "original_max_position_embeddings": self.rope_scaling.original_max_len,
      }
    return {
      "architectures": [family],
      "model_type": family.removesuffix("ForCausalLM").lower(),
      "vocab_size": self.vocab_size,
      "hidden_size": self.d_model,
      "num_hidden_layers": self.num_layers,
      "num_attention_heads": self.num_heads,
      "num_key_value_heads": self.num_kv_heads,
      "head_dim": self.head_dim,
      "intermediate_size": self.d_ff,
      "hidden_act": "silu",
      "max_position_embeddings": self.max_len,
      "rms_norm_eps": self.norm_eps,
      "tie_word_embeddings": self.tie_embeddings,
      "attention_bias": self.qkv_bias,
      "rope_parameters": rope | {"rope_theta": self.rope_theta},
      # What transformers 4 reads instead of `rope_parameters`.
      "rope_theta": self.rope_theta,
      "rope_scaling": rope if self.rope_scaling is not None else None,
    }


def _check(ok: bool, name: str, value: object, allowed: str) -> None:
  if not ok:
    raise ValueError(f"{name}={value!r} must be {allowed} (config key model.{name})")


def _family(hf: Mapping[str, Any]) -> str:
  """The one architecture named in the file, after checking what it switches on."""
  named = tuple(hf.get("architectures") or ())
  if len(named) != 1 or named[0] not in _FAMILIES:
    raise ValueError(f"architectures={list(named)!r} must be one of {_FAMILIES}")
  for key, off in _UNSUPPORTED.items():
    if hf.get(key, off) != off:
      raise ValueError(
        f"{key}={hf[key]!r} in config.json is not supported; must be {off!r}"
      )
  # Qwen2 always has q/k/v biases whatever the file says; in the other families the
  # switch also adds an output bias, which this decoder does not have.
  if named[0] != "Qwen2ForCausalLM" and hf.get("attention_bias", False):
    raise ValueError(f"attention_bias=True is not supported for {named[0]}")
  return named[0]


def _default_head_dim(family: str, hf: Mapping[str, Any], num_heads: int) -> int:
  """What transformers assumes when the file does not give `head_dim`."""
  return 128 if family == "Qwen3ForCausalLM" else hf["hidden_size"] // num_heads


def _read_rope(hf: Mapping[str, Any]) -> tuple[float, RopeScaling | None]:
  """(rope_theta, scaling) from either spelling."""
  settings = hf.get("rope_parameters") or hf.get("rope_scaling") or {}
  theta = settings.get("rope_theta", hf.get("rope_theta", 10_000.0))
  kind = settings.get("rope_type", settings.get("type", "default"))
  if kind == "default":
    return float(theta), None
  if kind != "llama3":
    raise ValueError(f"rope_type={kind!r} must be 'default' or 'llama3'")
  return float(theta), RopeScaling(
    factor=float(settings["factor"]),
    low_freq_factor=float(settings["low_freq_factor"]),
    high_freq_factor=float(settings["high_freq_factor"]),
    original_max_len=int(settings["original_max_position_embeddings"]),
  )
