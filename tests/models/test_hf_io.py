import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from skilljax.models import hf_io, transformer


@pytest.fixture
def qwen2(cfg):
  return dataclasses.replace(cfg, qk_norm=False)


def saved(folder, cfg):
  params = transformer.init_params(jax.random.key(4), cfg)
  hf_io.save_checkpoint(folder, cfg, params)
  return params


@pytest.mark.parametrize(
  "change", [{"qk_norm": False}, {"qkv_bias": False, "tie_embeddings": True}]
)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_round_trip(cfg, tmp_path, change, dtype):
  cfg = dataclasses.replace(cfg, **change)
  params = transformer.init_params(jax.random.key(4), cfg)
  params = jax.tree.map(lambda a: a.astype(dtype), params)
  hf_io.save_checkpoint(tmp_path, cfg, params)
  loaded_cfg, loaded = hf_io.load_checkpoint(tmp_path, param_dtype=dtype)
  assert loaded_cfg == cfg
  assert jax.tree.structure(loaded) == jax.tree.structure(params)
  jax.tree.map(np.testing.assert_array_equal, loaded, params)
  assert {a.dtype for a in jax.tree.leaves(loaded)} == {jnp.dtype(dtype)}


def test_all_problems_are_listed_at_once(qwen2, tmp_path):
  saved(tmp_path, qwen2)
  tensors = load_file(tmp_path / "model.safetensors")
  del tensors["model.layers.1.self_attn.k_proj.bias"]
  tensors["model.layers.2.mlp.up_proj.weight"] = np.zeros((2, 2), np.float32)
  tensors["model.norm.weight"] = np.zeros(3, np.float32)
  save_file(tensors, tmp_path / "model.safetensors")
  with pytest.raises(ValueError) as error:
    hf_io.load_checkpoint(tmp_path)
  message = str(error.value)
  assert "missing: model.layers.1.self_attn.k_proj.bias" in message
  assert "not expected: model.layers.2.mlp.up_proj.weight" in message
  assert "shape (3,), must be (20,): model.norm.weight" in message


def test_buffers_and_a_repeated_tied_head_are_ignored(qwen2, tmp_path):
  tied = dataclasses.replace(qwen2, tie_embeddings=True)
  params = saved(tmp_path, tied)
  tensors = load_file(tmp_path / "model.safetensors")
  tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"].copy()
  tensors["model.layers.0.self_attn.rotary_emb.inv_freq"] = np.zeros(2, np.float32)
  save_file(tensors, tmp_path / "model.safetensors")
  _, loaded = hf_io.load_checkpoint(tmp_path)
  jax.tree.map(np.testing.assert_array_equal, loaded, params)


def test_sharded_files(qwen2, tmp_path):
  params = saved(tmp_path, qwen2)
  tensors = load_file(tmp_path / "model.safetensors")
  (tmp_path / "model.safetensors").unlink()
  names = sorted(tensors)
  where = {name: f"part-{i % 2}.safetensors" for i, name in enumerate(names)}
  for shard in set(where.values()):
    save_file({n: tensors[n] for n in names if where[n] == shard}, tmp_path / shard)
  index = tmp_path / "model.safetensors.index.json"
  index.write_text(json.dumps({"weight_map": where}))
  _, loaded = hf_io.load_checkpoint(tmp_path)
  jax.tree.map(np.testing.assert_array_equal, loaded, params)

  (tmp_path / "part-1.safetensors").unlink()
  with pytest.raises(FileNotFoundError, match=r"part-1\.safetensors"):
    hf_io.load_checkpoint(tmp_path)
  index.write_text(json.dumps({"weight_map": {"a": "../elsewhere.safetensors"}}))
  with pytest.raises(ValueError, match=r"elsewhere.*same folder"):
    hf_io.load_checkpoint(tmp_path)


def test_a_missing_folder_is_named(tmp_path):
  with pytest.raises(FileNotFoundError, match=r"nowhere.*config\.json"):
    hf_io.load_checkpoint(tmp_path / "nowhere")
