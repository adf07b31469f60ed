"""The policy of a run, and its adapters, as files that other programs load."""

import json
import pathlib
import subprocess
import sys

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file

from skilljax import assembly, train
from skilljax.checkpoint import Checkpointer, CheckpointError
from skilljax.config import ConfigError
from skilljax.learner import Learner
from skilljax.models import lora
from skilljax.models.hf_io import load_checkpoint
from skilljax.runs import export, training
from skilljax.runs.origin import Origin
from tests.agents import checkpoints
from tests.test_runs import settings_of

CONFIG = "configs/alfworld_qwen25_7b.py:debug"
STEPS = (2, 3)


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> pathlib.Path:
  return checkpoints.tiny_qwen2(tmp_path_factory.mktemp("base"))


def write_run(folder, settings, base):
  """A run that was killed: checkpoints of steps 2 and 3, the third save cut short.

  Returns:
    Step -> parameters.
  """
  policy = assembly.load_policy(base, numerics=settings.numerics)
  policy = assembly.add_adapters(policy, settings)
  learner = Learner(policy.model, settings.learner, settings.loss)
  checkpointer = Checkpointer(folder / "checkpoints")
  origin, saved = Origin(policy.tokenizer.fingerprint), {}
  for step in STEPS:
    trained, frozen = lora.split(policy.params)
    moved = jax.tree.map(lambda a, n=step: (a + 0.01 * n).astype(a.dtype), trained)
    saved[step] = {**frozen, **moved}
    state = train.LoopState(update=step, train=learner.init(saved[step]), banks={})
    checkpointer.save(step, state.train, training.host_state(state, settings, origin))
  checkpointer.close()
  (folder / "checkpoints" / "4.orbax-checkpoint-tmp").mkdir()
  return policy.model, saved


@pytest.fixture(scope="module")
def settings(repo_root):
  return settings_of(f"{CONFIG},on=v5e_16", repo_root, {"lora.rank": 4})


@pytest.fixture(scope="module")
def adapted(settings, base, tmp_path_factory):
  """(folder of a run with adapters, model, step -> parameters)."""
  folder = tmp_path_factory.mktemp("adapted")
  return folder, *write_run(folder, settings, base)


def close(found, wanted, atol):
  assert jax.tree.structure(found) == jax.tree.structure(wanted)
  for path, leaf in jax.tree_util.tree_leaves_with_path(wanted):
    other = dict(jax.tree_util.tree_leaves_with_path(found))[path]
    np.testing.assert_allclose(
      np.asarray(other, np.float32), np.asarray(leaf, np.float32), atol=atol
    )


@pytest.mark.parametrize("step", [2, None])
def test_a_step_of_an_unfinished_run_is_an_ordinary_policy(adapted, base, tmp_path, step):
  folder, model, saved = adapted
  out = export.run(folder, tmp_path, policy=base, step=step, dtype="float32")
  found, params = load_checkpoint(out)
  assert found.lora is None and found.num_layers == model.num_layers
  wanted = lora.merge(saved[step or STEPS[-1]], model.lora, dtype="float32")
  close(params, wanted, atol=1e-7)
  # The merge is not rounded to the type of the weights below it.
  rounded = wanted["layers"]["wq"].astype("bfloat16").astype(np.float32)
  assert float(np.abs(rounded - wanted["layers"]["wq"]).max()) > 1e-4
  assert (
    assembly.open_policy(out)[1].fingerprint == assembly.open_policy(base)[1].fingerprint
  )
  # A save under way is none of ours.
  assert (folder / "checkpoints" / "4.orbax-checkpoint-tmp").is_dir()


@pytest.mark.parametrize("dtype", ["bfloat16", None])
def test_the_type_is_chosen_or_stays(adapted, base, tmp_path, dtype):
  folder, model, saved = adapted
  export.run(folder, tmp_path, policy=base, step=3, dtype=dtype)
  stored = load_file(tmp_path / "model.safetensors")
  assert {str(a.dtype) for a in stored.values()} == {"bfloat16"}
  assert json.loads((tmp_path / "config.json").read_text())["dtype"] == "bfloat16"
  _, params = load_checkpoint(tmp_path)
  close(params, lora.merge(saved[3], model.lora), atol=0)


ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")
MODULES = {
  **{f"self_attn.{name}": name for name in ATTENTION},
  **{f"mlp.{name}": name for name in ("gate_proj", "up_proj", "down_proj")},
}


