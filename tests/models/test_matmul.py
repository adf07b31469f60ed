import jax
import jax.numpy as jnp
import numpy as np
import pytest

from skilljax.models.matmul import matmul


def test_float32_product_and_gradient():
  x = jax.random.normal(jax.random.key(0), (2, 3, 5))
  w = jax.random.normal(jax.random.key(1), (5, 4))
  np.testing.assert_allclose(matmul(x, w), np.asarray(x) @ np.asarray(w), rtol=1e-5)
  ours = jax.grad(lambda x, w: jnp.sum(jnp.sin(matmul(x, w))), (0, 1))(x, w)
  plain = jax.grad(lambda x, w: jnp.sum(jnp.sin(x @ w)), (0, 1))(x, w)
  for a, b in zip(ours, plain, strict=True):
    np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


def test_bfloat16_accumulates_in_float32():
  # 256 + 1 + 1 + ... : a bfloat16 sum has 8 bits and would stay at 256.
  x = jnp.ones((1, 257), jnp.bfloat16)
  w = jnp.ones((257, 1), jnp.bfloat16).at[0].set(256)
  assert float(matmul(x, w, out_dtype=jnp.float32)[0, 0]) == 512
  assert matmul(x, w).dtype == jnp.bfloat16


def test_gradients_keep_the_type_of_their_argument():
  x, w = jnp.ones((2, 3), jnp.bfloat16), jnp.ones((3, 2), jnp.bfloat16)
  grads = jax.grad(lambda x, w: jnp.sum(matmul(x, w, out_dtype=jnp.float32)), (0, 1))(
    x, w
  )
  assert [g.dtype for g in grads] == [jnp.bfloat16] * 2
  np.testing.assert_array_equal(grads[0].astype(jnp.float32), np.full((2, 3), 2))


def test_mixed_types_are_refused():
  with pytest.raises(TypeError, match=r"w has type float32.*bfloat16"):
    matmul(jnp.ones((2, 3), jnp.bfloat16), jnp.ones((3, 2)))
