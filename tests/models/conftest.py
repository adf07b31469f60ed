"""A tiny model with every feature on, shared by the tests of this room."""

import jax
import jax.numpy as jnp
import pytest

from skilljax.models import transformer
from skilljax.models.config import ModelConfig


@pytest.fixture(scope="session")
def cfg() -> ModelConfig:
  """Biases, head norms and an untied head at once; no two sizes equal."""
  return ModelConfig(
    vocab_size=31,
    d_model=20,
    num_layers=2,
    num_heads=6,
    num_kv_heads=2,
    head_dim=4,
    d_ff=28,
    tie_embeddings=False,
    qkv_bias=True,
    qk_norm=True,
    max_len=64,
  )


@pytest.fixture(scope="session")
def params(cfg):
  return distinct_params(cfg)


def distinct_params(cfg):
  """Attention and gates far from uniform, no norm at 1, no bias at 0."""
  initial = transformer.init_params(jax.random.key(0), cfg)
  return jax.tree.map(lambda a: jnp.where(a == 1, 1.3, 8 * a + 0.05), initial)
