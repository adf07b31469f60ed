import functools
import os
import subprocess
import sys
import textwrap

import jax
import pytest
from jax.sharding import AbstractMesh, PartitionSpec

from skilljax import optimizer, placement, sharding
from skilljax.models.config import ModelConfig
from skilljax.models.lora import LoraSettings
from skilljax.models.params import ParamSpec, init_params, param_specs

config = functools.partial(
  ModelConfig,
  vocab_size=24,
  d_model=16,
  num_layers=2,
  num_heads=4,
  num_kv_heads=2,
  head_dim=8,
  d_ff=32,
)


def mesh(**sizes) -> AbstractMesh:
  full = {axis: sizes.get(axis, 1) for axis in sharding.MESH_AXES}
  return AbstractMesh(tuple(full.values()), tuple(full))


def test_every_parameter_has_one_sharding():
  cfg = config(
    qkv_bias=True, qk_norm=True, tie_embeddings=False, lora=LoraSettings(rank=4)
  )
  specs = param_specs(cfg)
  shardings = sharding.param_shardings(specs, mesh(data=2, fsdp=2, tensor=2))
  assert jax.tree.structure(shardings) == jax.tree.structure(specs)
  assert shardings["layers"]["wq"].spec == PartitionSpec(None, "fsdp", "tensor", None)
  assert shardings["layers"]["w_down"].spec == PartitionSpec(None, "tensor", "fsdp")
  assert shardings["lora"]["wo"]["a"].spec == PartitionSpec(None, "tensor", None, None)
  assert shardings["lora"]["wo"]["b"].spec == PartitionSpec(None, None, "fsdp")
  assert shardings["embed"].spec == PartitionSpec("tensor", "fsdp")
  # No rule is left over either.
  used = {axis for spec in jax.tree.leaves(specs) for axis in spec.axes}
  assert used == set(sharding.RULES)


@pytest.mark.parametrize(
  ("sizes", "extra", "message"),
  [
    ({"tensor": 4}, {}, r"mesh\.tensor=4 must divide model\.num_kv_heads=2"),
    ({"fsdp": 3}, {}, r"mesh\.fsdp=3 must divide model\.d_model=16"),
    ({"tensor": 2}, {"vocab_size": 25}, r"mesh\.tensor=2 .*model\.vocab_size=25"),
    ({"tensor": 2}, {"d_ff": 31}, r"mesh\.tensor=2 .*model\.d_ff=31"),
  ],
)
def test_a_mesh_that_does_not_divide(sizes, extra, message):
  with pytest.raises(ValueError, match=message):
    sharding.param_shardings(param_specs(config(**extra)), mesh(**sizes))


def test_collisions_and_unknown_axes():
  with pytest.raises(
    ValueError, match=r"'tensor' would split both 'heads' and 'mlp' of w"
  ):
    sharding.param_shardings({"w": ParamSpec((4, 4), ("heads", "mlp"))}, mesh())
  with pytest.raises(ValueError, match="'experts' of w has no rule"):
    sharding.param_shardings({"w": ParamSpec((4,), ("experts",))}, mesh())


def test_make_mesh_errors():
  with pytest.raises(ValueError, match=r"fsdp=0 must be >= 1.*mesh\.fsdp"):
    sharding.make_mesh(fsdp=0)
  with pytest.raises(ValueError, match=r"data=512.*needs 512 devices"):
    sharding.make_mesh(data=512)


@pytest.mark.parametrize("moments", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", ["adamw", "muon"])
def test_moments_lie_where_their_parameters_do(name, moments):
  cfg = config(tie_embeddings=False)
  settings = optimizer.LearnerSettings(optimizer=name, moment_dtype=moments)
  make = optimizer.make_optimizer(settings)
  place = placement.Placement.on(sharding.make_mesh(), cfg, settings, make)
  shapes = jax.eval_shape(lambda key: init_params(key, cfg), jax.random.key(0))
  state = jax.eval_shape(make.init, shapes)
  assert jax.tree.structure(place.opt_state) == jax.tree.structure(state)
  found = jax.tree.leaves(place.opt_state)
  specs = {leaf.spec for leaf in found}
  assert PartitionSpec(None, "fsdp", "tensor", None) in specs
  for leaf, at in zip(jax.tree.leaves(state), found, strict=True):
    assert len(at.spec) <= leaf.ndim


def test_rows_that_the_mesh_does_not_divide_are_refused():
  settings = optimizer.LearnerSettings(rows_per_batch=3)
  make = optimizer.make_optimizer(settings)
  with pytest.raises(ValueError, match=r"mesh\.data=2 x .* must divide learner"):
    placement.Placement.on(mesh(data=2), config(), settings, make)


def test_slots_that_the_mesh_does_not_divide_are_refused():
  with pytest.raises(ValueError, match=r"must divide engine\.num_slots=6"):
    sharding.cache_shardings((("slots",),), mesh(data=2, fsdp=2), num_slots=6)


ON_8_DEVICES = """
  import jax, jax.numpy as jnp, numpy as np
  from skilljax import sharding
  from skilljax.models import logprobs, transformer
  from skilljax.models.config import ModelConfig

  cfg = ModelConfig(
    vocab_size=24, d_model=16, num_layers=2, num_heads=4, num_kv_heads=2, head_dim=8,
    d_ff=32, qkv_bias=True, remat="full",
  )
  mesh = sharding.make_mesh(data=2, fsdp=2, tensor=2)
  assert all("Auto" in str(kind) for kind in mesh.axis_types), mesh.axis_types
  params = transformer.init_params(jax.random.key(0), cfg)
  params = jax.tree.map(lambda a: 5 * a + 0.1, params)
  tokens = jax.random.randint(jax.random.key(1), (4, 12), 0, 24)
  positions = jnp.broadcast_to(jnp.arange(12)[None], (4, 12))
  segments = jnp.ones((4, 12), jnp.int32)

  def loss(params, *rows):
    scores, entropy = logprobs.sequence_logprobs(params, *rows, cfg, chunk=4)
    return jnp.sum(scores * scores), (scores, entropy)

  step = jax.jit(jax.grad(loss, has_aux=True))
  one = step(params, tokens, positions, segments)
  split = sharding.param_shardings(transformer.param_specs(cfg), mesh)
  sharded = jax.device_put(params, split)
  assert sharded["layers"]["wq"].addressable_shards[0].data.shape == (2, 8, 2, 8)
  rows = jax.device_put((tokens, positions, segments), sharding.batch_sharding(mesh))
  assert rows[0].addressable_shards[0].data.shape == (1, 12)
  eight = step(sharded, *rows)
  assert len(eight[1][0].sharding.device_set) == 8
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4), one, eight
  )
  print("equal")
"""


def test_eight_devices_equal_one(repo_root):
  environment = os.environ | {
    "JAX_PLATFORMS": "cpu",
    "JAX_NUM_CPU_DEVICES": "8",
    "PYTHONPATH": str(repo_root),
  }
  done = subprocess.run(
    [sys.executable, "-c", textwrap.dedent(ON_8_DEVICES)],
    env=environment,
    capture_output=True,
    text=True,
    timeout=240,
    check=False,
  )
  assert done.returncode == 0, done.stderr
  assert done.stdout.strip() == "equal"
