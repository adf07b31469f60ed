"""Which tensor of a Hugging Face checkpoint is which parameter, and how it lies there.

Purpose: one table for reading, checking and writing. Files hold matrices as
[outputs, inputs], ours map inputs (left) to outputs (right).
Must not know about: files, devices, dtypes.
"""

import dataclasses
import math

import numpy as np

from skilljax.models.config import ModelConfig
from skilljax.models.params import ParamSpec, param_specs

# Parameter -> (tensor name, leading axes that are inputs); 0 marks a vector, stored
# flat; None is stored as it is here.
_TOP = {
  "embed": ("model.embed_tokens.weight", None),
  "final_norm": ("model.norm.weight", 0),
  "head": ("lm_head.weight", 1),
}
_LAYER = {
  "attn_norm": ("input_layernorm.weight", 0),
  "wq": ("self_attn.q_proj.weight", 1),
  "wk": ("self_attn.k_proj.weight", 1),
  "wv": ("self_attn.v_proj.weight", 1),
  "wo": ("self_attn.o_proj.weight", 2),
  "bq": ("self_attn.q_proj.bias", 0),
  "bk": ("self_attn.k_proj.bias", 0),
  "bv": ("self_attn.v_proj.bias", 0),
  "q_norm": ("self_attn.q_norm.weight", 0),
  "k_norm": ("self_attn.k_norm.weight", 0),
  "mlp_norm": ("post_attention_layernorm.weight", 0),
  "w_gate": ("mlp.gate_proj.weight", 1),
  "w_up": ("mlp.up_proj.weight", 1),
  "w_down": ("mlp.down_proj.weight", 1),
}
# Gemma 3 has a norm on both sides of each half of a layer.
_LAYER_POST_NORMS = _LAYER | {
  "attn_post_norm": ("post_attention_layernorm.weight", 0),
  "mlp_norm": ("pre_feedforward_layernorm.weight", 0),
  "mlp_post_norm": ("post_feedforward_layernorm.weight", 0),
}
TIED_HEAD = _TOP["head"][0]  # some exports repeat the tied matrix
# A buffer, not a weight, that old Llama exports carry along.
_IGNORED_SUFFIX = "rotary_emb.inv_freq"
# How the text part of a model that also sees pictures is called in its files (before and
# since transformers 4.52), and alone; then what is not of the text part.
_TEXT_PREFIXES = {
  "language_model.model.": "model.",
  "language_model.lm_head.": "lm_head.",
  "model.language_model.": "model.",
}
_PICTURE_PREFIXES = tuple(
  f"{where}{part}."
  for where in ("", "model.")
  for part in ("vision_tower", "multi_modal_projector")
)


@dataclasses.dataclass(frozen=True)
class TensorName:
  """One tensor of a checkpoint.

  Attributes:
    name: in the files.
    key: of the parameter.
    layer: index into the stacked axis; None for parameters outside of layers.
    shape: of the parameter, without the layer axis.
    inputs: how many leading axes are inputs; 0 = a vector, None = stored as it is here.
  """

  name: str
  key: str
  layer: int | None
  shape: tuple[int, ...]
  inputs: int | None

  @property
  def file_shape(self) -> tuple[int, ...]:
    """As the file has it."""
    if self.inputs is None:
      return self.shape
    if self.inputs == 0:
      return (math.prod(self.shape),)
    return math.prod(self.shape[self.inputs :]), math.prod(self.shape[: self.inputs])

  def to_file(self, array: np.ndarray) -> np.ndarray:
    """A parameter in the orientation of the file; contiguous."""
    if self.inputs:
      array = array.reshape(self.file_shape[::-1]).T
    return np.ascontiguousarray(array.reshape(self.file_shape))


def text_name(stored: str) -> str | None:
  """A tensor's name in the text model alone; None if that has no use for it."""
  if stored.endswith(_IGNORED_SUFFIX) or stored.startswith(_PICTURE_PREFIXES):
    return None
  for prefix, alone in _TEXT_PREFIXES.items():
    if stored.startswith(prefix):
      return alone + stored.removeprefix(prefix)
  return stored


def tensor_names(cfg: ModelConfig) -> tuple[TensorName, ...]:
  """All tensors of a model, in the order in which they are written."""
  specs = param_specs(dataclasses.replace(cfg, lora=None))
  layers: dict[str, ParamSpec] = specs.pop("layers")
  table = _LAYER_POST_NORMS if cfg.post_norms else _LAYER
  names = [_top(key, specs[key]) for key in specs if key == "embed"]
  for i in range(cfg.num_layers):
    for key, spec in layers.items():
      name, inputs = table[key]
      full = f"model.layers.{i}.{name}"
      names.append(TensorName(full, key, i, spec.shape[1:], inputs))
  return (*names, *(_top(key, specs[key]) for key in specs if key != "embed"))


def _top(key: str, spec: ParamSpec) -> TensorName:
  name, inputs = _TOP[key]
  return TensorName(name, key, None, spec.shape, inputs)