def test_adapters_are_named_and_turned_as_peft_has_them(adapted, base, tmp_path):
  folder, model, _ = adapted
  export.run(folder, tmp_path, policy=base, step=2, adapters=True)
  told = json.loads((tmp_path / "adapter_config.json").read_text())
  assert told["peft_type"] == "LORA" and told["task_type"] == "CAUSAL_LM"
  assert (told["r"], told["lora_alpha"]) == (4, model.lora.alpha)
  assert told["target_modules"] == sorted(MODULES.values())
  assert told["base_model_name_or_path"] == str(base)
  stored = load_file(tmp_path / "adapter_model.safetensors")
  assert set(stored) == {
    f"base_model.model.model.layers.{layer}.{module}.lora_{part}.weight"
    for layer in (0, 1)
    for module in MODULES
    for part in "AB"
  }
  first = "base_model.model.model.layers.1.mlp.down_proj.lora_"
  assert stored[f"{first}A.weight"].shape == (4, 64)  # [rank, inputs]
  assert stored[f"{first}B.weight"].shape == (32, 4)  # [outputs, rank]
  assert stored[f"{first}A.weight"].dtype == np.float32
  # What peft computes from both folders is the merged policy.
  merged = tmp_path / "merged"
  export.run(folder, merged, policy=base, step=2, dtype="float32")
  merged, below = (
    load_file(merged / "model.safetensors"),
    load_file(base / "model.safetensors"),
  )
  for layer in (0, 1):
    for module in MODULES:
      name = f"model.layers.{layer}.{module}"
      a, b = (stored[f"base_model.model.{name}.lora_{part}.weight"] for part in "AB")
      weight = below[f"{name}.weight"].astype(np.float32)
      np.testing.assert_allclose(
        merged[f"{name}.weight"], weight + model.lora.alpha / 4 * b @ a, atol=1e-6
      )


def test_without_adapters_the_weights_are_what_was_trained(repo_root, base, tmp_path):
  plain = settings_of(f"{CONFIG},on=gpu_8", repo_root)
  _, saved = write_run(tmp_path / "run", plain, base)
  out = export.run(tmp_path / "run", tmp_path / "out", policy=base, step=2)
  close(load_checkpoint(out)[1], saved[2], atol=0)
  with pytest.raises(ConfigError, match=r"--adapters: this run trains the weights"):
    export.run(tmp_path / "run", tmp_path / "a", policy=base, adapters=True)


def test_a_finished_policy_is_written_in_another_type(base, tmp_path):
  finished = tmp_path / "run" / "policy"
  finished.parent.mkdir()
  finished.symlink_to(base)
  for dtype, found in (("float32", "float32"), (None, "bfloat16")):
    out = export.run(tmp_path / "run", tmp_path / str(dtype), dtype=dtype)
    stored = load_file(out / "model.safetensors")
    assert {str(a.dtype) for a in stored.values()} == {found}
    close(load_checkpoint(out)[1], load_checkpoint(base)[1], atol=0)
  with pytest.raises(ConfigError, match=r"--out=.* is what is exported"):
    export.run(tmp_path / "run", finished)


def test_what_cannot_be_exported_says_what_to_give(adapted, base, tmp_path):
  folder = adapted[0]
  with pytest.raises(ConfigError, match=r"--policy is missing: this run is not finished"):
    export.run(folder, tmp_path / "out")
  with pytest.raises(ConfigError, match=r"--policy is missing: adapters need their base"):
    export.run(folder, tmp_path / "out", adapters=True)
  with pytest.raises(CheckpointError, match=r"no checkpoint of step 9; .* \[2, 3\]"):
    export.run(folder, tmp_path / "out", policy=base, step=9)
  with pytest.raises(CheckpointError, match=r"no checkpoint; complete steps: \[\]"):
    export.run(tmp_path, tmp_path / "out", policy=base)
  another = checkpoints.tiny_qwen2(tmp_path / "another", seed=1)
  with pytest.raises(ConfigError, match=r"another is not the base .*: 8 of 14 arrays"):
    export.run(folder, tmp_path / "out", policy=another, adapters=True)
  foreign = checkpoints.published(tmp_path / "foreign", "qwen2.5")
  for name in ("config.json", "model.safetensors"):
    (foreign / name).write_bytes((base / name).read_bytes())
  with pytest.raises(ConfigError, match=r"foreign has tokenizer .* the run's is"):
    export.run(folder, tmp_path / "out", policy=foreign)
  assert not (tmp_path / "out").exists()


def test_a_damaged_array_is_no_policy(adapted, base, tmp_path):
  folder = adapted[0]
  unit = export.SavedStep(folder / "checkpoints", 2)
  name = ".params['layers']['wq']"
  unit.manifest[name]["sum32"] += 1
  like = {"layers": {"wq": jax.ShapeDtypeStruct((2, 32, 4, 8), np.float32)}}
  with pytest.raises(CheckpointError, match=r"\['wq'\] is damaged"):
    unit.arrays("params", like)
  like["layers"]["wx"] = like["layers"]["wq"]
  with pytest.raises(CheckpointError, match=r"\['wx'\] is missing"):
    unit.arrays("params", like)


def test_the_command(base, repo_root, tmp_path):
  (tmp_path / "run").mkdir()
  (tmp_path / "run" / "policy").symlink_to(base)

  def call(*flags):
    return subprocess.run(
      [sys.executable, "-m", "experiments.export", f"--workdir={tmp_path}/run", *flags],
      cwd=repo_root,
      capture_output=True,
      text=True,
    )

  done = call(f"--out={tmp_path}/out", "--dtype=float32")
  assert done.stdout == f"policy: {tmp_path}/out\n", done.stderr
  assert (
    "config error: --policy is missing"
    in call(f"--out={tmp_path}/other", "--adapters").stderr
  )
