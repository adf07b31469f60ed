"""Logits and gradients against torch `transformers`, both directions of the files."""

import json
import pathlib
import re

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from skilljax.models import hf_io, transformer
from skilljax.models.config import ModelConfig
from skilljax.models.rope import LinearScaling, Llama3Scaling, YarnScaling
from tests.models import hf_reference, jax_side

GOLDEN = pathlib.Path(__file__).parent / "golden"


@pytest.mark.parametrize("name", list(hf_reference.MODELS))
def test_golden_logits_and_gradients(name, tmp_path):
  golden = np.load(GOLDEN / f"{name}.npz")
  weights = {k[2:]: golden[k] for k in golden.files if k.startswith("w/")}
  (tmp_path / "config.json").write_text(str(golden["config"]))
  save_file(weights, tmp_path / "model.safetensors")

  logits, grads = jax_side.evaluate(tmp_path, golden["tokens"])

  jax_side.assert_close(logits, golden["logits"], "logits")
  assert grads.keys() == weights.keys()
  for key, gradient in grads.items():
    jax_side.assert_close(hf_reference.summary(gradient), golden[f"g/{key}"], key)


@pytest.mark.parametrize("name", list(hf_reference.MODELS))
def test_torch_logits_and_gradients(name, tmp_path):
  pytest.importorskip("torch")
  pytest.importorskip("transformers")
  model = hf_reference.build(name)
  model.save_pretrained(tmp_path)
  tokens = hf_reference.example_tokens()

  expected_logits, expected_grads = hf_reference.evaluate(model, tokens)
  logits, grads = jax_side.evaluate(tmp_path, tokens)

  jax_side.assert_close(logits, expected_logits, "logits")
  assert grads.keys() == expected_grads.keys()
  for key, gradient in grads.items():
    jax_side.assert_close(gradient, expected_grads[key], key)


PICTURES = {
  "gemma3": ("Gemma3ForConditionalGeneration", "gemma3"),
  "mistral3": ("Mistral3ForConditionalGeneration", "mistral"),
}


@pytest.mark.parametrize(
  ("text", "head", "outer"),
  [
    ("language_model.model.", "language_model.lm_head.", ""),  # as published
    ("model.language_model.", "lm_head.", "model."),
  ],
)
@pytest.mark.parametrize("name", list(PICTURES))
def test_the_text_part_of_a_model_that_sees_pictures(name, text, head, outer, tmp_path):
  architecture, alone = PICTURES[name]
  golden = np.load(GOLDEN / f"{alone}.npz")
  weights = {f"{outer}{part}.weight": np.ones(2, np.float32) for part in NO_TEXT}
  for key in golden.files:
    kind, _, called = key.partition("/")
    if kind == "w":
      called = re.sub("^lm_head.", head, re.sub("^model.", text, called))
      weights[called] = golden[key]
  config = {"architectures": [architecture]}
  config["text_config"] = json.loads(str(golden["config"]))
  (tmp_path / "config.json").write_text(json.dumps(config))
  save_file(weights, tmp_path / "model.safetensors")

  cfg, params = hf_io.load_checkpoint(tmp_path)
  logits = jax_side.logits(params, cfg, golden["tokens"])
  jax_side.assert_close(logits, golden["logits"], "logits")

  save_file(weights | {f"{text}more": np.ones(1)}, tmp_path / "model.safetensors")
  with pytest.raises(ValueError, match=r"not expected: model\.more"):
    hf_io.load_checkpoint(tmp_path)


NO_TEXT = ("vision_tower.layers.0.norm", "multi_modal_projector.norm")


@pytest.mark.parametrize("name", list(PICTURES))
def test_torch_logits_of_a_model_that_sees_pictures(name, tmp_path):
  torch = pytest.importorskip("torch")
  pytest.importorskip("transformers")
  model = hf_reference.build_with_pictures(name)
  model.save_pretrained(tmp_path, max_shard_size="8KB")  # an index names the tensors
  tokens = hf_reference.example_tokens()
  with torch.no_grad():
    expected = model(torch.tensor(tokens, dtype=torch.long)).logits.numpy()

  cfg, params = hf_io.load_checkpoint(tmp_path)
  logits = jax_side.logits(params, cfg, tokens)
  jax_side.assert_close(logits, expected, "logits")


GEMMA = {
  "activation": "gelu",
  "qk_norm": True,
  "unit_offset_norms": True,
  "post_norms": True,
  "scale_embed": True,
  "window_rope_theta": 200.0,
  "query_scalar": 5.0,
  "rope_scaling": LinearScaling(3.0),
}
EXPORTS = {
  "qwen2": {"qkv_bias": True},
  "qwen2_window": {"qkv_bias": True, "layer_windows": (0, 5)},
  "qwen2_yarn": {"qkv_bias": True, "rope_scaling": YarnScaling(4.0, 32)},
  "qwen3": {"qk_norm": True},
  "llama": {"tie_embeddings": False},
  "llama3": {"rope_scaling": Llama3Scaling(original_max_len=64)},
  "mistral": {"tie_embeddings": False, "layer_windows": (5, 5)},
  "gemma3": {"layer_windows": (5, 0), **GEMMA},
  "gemma3_all_windows": {"layer_windows": (5, 5), **GEMMA},
  "gemma3_no_window": GEMMA,
}


@pytest.mark.parametrize("name", list(EXPORTS))
def test_transformers_loads_the_export(name, tmp_path):
  torch = pytest.importorskip("torch")
  transformers = pytest.importorskip("transformers")
  cfg = ModelConfig(
    vocab_size=40,
    d_model=16,
    num_layers=2,
    num_heads=4,
    num_kv_heads=2,
    head_dim=8,
    d_ff=24,
    rope_theta=300.0,
    norm_eps=1e-3,
    **EXPORTS[name],
  )
  params = transformer.init_params(jax.random.key(0), cfg)
  params = jax.tree.map(lambda a: 4 * a + 0.1, params)
  hf_io.save_checkpoint(tmp_path, cfg, params)

  model, report = transformers.AutoModelForCausalLM.from_pretrained(
    tmp_path, output_loading_info=True, attn_implementation="eager"
  )
  assert not any(report.values()), report
  assert (
    type(model).__name__
    == json.loads((tmp_path / "config.json").read_text())["architectures"][0]
  )

  tokens = hf_reference.example_tokens()
  with torch.no_grad():
    expected = model(torch.tensor(tokens, dtype=torch.long)).logits.numpy()
  logits = jax_side.logits(params, cfg, tokens)
  jax_side.assert_close(logits, expected, "logits")
  again, loaded = hf_io.load_checkpoint(tmp_path)
  np.testing.assert_array_equal(jax_side.logits(loaded, again, tokens), logits)


def test_a_sharded_torch_export_loads(tmp_path):
  pytest.importorskip("torch")
  model = hf_reference.build("qwen3")
  model.save_pretrained(tmp_path / "whole")
  model.save_pretrained(tmp_path / "sharded", max_shard_size="8KB")
  assert len(list((tmp_path / "sharded").glob("*.safetensors"))) > 1

  whole = hf_io.load_checkpoint(tmp_path / "whole")
  sharded = hf_io.load_checkpoint(tmp_path / "sharded")

  assert whole[0] == sharded[0]
  jax.tree.map(np.testing.assert_array_equal, whole[1], sharded[1])
  assert len(load_file(tmp_path / "whole" / "model.safetensors")) == 2 + 2 * 11
