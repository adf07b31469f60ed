import dataclasses

import pytest

from skilljax.models import hf_config
from skilljax.models.config import ModelConfig
from skilljax.models.rope import LinearScaling, Llama3Scaling

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
  expected = Llama3Scaling(8.0, 1.0, 4.0, 64)
  for hf in (v4, v5):
    cfg = hf_config.read(hf)
    assert cfg.rope_theta == 5e5
    assert cfg.rope_scaling == expected
  assert hf_config.read(HF).rope_theta == 10_000.0
  # v4 writes `type`, and null where there is no scaling.
  old = HF | {"rope_theta": 7.0, "rope_scaling": LLAMA3 | {"type": "llama3"}}
  del old["rope_scaling"]["rope_type"]
  assert hf_config.read(old).rope_scaling == expected
  plain = hf_config.read(HF | {"rope_theta": 7.0, "rope_scaling": None})
  assert (plain.rope_theta, plain.rope_scaling) == (7.0, None)


def test_defaults_of_each_family():
  qwen2 = hf_config.read(HF)
  assert (qwen2.head_dim, qwen2.qkv_bias, qwen2.qk_norm) == (2, True, False)
  assert not qwen2.tie_embeddings
  qwen3 = hf_config.read(HF | {"architectures": ["Qwen3ForCausalLM"]})
  assert (qwen3.head_dim, qwen3.qkv_bias, qwen3.qk_norm) == (128, False, True)
  llama = dict(HF, architectures=["LlamaForCausalLM"])
  del llama["num_key_value_heads"]
  assert hf_config.read(llama).num_kv_heads == 4


@pytest.mark.parametrize(
  "change",
  [
    {"architectures": ["GemmaForCausalLM"]},
    {"architectures": None},
    {"architectures": ["LlamaForCausalLM"], "attention_bias": True},
    {"architectures": ["LlamaForCausalLM"], "mlp_bias": True},
    {"attn_logit_softcapping": 50.0},
    {"use_sliding_window": True, "sliding_window": 4, "layer_types": ["full"] * 2},
    {
      "layer_types": ["sliding_attention"],
      "use_sliding_window": True,
      "sliding_window": 4,
    },
    {"hidden_act": "gelu"},
    {"rope_scaling": {"rope_type": "yarn", "factor": 4.0}},
    {"rope_scaling": {"rope_type": "longrope", "factor": 4.0}},
    {"rope_scaling": {"rope_type": "linear", "factor": 4.0, "mscale": 2.0}},
  ],
)
def test_what_the_decoder_does_not_compute_is_refused(change):
  names = "|".join([*change, "rope_type"])
  with pytest.raises(ValueError, match=names):
    hf_config.read(HF | change)


def test_windows_are_read_as_each_family_writes_them():
  window = {"sliding_window": 4, "num_hidden_layers": 3}
  mistral = HF | {"architectures": ["MistralForCausalLM"]} | window
  assert hf_config.read(mistral).windows == (4, 4, 4)
  assert hf_config.read(mistral | {"sliding_window": None}).layer_windows == ()
  del mistral["sliding_window"]
  assert hf_config.read(mistral).windows == (4096,) * 3
  qwen2 = HF | window | {"max_window_layers": 2}
  assert hf_config.read(qwen2).layer_windows == ()  # off unless it is switched on
  assert hf_config.read(qwen2 | {"use_sliding_window": True}).windows == (0, 0, 4)
  gemma = HF | {"architectures": ["Gemma3ForCausalLM"]} | window
  old = hf_config.read(gemma | {"sliding_window_pattern": 2, "rope_local_base_freq": 7.0})
  assert old.windows == (4, 0, 4) and old.window_rope_theta == 7.0
  assert (old.rope_theta, old.head_dim, old.query_scalar) == (1e6, 256, 256.0)
  types = ["full_attention", "sliding_attention", "full_attention"]
  assert hf_config.read(gemma | {"layer_types": types}).windows == (0, 4, 0)


# Of the 4 B model as published: what its family takes for granted is left out.
GEMMA_4B = {
  "architectures": ["Gemma3ForConditionalGeneration"],
  "eos_token_id": [1, 106],
  "model_type": "gemma3",
  "text_config": {
    "hidden_size": 2560,
    "intermediate_size": 10240,
    "model_type": "gemma3_text",
    "num_hidden_layers": 34,
    "rope_scaling": {"factor": 8.0, "rope_type": "linear"},
    "sliding_window": 1024,
  },
  "vision_config": {"hidden_size": 1152},
}


def test_of_a_model_that_sees_pictures_the_text_part_is_read():
  gemma = hf_config.read(GEMMA_4B)
  assert (gemma.vocab_size, gemma.num_heads, gemma.num_kv_heads) == (262_208, 8, 4)
  assert (gemma.head_dim, gemma.max_len, gemma.tie_embeddings) == (256, 131_072, True)
  assert gemma.windows[:6] == (1024, 1024, 1024, 1024, 1024, 0)
  assert gemma.rope_scaling == LinearScaling(8.0)
  assert hf_config.write(gemma)["architectures"] == ["Gemma3ForCausalLM"]
  untied = hf_config.read(GEMMA_4B | {"tie_word_embeddings": False})
  assert not untied.tie_embeddings
  with pytest.raises(ValueError, match="ConditionalGeneration lacks text_config"):
    hf_config.read(GEMMA_4B | {"text_config": None})


def test_what_gemma_takes_for_granted_is_what_transformers_does():
  transformers = pytest.importorskip("transformers")
  whole = transformers.Gemma3TextConfig().to_dict()
  whole["architectures"] = ["Gemma3ForCausalLM"]
  sizes = ("hidden_size", "intermediate_size", "num_hidden_layers", "architectures")
  assert hf_config.read({key: whole[key] for key in sizes}) == hf_config.read(whole)


def test_missing_sizes_are_named():
  with pytest.raises(ValueError, match=r"lacks vocab_size, intermediate_size"):
    hf_config.read(
      {k: v for k, v in HF.items() if k not in ("vocab_size", "intermediate_size")}
    )


@pytest.mark.parametrize(
  "extra",
  [
    {"qkv_bias": True, "max_len": 99},
    {"qk_norm": True, "tie_embeddings": False, "norm_eps": 1e-3},
    {"rope_theta": 77.0, "rope_scaling": Llama3Scaling(4.0, 1.0, 2.0, 16)},
  ],
)
def test_hf_dict_round_trip(extra):
  cfg = ModelConfig(**SIZES, **extra)
  assert hf_config.read(hf_config.write(cfg)) == cfg


def test_no_family_has_biases_and_head_norms():
  cfg = dataclasses.replace(ModelConfig(**SIZES), qkv_bias=True, qk_norm=True)
  with pytest.raises(ValueError, match=r"model\.qkv_bias.*model\.qk_norm"):
    hf_config.write(cfg)
