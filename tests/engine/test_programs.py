import jax
import jax.numpy as jnp
import numpy as np
import pytest

from skilljax.engine import programs


def test_request_keys_fold_exactly_the_given_parts():
  root = jax.random.key(3)
  parts = jnp.asarray([[5, 6, 0], [5, 6, 0], [5, 0, 0], [9, 9, 9]], jnp.uint32)
  keys = programs.request_keys(root, parts, jnp.asarray([2, 3, 1, 0]))
  fold = jax.random.fold_in
  expected = [
    fold(fold(root, 5), 6),
    fold(fold(fold(root, 5), 6), 0),
    fold(root, 5),
    root,
  ]
  for key, want in zip(keys, expected, strict=True):
    np.testing.assert_array_equal(jax.random.key_data(key), jax.random.key_data(want))


def test_uniforms_continue_where_the_last_call_ended():
  keys = jax.random.split(jax.random.key(0), 2)
  whole = programs.uniforms(keys, jnp.asarray([0, 0]), 9)
  tail = programs.uniforms(keys, jnp.asarray([5, 2]), 4)
  np.testing.assert_array_equal(tail[0], whole[0, 5:9])
  np.testing.assert_array_equal(tail[1], whole[1, 2:6])
  want = jax.random.uniform(jax.random.fold_in(keys[1], 3))
  assert whole[1, 3] == want
  assert len(np.unique(whole)) == 18


def test_trace_counter():
  counter = programs.TraceCounter()
  counter.note("one")
  counter.note("two")
  assert counter.num_traces == 2
  counter.armed = True
  with pytest.raises(RuntimeError, match="after warm-up for decode x"):
    counter.note("decode x")
  assert counter.num_traces == 2
