"""Strict numerics for this room: no silent promotion of types or ranks."""

import jax
import pytest


@pytest.fixture(autouse=True)
def strict_numerics():
  with jax.numpy_dtype_promotion("strict"), jax.numpy_rank_promotion("raise"):
    yield


@pytest.fixture(params=["eager", "jit"])
def compiled(request):
  """Wraps a function of arrays in `jax.jit`, or not."""
  return jax.jit if request.param == "jit" else lambda function: function
