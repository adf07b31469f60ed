import functools
import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from skilljax import checkpoint as checkpoint_lib

HOST = {"bank": ["s1", {"title": "é"}], "step": 3, "third": 1 / 3, "big": 2**60}


def make_arrays():
  params = {"w": jnp.linspace(-1, 1, 6).reshape(2, 3), "b": jnp.ones(3, jnp.bfloat16) / 3}
  return {
    "params": params,
    "opt_state": optax.adamw(1e-3).init(params),
    "key": jax.random.key(7),
    "keys": jax.random.split(jax.random.key(1), 3),
    "raw_key": jax.random.key_data(jax.random.key(2)),
    "layers": (jnp.zeros((2,), jnp.int8), jnp.array(True)),
    "tokens": np.arange(5, dtype=np.int64),
    "scores": np.array([np.nan, -0.0, 1e-300]),
    "empty": np.zeros((0, 4), np.float32),
    "nothing": None,
  }


def as_bits(leaf):
  if isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
    leaf = jax.random.key_data(leaf)
  return (leaf.shape, str(leaf.dtype), np.asarray(leaf).tobytes())


def assert_same_bits(actual, expected):
  assert jax.tree.structure(actual) == jax.tree.structure(expected)
  for got, want in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
    assert as_bits(got) == as_bits(want)


@pytest.fixture
def opened(tmp_path):
  checkpointer = checkpoint_lib.Checkpointer(tmp_path / "run", keep=2)
  yield checkpointer
  checkpointer.close()


def test_round_trip_is_bit_exact(opened):
  arrays = make_arrays()
  opened.save(3, arrays, HOST)
  restored, host = opened.restore(like=make_arrays())
  assert_same_bits(restored, arrays)
  assert host == HOST
  assert jax.random.uniform(restored["key"]) == jax.random.uniform(arrays["key"])


def test_caller_may_reuse_arrays_at_once(opened):
  arrays = {"n": np.zeros(100_000), "x": jnp.zeros(100_000)}
  host = {"list": [1]}
  opened.save(1, arrays, host)
  arrays["n"][:] = 9.0
  jax.jit(lambda x: x + 1, donate_argnums=0)(arrays["x"]).block_until_ready()
  host["list"].append(2)
  like = {"n": np.zeros(100_000), "x": jax.ShapeDtypeStruct((100_000,), jnp.float32)}
  restored, host = opened.restore(like=like)
  assert not restored["n"].any() and not np.asarray(restored["x"]).any()
  assert host == {"list": [1]}


def test_keeps_the_newest_and_restores_by_number(opened):
  for step in (1, 2, 3):
    opened.save(step, {"x": jnp.full((2,), step)}, {"step": step})
  opened.wait()
  like = {"x": jax.ShapeDtypeStruct((2,), jnp.int32)}
  assert opened.latest_step() == 3
  assert opened.restore(like, step=2)[1] == {"step": 2}
  with pytest.raises(checkpoint_lib.CheckpointError, match=r"step 1; .*\[2, 3\]"):
    opened.restore(like, step=1)
  with pytest.raises(checkpoint_lib.CheckpointError, match="not newer than"):
    opened.save(3, {"x": jnp.zeros(2)}, {})


def test_an_empty_folder_has_no_step(opened):
  assert opened.latest_step() is None
  with pytest.raises(checkpoint_lib.CheckpointError, match="no checkpoint"):
    opened.restore({})


def test_every_mismatch_is_listed(opened):
  opened.save(1, {"a": jnp.zeros((2, 3)), "b": jnp.zeros(1), "old": jnp.zeros(1)}, {})
  like = {"a": jnp.zeros((3, 2)), "b": jnp.zeros(1, jnp.int32), "new": jnp.zeros(4)}
  with pytest.raises(checkpoint_lib.CheckpointError) as error:
    opened.restore(like)
  text = str(error.value)
  assert "step 1" in text and "4 array(s)" in text
  assert "['a']: saved float32[2, 3], this run needs float32[3, 2]" in text
  assert "['b']: saved float32[1], this run needs int32[1]" in text
  assert "['old']: saved float32[1], not part of this run" in text
  assert "['new']: this run needs float32[4], not saved" in text


@pytest.mark.parametrize(
  "host", [{"a": (1, 2)}, {"a": {1: 2}}, {"a": float("nan")}, {"a": np.float32(1)}]
)
def test_host_state_must_be_plain_json(opened, host):
  with pytest.raises(checkpoint_lib.CheckpointError, match="host state"):
    opened.save(1, {}, host)


