"""`config.json` of Hugging Face checkpoints, in and out.

Purpose: which architectures there are, what each of them takes for granted, and the
spellings of two generations of `transformers`.
Must not know about: arrays, tensors, files.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

from skilljax.models import rope
from skilljax.models.config import ModelConfig


@dataclasses.dataclass(frozen=True)
class Family:
  """What an architecture takes for granted.

  Attributes:
    model_type: the name that `transformers` dispatches on.
    fixed: fields of `ModelConfig` that every model of the family has.
    head_dim: where the file gives none; 0 = hidden size over heads.
    defaults: of the file, where they are not those of the others.
  """

  model_type: str
  fixed: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  head_dim: int = 0
  defaults: Mapping[str, Any] = dataclasses.field(default_factory=dict)


_GEMMA_BLOCK = {
  "activation": "gelu",
  "qk_norm": True,
  "unit_offset_norms": True,
  "post_norms": True,
  "scale_embed": True,
}
FAMILIES = {
  "Qwen2ForCausalLM": Family("qwen2", {"qkv_bias": True}),
  "Qwen3ForCausalLM": Family("qwen3", {"qk_norm": True}, head_dim=128),
  "LlamaForCausalLM": Family("llama"),
  "MistralForCausalLM": Family("mistral", defaults={"sliding_window": 4096}),
  "Gemma3ForCausalLM": Family(
    "gemma3_text",
    _GEMMA_BLOCK,
    head_dim=256,
    defaults={
      # The published files leave out what their family takes for granted.
      "vocab_size": 262_208,
      "num_attention_heads": 8,
      "num_key_value_heads": 4,
      "max_position_embeddings": 131_072,
      "hidden_act": "gelu_pytorch_tanh",
      "query_pre_attn_scalar": 256,
      "rope_local_base_freq": 10_000.0,
      "rope_theta": 1_000_000.0,
      "sliding_window": 4096,
      "sliding_window_pattern": 6,
      "tie_word_embeddings": True,
    },
  ),
}
# An architecture that also sees pictures -> that of its text part, which is read.
_TEXT_PARTS = {
  "Gemma3ForConditionalGeneration": "Gemma3ForCausalLM",
  "Mistral3ForConditionalGeneration": "MistralForCausalLM",
}
_ACTIVATIONS = {"silu": "silu", "gelu_pytorch_tanh": "gelu"}
_FULL, _SLIDING = "full_attention", "sliding_attention"
# What a config.json may switch on that this decoder does not compute, and the values
# that mean 'off'. Reading past one of these would give silently wrong logits.
_UNSUPPORTED = {
  "mlp_bias": (False, None),
  "partial_rotary_factor": (1.0, None),
  "attn_logit_softcapping": (None,),
  "final_logit_softcapping": (None,),
  "use_bidirectional_attention": (False, None),
}


def read(
  hf: Mapping[str, Any], *, dtype: str = "float32", remat: str = "none"
) -> ModelConfig:
  """The model that a `config.json` describes.

  Both spellings of the rotary settings are read: `rope_parameters` (transformers 5) and
  `rope_theta` with `rope_scaling` (transformers 4). Of a model that also sees pictures
  this is the text part.

  Args:
    hf: the parsed JSON object.
    dtype: compute type; the file's own type describes storage only.
    remat: see `ModelConfig`.
  Raises:
    ValueError: an architecture, or a switched-on feature, that is not supported; a size
      that is missing or out of range. The message names the key.
  """
  hf = _text_part(hf)
  name, family = _family(hf)
  # null stands for the default, but for a window it says that there is none.
  given = {k: v for k, v in hf.items() if v is not None or k == "sliding_window"}
  hf = {**family.defaults, **given}
  _refuse_unsupported(name, hf)
  missing = [key for key in _SIZES if key not in hf]
  if missing:
    raise ValueError(f"config.json lacks {', '.join(missing)}")
  num_heads = hf["num_attention_heads"]
  windows = _read_windows(name, hf)
  theta, scaling = _read_rope(hf, _FULL)
  gemma = "query_pre_attn_scalar" in family.defaults
  return ModelConfig(
    vocab_size=hf["vocab_size"],
    d_model=hf["hidden_size"],
    num_layers=hf["num_hidden_layers"],
    num_heads=num_heads,
    num_kv_heads=hf.get("num_key_value_heads") or num_heads,
    head_dim=hf.get("head_dim") or family.head_dim or hf["hidden_size"] // num_heads,
    d_ff=hf["intermediate_size"],
    rope_theta=theta,
    rope_scaling=scaling,
    norm_eps=hf.get("rms_norm_eps", 1e-6),
    tie_embeddings=hf.get("tie_word_embeddings", False),
    layer_windows=windows,
    window_rope_theta=_read_rope(hf, _SLIDING)[0] if gemma else 0.0,
    query_scalar=float(hf["query_pre_attn_scalar"]) if gemma else 0.0,
    max_len=hf["max_position_embeddings"],
    dtype=dtype,
    remat=remat,
    **family.fixed,
  )


_SIZES = (
  *("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads"),
  *("intermediate_size", "max_position_embeddings"),
)


def write(cfg: ModelConfig) -> dict[str, Any]:
  """The `config.json` of the family that computes this model.

  Raises:
    ValueError: no supported family computes it; names what does not go together.
  """
  name = _family_of(cfg)
  family = FAMILIES[name]
  hf = {
    "architectures": [name],
    "model_type": family.model_type,
    "vocab_size": cfg.vocab_size,
    "hidden_size": cfg.d_model,
    "num_hidden_layers": cfg.num_layers,
    "num_attention_heads": cfg.num_heads,
    "num_key_value_heads": cfg.num_kv_heads,
    "head_dim": cfg.head_dim,
    "intermediate_size": cfg.d_ff,
    "max_position_embeddings": cfg.max_len,
    "rms_norm_eps": cfg.norm_eps,
    "tie_word_embeddings": cfg.tie_embeddings,
    "attention_bias": cfg.qkv_bias,
  }
  spelled = {ours: theirs for theirs, ours in _ACTIVATIONS.items()}[cfg.activation]
  main = _write_scaling(cfg.rope_scaling) | {"rope_theta": cfg.rope_theta}
  if name == "Gemma3ForCausalLM":
    local = {"rope_type": "default", "rope_theta": cfg.window_rope_theta}
    return hf | {
      "hidden_activation": spelled,
      "query_pre_attn_scalar": _whole(cfg.query_scalar or cfg.head_dim),
      "sliding_window": max(cfg.windows) or cfg.max_len,  # must be there
      "layer_types": _layer_types(cfg),
      "rope_parameters": {_FULL: main, _SLIDING: local},
    }
  hf |= {"hidden_act": spelled, "rope_parameters": main}
  # What transformers 4 reads instead of `rope_parameters`.
  scaling = _write_scaling(cfg.rope_scaling) if cfg.rope_scaling else None
  hf |= {"rope_theta": cfg.rope_theta, "rope_scaling": scaling}
  if name == "MistralForCausalLM":
    hf["sliding_window"] = max(cfg.windows) or None
  elif any(cfg.windows):
    hf |= {
      "use_sliding_window": True,
      "sliding_window": max(cfg.windows),
      "max_window_layers": cfg.windows.index(max(cfg.windows)),
      "layer_types": _layer_types(cfg),
    }
  return hf


def _text_part(hf: Mapping[str, Any]) -> Mapping[str, Any]:
  """The description of the text part; of a model that is nothing else, the whole."""
  named = tuple(hf.get("architectures") or ())
  if len(named) != 1 or named[0] not in _TEXT_PARTS:
    return hf
  text = hf.get("text_config")
  if not isinstance(text, Mapping):
    raise ValueError(f"config.json of a {named[0]} lacks text_config")
  # Either place may untie the head, which then must be there; the outer one says 'tied'
  # by default, also where the text part is not.
  untied = (
    {"tie_word_embeddings": False} if hf.get("tie_word_embeddings") is False else {}
  )
  return {**text, **untied, "architectures": [_TEXT_PARTS[named[0]]]}


def _family(hf: Mapping[str, Any]) -> tuple[str, Family]:
  """The one architecture that the file names."""
  named = tuple(hf.get("architectures") or ())
  if len(named) != 1 or named[0] not in FAMILIES:
    known = ", ".join((*FAMILIES, *_TEXT_PARTS))
    raise ValueError(
      f"architectures={list(named)!r} in config.json must be one of {known}"
    )
  return named[0], FAMILIES[named[0]]


def _refuse_unsupported(name: str, hf: Mapping[str, Any]):
  for key, off in _UNSUPPORTED.items():
    if key in hf and hf[key] not in off:
      raise ValueError(
        f"{key}={hf[key]!r} in config.json is not supported; must be {off[0]!r}"
      )
  # Qwen2 always has q/k/v biases whatever the file says; in the other families the
  # switch also adds an output bias, which this decoder does not have.
  if name != "Qwen2ForCausalLM" and hf.get("attention_bias", False):
    raise ValueError(f"attention_bias=True is not supported for {name}")
  wanted = "gelu_pytorch_tanh" if name == "Gemma3ForCausalLM" else "silu"
  for key in ("hidden_act", "hidden_activation"):
    if hf.get(key, wanted) != wanted:
      raise ValueError(f"{key}={hf[key]!r} in config.json must be {wanted!r} for {name}")


def _read_windows(name: str, hf: Mapping[str, Any]) -> tuple[int, ...]:
  """The window of each layer; () if none has one."""
  num_layers, size = hf["num_hidden_layers"], hf.get("sliding_window") or 0
  if name in ("Qwen2ForCausalLM", "Qwen3ForCausalLM") and not hf.get(
    "use_sliding_window", False
  ):
    size = 0
  if name == "LlamaForCausalLM" or not size:
    return ()
  types = hf.get("layer_types")
  if types is None and name == "Gemma3ForCausalLM":
    pattern = hf["sliding_window_pattern"]
    types = [_FULL if (i + 1) % pattern == 0 else _SLIDING for i in range(num_layers)]
  elif types is None:
    first = 0 if name == "MistralForCausalLM" else hf.get("max_window_layers", 28)
    types = [_SLIDING if i >= first else _FULL for i in range(num_layers)]
  unknown = sorted(set(types) - {_FULL, _SLIDING})
  if unknown or len(types) != num_layers:
    raise ValueError(
      f"layer_types={types!r} in config.json must be {num_layers} of {_FULL!r} and "
      f"{_SLIDING!r}"
    )
  if _SLIDING not in types:
    return ()
  return tuple(size if kind == _SLIDING else 0 for kind in types)


def _read_rope(
  hf: Mapping[str, Any], layer_type: str
) -> tuple[float, rope.Scaling | None]:
  """(base, scaling) of one type of layers, from either spelling."""
  settings = hf.get("rope_parameters") or {}
  settings = settings.get(layer_type, settings) or {}
  if layer_type == _SLIDING:
    return float(settings.get("rope_theta", hf.get("rope_local_base_freq", 1e4))), None
  settings = settings or hf.get("rope_scaling") or {}
  theta = float(settings.get("rope_theta", hf.get("rope_theta", 10_000.0)))
  kind = settings.get("rope_type", settings.get("type", "default"))
  if kind not in _SCALINGS:
    raise ValueError(
      f"rope_type={kind!r} in config.json must be one of {', '.join(_SCALINGS)}"
    )
  if kind == "default":
    return theta, None
  make, names = _SCALINGS[kind]
  unread = sorted(set(settings) - set(names) - {"rope_type", "type", "rope_theta"})
  if unread:
    raise ValueError(f"{', '.join(unread)} of rope_type {kind!r} is not supported")
  values = {o: settings[key] for key, o in names.items() if settings.get(key) is not None}
  try:
    return theta, make(**values)
  except TypeError as error:  # no value, and no default
    raise ValueError(
      f"rope_type {kind!r} in config.json is incomplete: {error}"
    ) from error


# rope_type -> (class, key of the file -> field).
_SCALINGS: Mapping[str, tuple[Any, Mapping[str, str]]] = {
  "default": (None, {}),
  "linear": (rope.LinearScaling, {"factor": "factor"}),
  "llama3": (
    rope.Llama3Scaling,
    {
      "factor": "factor",
      "low_freq_factor": "low_freq_factor",
      "high_freq_factor": "high_freq_factor",
      "original_max_position_embeddings": "original_max_len",
    },
  ),
  "yarn": (
    rope.YarnScaling,
    {
      "factor": "factor",
      "original_max_position_embeddings": "original_max_len",
      "beta_fast": "beta_fast",
      "beta_slow": "beta_slow",
      "attention_factor": "attention_factor",
      "truncate": "truncate",
    },
  ),
}


def _write_scaling(scaling: rope.Scaling | None) -> dict[str, Any]:
  """The rotary settings without their base."""
  if scaling is None:
    return {"rope_type": "default"}
  for kind, (make, names) in _SCALINGS.items():
    if make is type(scaling):
      values = {key: getattr(scaling, ours) for key, ours in names.items()}
      values = {k: v for k, v in values.items() if k != "attention_factor" or v}
      return {"rope_type": kind, **values}
  raise TypeError(f"unknown rope scaling {scaling!r}")


def _family_of(cfg: ModelConfig) -> str:
  """The architecture that computes a model."""
  for name, family in FAMILIES.items():
    ours = {key: getattr(cfg, key) for key in _FLAGS}
    if ours == _FLAGS | dict(family.fixed) and _has_windows(name, cfg):
      return name
  on = [f"model.{k}={getattr(cfg, k)!r}" for k in _FLAGS if getattr(cfg, k) != _FLAGS[k]]
  on += [f"model.layer_windows={cfg.layer_windows}"] if any(cfg.windows) else []
  raise ValueError(
    f"{', '.join(on)} cannot be exported together: no supported family computes this "
    f"({', '.join(FAMILIES)})"
  )


_FLAGS = {
  "qkv_bias": False,
  "qk_norm": False,
  "activation": "silu",
  "unit_offset_norms": False,
  "post_norms": False,
  "scale_embed": False,
}


def _has_windows(name: str, cfg: ModelConfig) -> bool:
  """Whether a family can have the windows of this model."""
  sizes = {size for size in cfg.windows if size}
  own_rope = cfg.window_rope_theta or cfg.query_scalar
  if name == "Gemma3ForCausalLM":
    return len(sizes) <= 1 and cfg.window_rope_theta > 0
  if name == "LlamaForCausalLM":
    return not sizes and not own_rope
  if name == "MistralForCausalLM":
    return len(sizes) == 1 and 0 not in cfg.windows and not own_rope
  return len(sizes) <= 1 and not own_rope


def _layer_types(cfg: ModelConfig) -> list[str]:
  return [_SLIDING if size else _FULL for size in cfg.windows]


def _whole(value: float) -> int | float:
  """As JSON files have it: 256, not 256.0."""
  return int(value) if value == int(value) else value
