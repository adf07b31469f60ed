import dataclasses

import pytest

from skilljax.models.config import ModelConfig, RopeScaling

SIZES = {
  "vocab_size": 10,
  "d_model": 8,
  "num_layers": 2,
  "num_heads": 4,
  "num_kv_heads": 2,
  "head_dim": 6,
  "d_ff": 12,
}
HF = {
  "architectures": ["Qwen2ForCausalLM"],
  "vocab_size": 10,
  "hidden_size": 8,
  "num_hidden_layers": 2,
  "num_attention_heads": 4,
  "num_key_value_heads": 2,
  "intermediate_size": 12,
  "max_position_embeddings": 99,
}
LLAMA3 = {
  "rope_type": "llama3",
  "factor": 8.0,
  "low_freq_factor": 1.0,
  "high_freq_factor": 4.0,
  "original_max_position_embeddings": 64,
}


@pytest.mark.parametrize(
  ("name", "value", "allowed"),
  [
    ("vocab_size", 0, ">= 1"),
    ("num_layers", 1.5, "an integer"),
    ("num_kv_heads", 3, "num_heads=4"),
    ("head_dim", 7, "even"),
    ("rope_theta", 0.0, "> 1"),
    ("norm_eps", 0.0, r"\(0, 1\)"),
    ("dtype", "float16", "bfloat16"),
    ("remat", "some", "full"),
  ],
)
def test_errors_name_value_range_and_key(name, value, allowed):
  # A head count that does not fit is reported at num_heads.
  key = "num_heads" if name == "num_kv_heads" else name
  with pytest.raises(ValueError, match=f"(?s){allowed}.*model.{key}|{key}=.*{allowed}"):
    ModelConfig(**(SIZES | {name: value}))


def test_num_params_by_hand():
  # embed 10·8; final norm 8; per layer: norms 2·8, q 8·4·6, k and v 2·8·2·6,
  # o 4·6·8, feed-forward 3·8·12.
  layer = 16 + 192 + 192 + 192 + 288
  assert ModelConfig(**SIZES).num_params == 80 + 8 + 2 * layer
  extras = ModelConfig(**SIZES, tie_embeddings=False, qkv_bias=True, qk_norm=True)
  # head 8·10; per layer: biases (4 + 2 + 2)·6, head norms 2·6.
  assert extras.num_params == 80 + 8 + 2 * layer + 80 + 2 * (48 + 12)


def test_both_spellings_of_the_rotary_settings():
  v4 = HF | {"rope_theta": 5e5, "rope_scaling": LLAMA3}
  v5 = HF | {"rope_parameters": LLAMA3 | {"rope_theta": 5e5}}
  expected = RopeScaling(8.0, 1.0, 4.0, 64)
  for hf in (v4, v5):
    cfg = ModelConfig.from_hf_dict(hf)
    assert cfg.rope_theta == 5e5
    assert cfg.rope_scaling == expected
  assert ModelConfig.from_hf_dict(HF).rope_theta == 10_000.0
  # v4 writes `type`, and null where there is no scaling.
  old = HF | {"rope_theta": 7.0, "rope_scaling": LLAMA3 | {"type": "llama3"}}
  del old["rope_scaling"]["rope_type"]
  assert ModelConfig.from_hf_dict(old).rope_scaling == expected
  plain = ModelConfig.from_hf_dict(HF | {"rope_theta": 7.0, "rope_scaling": None})
  assert (plain.rope_theta, plain.rope_scaling) == (7.0, None)


def test_defaults_of_each_family():
  qwen2 = ModelConfig.from_hf_dict(HF)
  assert (qwen2.head_dim, qwen2.qkv_bias, qwen2.qk_norm) == (2, True, False)
  assert not qwen2.tie_embeddings
  qwen3 = ModelConfig.from_hf_dict(HF | {"architectures": ["Qwen3ForCausalLM"]})
  assert (qwen3.head_dim, qwen3.qkv_bias, qwen3.qk_norm) == (128, False, True)
  llama = dict(HF, architectures=["LlamaForCausalLM"])
  del llama["num_key_value_heads"]
  assert ModelConfig.from_hf_dict(llama).num_kv_heads == 4


@pytest.mark.parametrize(
  "change",
  [
    {"architectures": ["GemmaForCausalLM"]},
    {"architectures": None},
    {"architectures": ["LlamaForCausalLM"], "attention_bias": True},
    {"architectures": ["LlamaForCausalLM"], "mlp_bias": True},
    {"use_sliding_window": True},
    {"hidden_act": "gelu"},
    {"rope_scaling": {"rope_type": "yarn", "factor": 4.0}},
  ],
)
def test_what_the_decoder_does_not_compute_is_refused(change):
  names = "|".join([*change, "rope_type"])
  with pytest.raises(ValueError, match=names):
    ModelConfig.from_hf_dict(HF | change)


@pytest.mark.parametrize(
  "extra",
  [
    {"qkv_bias": True, "max_len": 99},
    {"qk_norm": True, "tie_embeddings": False, "norm_eps": 1e-3},
    {"rope_theta": 77.0, "rope_scaling": RopeScaling(4.0, 1.0, 2.0, 16)},
  ],
)
def test_hf_dict_round_trip(extra):
  cfg = ModelConfig(**SIZES, **extra)
  assert ModelConfig.from_hf_dict(cfg.to_hf_dict()) == cfg


def test_no_family_has_biases_and_head_norms():
  cfg = dataclasses.replace(ModelConfig(**SIZES), qkv_bias=True, qk_norm=True)
  with pytest.raises(ValueError, match=r"model\.qkv_bias.*model\.qk_norm"):
    cfg.to_hf_dict()