def test_a_bare_number_is_not_an_array(opened):
  with pytest.raises(checkpoint_lib.CheckpointError, match=r"arrays\['n'\] = 3 is a int"):
    opened.save(1, {"n": 3}, {})


def damage(folder):
  """Flips one byte in the middle of the largest file; returns its path."""
  files = [os.path.join(top, name) for top, _, names in os.walk(folder) for name in names]
  path = max(files, key=os.path.getsize)
  with open(path, "r+b") as file:
    file.seek(os.path.getsize(path) // 2)
    byte = file.read(1)
    file.seek(-1, os.SEEK_CUR)
    file.write(bytes([byte[0] ^ 0xFF]))
  return path


@pytest.mark.parametrize("item", ["arrays", "host"])
def test_a_damaged_step_is_an_error_not_an_older_step(tmp_path, item):
  arrays = {"w": np.random.default_rng(0).normal(size=5_000)}
  checkpointer = checkpoint_lib.Checkpointer(tmp_path, keep=2)
  for step in (1, 2):
    checkpointer.save(step, arrays, {"step": step, "bank": ["skill"] * 200})
  checkpointer.close()
  damage(tmp_path / "2" / item)
  checkpointer = checkpoint_lib.Checkpointer(tmp_path, keep=2)
  with pytest.raises(checkpoint_lib.CheckpointError, match=rf"{tmp_path}, step 2"):
    checkpointer.restore(arrays)
  assert checkpointer.restore(arrays, step=1)[1]["step"] == 1
  checkpointer.close()


def test_changed_host_state_is_damage_even_where_it_is_valid_json(tmp_path):
  checkpointer = checkpoint_lib.Checkpointer(tmp_path)
  checkpointer.save(1, {"x": jnp.zeros(1)}, {"bank": ["skill"]})
  checkpointer.close()
  path = tmp_path / "1" / "host" / "metadata"
  text = path.read_text()
  assert text.count("skill") == 1
  path.write_text(text.replace("skill", "skull"))
  checkpointer = checkpoint_lib.Checkpointer(tmp_path)
  with pytest.raises(checkpoint_lib.CheckpointError, match="step 1: the host state is"):
    checkpointer.restore({"x": jnp.zeros(1)})
  checkpointer.close()


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "int8", "bool"])
@pytest.mark.parametrize("shape", [(), (7,), (3, 4), (2, 3, 5)])
def test_checksum_is_the_same_on_host_and_device_and_sees_every_bit(dtype, shape):
  rng = np.random.default_rng(0)
  array = np.asarray(jnp.asarray(rng.integers(0, 2, shape), dtype))
  total, again = checkpoint_lib.checksums([array, jnp.asarray(array)])
  assert total == again
  bits = np.unpackbits(array.reshape(-1).view(np.uint8))
  for place in range(len(bits)):
    flipped = bits.copy()
    flipped[place] ^= 1
    changed = np.packbits(flipped).view(array.dtype).reshape(shape)
    assert checkpoint_lib.checksums([changed]) != [total], place


def test_checksum_sees_order_and_wide_types():
  array = np.arange(24.0).reshape(2, 3, 4)  # float64
  orders = (array, array[::-1], array[:, ::-1], array[..., ::-1], array + 1e-300)
  assert len(set(checkpoint_lib.checksums(orders))) == len(orders)


def test_a_kill_in_the_middle_of_a_save_leaves_the_previous_step(tmp_path, repo_root):
  script = f"""
    import os, signal
    import numpy as np
    from skilljax import checkpoint
    saver = checkpoint.Checkpointer({str(tmp_path)!r}, keep=1)
    saver.save(1, {{"w": np.arange(4.0)}}, {{"step": 1}})
    saver.wait()
    saver.save(3, {{"w": np.random.default_rng(0).normal(size=8_000_000)}}, {{"step": 3}})
    while not any("tmp" in name for name in os.listdir({str(tmp_path)!r})):
      pass  # the writer is in the background and begins when it likes
    os.kill(os.getpid(), signal.SIGKILL)
  """
  done = subprocess.run(
    [sys.executable, "-c", textwrap.dedent(script)],
    cwd=repo_root,
    env=os.environ | {"PYTHONPATH": str(repo_root)},
    timeout=120,
  )
  assert done.returncode == -signal.SIGKILL
  assert [name for name in os.listdir(tmp_path) if "tmp" in name], "not in the middle"
  opened = shutil.copytree(tmp_path, tmp_path.with_name("opened"))
  _expect_only_step_1_after_opening(opened)
  checkpointer = checkpoint_lib.Checkpointer(tmp_path, keep=1)
  assert checkpointer.latest_step() == 1
  arrays, host = checkpointer.restore({"w": np.zeros(4)})
  assert host == {"step": 1} and arrays["w"].tolist() == [0.0, 1.0, 2.0, 3.0]
  checkpointer.save(2, {"w": np.ones(4)}, {"step": 2})
  checkpointer.wait()
  assert os.listdir(tmp_path) == ["2"], "no save begins beside what a kill left"
  checkpointer.save(3, {"w": np.full(4, 2.0)}, {"step": 3})
  checkpointer.wait()
  arrays, host = checkpointer.restore({"w": np.zeros(4)})
  assert host == {"step": 3} and arrays["w"].tolist() == [2.0] * 4
  checkpointer.close()


