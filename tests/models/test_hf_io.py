import dataclasses
import json
import os
import subprocess
import sys
import textwrap

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from skilljax.models import hf_io, hf_names, safetensors_files, transformer


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


def test_shards_that_do_not_belong_together_are_listed(qwen2, tmp_path):
  saved(tmp_path, qwen2)
  tensors = load_file(tmp_path / "model.safetensors")
  (tmp_path / "model.safetensors").unlink()
  names = sorted(tensors)
  where = {name: f"part-{i % 2}.safetensors" for i, name in enumerate(names)}
  index = tmp_path / "model.safetensors.index.json"

  def write(first, second, told):
    for file, kept in (("part-0", first), ("part-1", second)):
      save_file({n: tensors[n] for n in kept}, tmp_path / f"{file}.safetensors")
    index.write_text(json.dumps({"weight_map": told}))

  write(names[::2], [names[0], *names[1::2]], where)
  with pytest.raises(ValueError, match=r"in part-0\S+ and in part-1\S+: ") as error:
    hf_io.check_checkpoint(tmp_path)
  assert str(error.value).endswith(names[0]) and str(error.value).count("\n") == 1

  moved = {**where, names[2]: "part-1.safetensors"}
  write(names[::2], names[1::2], {n: moved[n] for n in names if n != names[1]})
  with pytest.raises(ValueError, match=r"belong together") as error:
    hf_io.load_checkpoint(tmp_path)
  assert str(error.value).splitlines()[1:] == [
    f"  in part-1.safetensors, and nowhere by {index.name}: {names[1]}",
    f"  in part-0.safetensors, and part-1.safetensors by {index.name}: {names[2]}",
  ]


def test_a_missing_folder_is_named(tmp_path):
  with pytest.raises(FileNotFoundError, match=r"nowhere.*config\.json"):
    hf_io.load_checkpoint(tmp_path / "nowhere")


def test_every_box_of_a_tensor_is_read_as_it_stands(cfg, tmp_path, monkeypatch):
  monkeypatch.setattr(safetensors_files, "_CHUNK_BYTES", 100)  # many pieces
  cfg = dataclasses.replace(cfg, qk_norm=False)
  params = saved(tmp_path, cfg)
  found = safetensors_files.read_header(tmp_path / "model.safetensors")
  rng = np.random.default_rng(0)
  for name in hf_names.tensor_names(cfg):
    whole = params[name.key] if name.layer is None else params["layers"][name.key]
    whole = np.asarray(whole if name.layer is None else whole[name.layer])
    for _ in range(4):
      ends = [sorted(rng.choice(size + 1, 2, replace=False)) for size in name.shape]
      bounds = tuple((int(a), int(b)) for a, b in ends)
      box = hf_io._read(name, found[name.name], np.dtype("float32"), bounds)
      np.testing.assert_array_equal(
        box, whole[tuple(slice(*b) for b in bounds)], name.name
      )


def test_large_exports_are_several_files_and_replace_what_was_there(qwen2, tmp_path):
  params = saved(tmp_path, qwen2)
  hf_io.save_checkpoint(tmp_path, qwen2, params, max_shard_bytes=8_000)
  shards = sorted(path.name for path in tmp_path.glob("*.safetensors"))
  assert len(shards) > 2 and shards[0] == f"model-00001-of-{len(shards):05d}.safetensors"
  index = json.loads((tmp_path / "model.safetensors.index.json").read_text())
  assert set(index["weight_map"].values()) == set(shards)
  _, loaded = hf_io.load_checkpoint(tmp_path)
  jax.tree.map(np.testing.assert_array_equal, loaded, params)

  hf_io.save_checkpoint(tmp_path, qwen2, params)
  assert {p.name for p in tmp_path.iterdir()} == {"config.json", "model.safetensors"}
  # The package reads what we write, and the other way round (see `test_round_trip`).
  assert load_file(tmp_path / "model.safetensors").keys() == index["weight_map"].keys()


def test_damaged_files_are_named(qwen2, tmp_path):
  saved(tmp_path, qwen2)
  path = tmp_path / "model.safetensors"
  whole = path.read_bytes()
  length = int.from_bytes(whole[:8], "little")
  cases = {
    r"truncated: it has \d+ bytes, and .* ends at \d+; copy": whole[:-10],
    r"damaged: its header would have \d+ bytes": whole[:40],
    r"damaged: .*; copy it again": whole[:9] + b"!" + whole[10:],
    r"dtype 'I8 ' is not one of F64, F32, F16, BF16": whole.replace(b'"F32"', b'"I8 "'),
    r"offsets .* do not fit shape": whole.replace(b'"F32"', b'"F16"'),
    "would have 0 bytes": bytes(100),
    "would have": b"",
  }
  assert 2 <= length < len(whole)
  for message, data in cases.items():
    path.write_bytes(data)
    with pytest.raises(ValueError, match=f"model.safetensors is .*{message}|{message}"):
      hf_io.load_checkpoint(tmp_path)
  path.write_bytes(whole)
  (tmp_path / "config.json").write_text("{")
  with pytest.raises(ValueError, match=r"config\.json: "):
    hf_io.load_checkpoint(tmp_path)


def test_a_failed_export_leaves_no_half_checkpoint(qwen2, tmp_path, monkeypatch):
  params = saved(tmp_path, qwen2)

  def full(*args):
    raise OSError("No space left on device")

  monkeypatch.setattr(safetensors_files, "_append", full)
  with pytest.raises(OSError, match="No space"):
    hf_io.save_checkpoint(tmp_path, qwen2, params)
  with pytest.raises(FileNotFoundError, match=r"config\.json"):
    hf_io.load_checkpoint(tmp_path)


def test_the_layer_axis_is_never_split(qwen2, tmp_path):
  saved(tmp_path, qwen2)
  mesh = jax.make_mesh((1,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
  split = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data"))
  specs = transformer.param_specs(qwen2)
  with pytest.raises(ValueError, match="must not split the layer axis"):
    hf_io.load_checkpoint(tmp_path, shardings=jax.tree.map(lambda _: split, specs))


def test_every_device_gets_its_shard_and_the_export_is_the_same(cfg, tmp_path):
  cfg = dataclasses.replace(cfg, qk_norm=False, d_model=32, d_ff=24, vocab_size=30)
  saved(tmp_path / "in", cfg)
  code = """
    import sys, jax, numpy as np
    from skilljax import sharding
    from skilljax.models import hf_io, params
    source, target = sys.argv[1:]
    cfg, whole = hf_io.load_checkpoint(source)
    mesh = sharding.make_mesh(data=2, fsdp=2, tensor=2)
    shardings = sharding.param_shardings(params.param_specs(cfg), mesh)
    _, split = hf_io.load_checkpoint(source, shardings=shardings)
    jax.tree.map(np.testing.assert_array_equal, split, whole)
    assert jax.tree.map(lambda a: a.sharding, split) == shardings
    wq = split["layers"]["wq"]
    assert wq.addressable_shards[0].data.shape == (2, 16, 3, 4), wq.addressable_shards
    hf_io.save_checkpoint(target, cfg, split)
  """
  subprocess.run(
    [sys.executable, "-c", textwrap.dedent(code), tmp_path / "in", tmp_path / "out"],
    env={**os.environ, "JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": "8"},
    check=True,
  )
  for name in ("config.json", "model.safetensors"):
    assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "in" / name).read_bytes()
