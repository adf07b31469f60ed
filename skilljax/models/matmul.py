"""The one matrix product of the model: float32 accumulation for every compute type.

Purpose: keep bfloat16 products on the fast path, forward and backward.
Must not know about: what is multiplied.

A plain bfloat16 `@` is upcast to float32 on CPU (2-3 times slower) and rounds partial
sums elsewhere, so the accumulator's type is asked for. JAX's own derivative would then
multiply float32 cotangents with bfloat16 weights, which falls off the fast path again;
the derivative here casts the cotangent first.
"""

import functools

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike


def matmul(
  x: jax.Array, w: jax.Array, *, out_dtype: DTypeLike | None = None
) -> jax.Array:
  """x [..., I] @ w [I, O] -> [..., O].

  Args:
    x, w: of one float type.
    out_dtype: type of the result; None means the type of `x`.
  Raises:
    TypeError: `x` and `w` differ in type.
  """
  if x.dtype != w.dtype:
    raise TypeError(f"w has type {w.dtype}, must have the type of x, {x.dtype}")
  rows = x.reshape(-1, x.shape[-1])
  out: jax.Array = _product(rows, w, jnp.dtype(out_dtype or x.dtype))
  return out.reshape(*x.shape[:-1], w.shape[1])


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _product(x: jax.Array, w: jax.Array, out_dtype: jnp.dtype) -> jax.Array:
  return _dot(x, w, ((1,), (0,))).astype(out_dtype)


def _product_fwd(x, w, out_dtype):
  return _product(x, w, out_dtype), (x, w)


def _product_bwd(out_dtype, saved, cotangent):
  del out_dtype
  x, w = saved
  cotangent = cotangent.astype(x.dtype)
  grad_x = _dot(cotangent, w, ((1,), (1,))).astype(x.dtype)
  grad_w = _dot(x, cotangent, ((0,), (0,))).astype(w.dtype)
  return grad_x, grad_w


_product.defvjp(_product_fwd, _product_bwd)


def _dot(a: jax.Array, b: jax.Array, contract) -> jax.Array:
  """Two-dimensional product with a float32 accumulator and result."""
  return jax.lax.dot_general(
    a, b, (contract, ((), ())), preferred_element_type=jnp.float32
  )