def _expect_only_step_1_after_opening(folder):
  checkpointer = checkpoint_lib.Checkpointer(folder)
  end = time.monotonic() + 30
  while os.listdir(folder) != ["1"] and time.monotonic() < end:
    time.sleep(0.01)
  assert os.listdir(folder) == ["1"], "what the kill left is cleaned up without a save"
  checkpointer.close()


def test_restores_on_another_mesh(tmp_path, repo_root):
  """Saved on 8 devices, restored on 4 and on 1, with the sharding that is asked for."""
  script = f"""
    import jax, jax.numpy as jnp, numpy as np
    from jax.sharding import Mesh, NamedSharding, PartitionSpec as P
    from skilljax import checkpoint
    saver = checkpoint.Checkpointer({str(tmp_path)!r})
    w = jnp.arange(64.0).reshape(8, 8)
    def on(count):
      mesh = Mesh(np.array(jax.devices()[:count]), ("fsdp",))
      return NamedSharding(mesh, P("fsdp"))
    saver.save(1, {{"w": jax.device_put(w, on(8))}}, {{}})
    for count in (4, 1):
      like = {{"w": jax.ShapeDtypeStruct(w.shape, w.dtype, sharding=on(count))}}
      (arrays, _) = saver.restore(like)
      assert arrays["w"].sharding == on(count), arrays["w"].sharding
      assert (np.asarray(arrays["w"]) == np.asarray(w)).all()
    saver.close()
  """
  subprocess.run(
    [sys.executable, "-c", textwrap.dedent(script)],
    cwd=repo_root,
    env=os.environ | {"PYTHONPATH": str(repo_root), "JAX_NUM_CPU_DEVICES": "8"},
    timeout=120,
    check=True,
  )


def test_run_stamp_names_versions_and_survives_a_missing_git(monkeypatch):
  stamp = checkpoint_lib.run_stamp()
  assert stamp["versions"]["jax"] == jax.__version__
  assert json.loads(json.dumps(stamp)) == stamp
  monkeypatch.setenv("PATH", "")
  monkeypatch.setattr(
    checkpoint_lib, "code_commit", checkpoint_lib.code_commit.__wrapped__
  )
  assert checkpoint_lib.run_stamp()["git_commit"] == "unknown"


def test_another_checkout_during_a_run_does_not_change_its_stamp(monkeypatch):
  now = {"rev-parse": "abc", "status": ""}
  monkeypatch.setattr(checkpoint_lib, "git_answer", lambda _, name, *rest: now[name])
  commit = functools.cache(checkpoint_lib.code_commit.__wrapped__)
  monkeypatch.setattr(checkpoint_lib, "code_commit", commit)
  assert checkpoint_lib.run_stamp()["git_commit"] == "abc"
  now |= {"rev-parse": "def", "status": " M setup.py"}
  assert checkpoint_lib.run_stamp()["git_commit"] == "abc"
  commit.cache_clear()
  assert checkpoint_lib.run_stamp()["git_commit"] == "def+changes"


@pytest.mark.slow  # writes 4 GB
def test_a_save_of_two_gigabytes_blocks_for_half_a_second_at_most(tmp_path):
  keys = jax.random.split(jax.random.key(0), 20)
  state = {
    f"w{i}": jax.random.normal(key, (24, 1024, 1024)) for i, key in enumerate(keys)
  }
  jax.block_until_ready(state)
  assert sum(leaf.nbytes for leaf in state.values()) > 2e9
  checkpointer = checkpoint_lib.Checkpointer(tmp_path, keep=1)
  checkpointer.save(1, state, {})  # compiles the checksums
  checkpointer.wait()
  begin = time.perf_counter()
  checkpointer.save(2, state, {})
  blocked = time.perf_counter() - begin
  checkpointer.close()
  print(f"blocked for {blocked:.2f} s")
  assert blocked <= 0.5
