import jax
import jax.numpy as jnp
import numpy as np

from skilljax.engine import cache as cache_lib
from skilljax.models import transformer
from tests.engine.driver import CONFIG


def filled():
  """A cache of 5 slots and 12 positions with distinct numbers."""
  cache = transformer.init_cache(CONFIG, 5, 12)
  leaves, treedef = jax.tree.flatten(cache)
  leaves = [
    jnp.arange(leaf.size, dtype=jnp.float32).reshape(leaf.shape) + i / 8
    for i, leaf in enumerate(leaves)
  ]
  return jax.tree.unflatten(treedef, leaves)


def at(leaf, axis, slot, position):
  return np.asarray(leaf).take(slot, axis=0).take(position, axis=axis - 1)


def test_gather_copies_the_head_of_each_row():
  cache = filled()
  part = cache_lib.gather_rows(cache, jnp.asarray([3, 0, 5]), 7, CONFIG)
  axes = jax.tree.leaves(cache_lib.position_axes(CONFIG))
  for whole, piece, axis in zip(
    jax.tree.leaves(cache), jax.tree.leaves(part), axes, strict=True
  ):
    assert whole.shape[axis] == 12
    assert piece.shape[0] == 3
    assert piece.shape[axis] == 7
    for i, slot in enumerate((3, 0)):
      for position in (0, 6):
        np.testing.assert_array_equal(
          at(piece, axis, i, position), at(whole, axis, slot, position)
        )


def test_put_changes_only_those_rows_and_positions():
  cache = filled()
  rows = jnp.asarray([3, 5])  # 5 is beyond the last slot: padding
  part = cache_lib.gather_rows(cache, rows, 7, CONFIG)
  part = jax.tree.map(lambda leaf: -leaf - 1, part)
  after = cache_lib.put_rows(cache, part, rows, CONFIG)
  axes = jax.tree.leaves(cache_lib.position_axes(CONFIG))
  for old, new, axis in zip(
    jax.tree.leaves(cache), jax.tree.leaves(after), axes, strict=True
  ):
    for slot in range(5):
      for position in range(12):
        was, now = at(old, axis, slot, position), at(new, axis, slot, position)
        changed = slot == 3 and position < 7
        np.testing.assert_array_equal(now, -was - 1 if changed else was)


def test_allocated_leaves_own_their_buffers():
  cache = cache_lib.allocate(CONFIG, num_slots=2, max_len=8)
  leaves = jax.tree.leaves(cache)
  assert len({leaf.unsafe_buffer_pointer() for leaf in leaves}) == len(leaves)
  assert sum(leaf.nbytes for leaf in leaves) == cache_lib.cache_bytes(
    CONFIG, num_slots=2, max_len=8
  )
