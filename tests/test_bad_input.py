"""What cannot work ends before weights are read or programs compiled, and says why."""

import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import textwrap

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from skilljax import assembly, config, folders, preflight
from skilljax.config import ConfigError
from skilljax.data.tokenizer import train_tokenizer
from skilljax.models.transformer import init_params
from skilljax.runs import cold_start, evaluation, players, training
from skilljax.settings import read_settings
from tests.agents import checkpoints
from tests.test_runs import HOUSEHOLD, settings_of

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"


@pytest.fixture(scope="module")
def settings(repo_root):
  return settings_of(HOUSEHOLD, repo_root)


@pytest.fixture(scope="module")
def untrained(settings, tmp_path_factory) -> pathlib.Path:
  """A policy of the right shape."""
  folder = tmp_path_factory.mktemp("policy")
  tokenizer = train_tokenizer(checkpoints.TEXTS, vocab_size=settings.model.vocab_size)
  params = init_params(jax.random.key(0), settings.model)
  cold_start.write_policy(folder, settings.model, params, tokenizer)
  return folder


@pytest.fixture
def policy(untrained, tmp_path, monkeypatch) -> pathlib.Path:
  """A copy to be damaged; whoever goes on to read its weights fails the test."""

  def read(*_, **__):
    pytest.fail("weights were read")

  monkeypatch.setattr(assembly, "load_checkpoint", read)
  monkeypatch.setattr(assembly, "make_pool", read)
  return shutil.copytree(untrained, tmp_path / "policy")


def edit(path, **changes):
  content = json.loads(path.read_text())
  path.write_text(json.dumps({**content, **changes}))


def refuse(settings, policy, said):
  """Training and evaluation both end with a message; neither leaves a folder behind."""
  folder = policy.parent / "run"
  for run in (training.run, evaluation.run):
    with pytest.raises(ConfigError, match=said):
      run(settings, policy, folder)
  assert not folder.exists()


@pytest.mark.parametrize(
  ("changes", "said"),
  [
    ({"architectures": ["GPTNeoXForCausalLM"]}, r"GPTNeoX.*Qwen3ForCausalLM"),
    ({"architectures": []}, "architectures"),
    ({"architectures": None, "model_type": "gpt2"}, "architectures|gpt2"),
    ({"hidden_size": "large"}, r"config\.json: .*large"),
    ({"num_hidden_layers": -1}, r"config\.json: .*-1"),
    ({"vocab_size": None}, "lacks vocab_size"),
    ({"rope_parameters": 7}, r"config\.json"),
    ({"rope_parameters": {"rope_type": "dynamic"}}, r"rope_type='dynamic'"),
    ({"vocab_size": 200}, r"tokenizer has \d+ ids, and vocab_size=200"),
    ({"max_position_embeddings": 64}, r"engine\.max_len=\d+ must be <= 64"),
  ],
)
def test_a_model_that_is_not_supported(settings, policy, changes, said):
  edit(policy / "config.json", **changes)
  refuse(settings, policy, said)


@pytest.mark.parametrize("text", ["", "{", "[]", "7", "null", '"x"'])
def test_a_config_json_that_is_none(settings, policy, text):
  (policy / "config.json").write_text(text)
  refuse(settings, policy, r"policy .*config\.json")


def test_tensors_that_are_missing_extra_or_of_another_shape_are_all_listed(
  settings, policy
):
  tensors = load_file(policy / WEIGHTS)
  del tensors["model.norm.weight"]
  tensors["model.layers.9.mlp.up_proj.weight"] = np.zeros((2, 2), np.float32)
  name = "model.layers.0.self_attn.q_proj.weight"
  tensors[name] = np.ascontiguousarray(tensors[name][:-1])
  save_file(tensors, policy / WEIGHTS)
  refuse(
    settings,
    policy,
    r"(?s)missing: model\.norm\.weight\n"
    r".*not expected: model\.layers\.9\.mlp\.up_proj\.weight\n"
    r".*shape \(\d+, \d+\), must be \(\d+, \d+\): model\.layers\.0\.self_attn\.q_proj",
  )


def _header(change):
  """Rewrites the header of a file."""

  def damage(policy):
    data = (policy / WEIGHTS).read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    entry = header["model.norm.weight"]
    change(entry)
    text = json.dumps(header).encode()
    rest = data[8 + length :]
    (policy / WEIGHTS).write_bytes(len(text).to_bytes(8, "little") + text + rest)

  return damage


def _cut(policy):
  data = (policy / WEIGHTS).read_bytes()
  (policy / WEIGHTS).write_bytes(data[: len(data) // 2])


def _index(weight_map):
  return lambda policy: (policy / INDEX).write_text(json.dumps(weight_map))


DAMAGES = {
  "cut": (_cut, r"model\.safetensors is truncated: it has \d+ bytes"),
  "empty": (lambda p: (p / WEIGHTS).write_bytes(b""), "is damaged"),
  "noise": (lambda p: (p / WEIGHTS).write_bytes(b"\x90" * 999), "is damaged"),
  "folder": (lambda p: ((p / WEIGHTS).unlink(), (p / WEIGHTS).mkdir()), "neither model"),
  "gone": (lambda p: (p / WEIGHTS).unlink(), "has neither model.safetensors nor"),
  "type": (_header(lambda e: e.update(dtype="F8_E4M3")), "F8_E4M3"),
  "types": (_header(lambda e: e.update(dtype=["F32"])), "is damaged"),
  "sign": (_header(lambda e: e.update(shape=[-1, -e["shape"][0]])), "integers >= 0"),
  "words": (_header(lambda e: e.update(shape=["x"])), "is damaged"),
  "offset": (_header(lambda e: e.update(data_offsets=[-8, 4])), "integers >= 0"),
  "index": (_index({"weight_map": {"a": "b.safetensors"}}), r"lacks b\.safetensors, "),
  "outside": (_index({"weight_map": {"a": "../b.safetensors"}}), "same folder"),
  "number": (_index({"weight_map": {"a": 7}}), "damaged"),
  "list": (_index([1]), r"index\.json is damaged"),
  "half": (lambda p: (p / INDEX).write_text('{"weight'), r"index\.json is damaged"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_damaged_weights(settings, policy, name):
  damage, said = DAMAGES[name]
  damage(policy)
  refuse(settings, policy, said)


def test_a_tokenizer_of_another_model(settings, policy):
  backend = checkpoints.byte_level(
    [f"<|x{i}|>" for i in range(settings.model.vocab_size)]
  )
  checkpoints.write(policy, backend, eos_token="<|x0|>")
  refuse(settings, policy, r"its tokenizer has \d+ ids, and vocab_size=576")


def test_a_smaller_tokenizer_of_another_kind_names_the_chat(settings, policy):
  checkpoints.published(policy, "qwen2.5")
  refuse(settings, policy, r"agent\.chat='compact' does not fit .*one of compact, chatml")


def test_no_template_in_the_folder(repo_root, policy):
  settings = settings_of(HOUSEHOLD, repo_root, {"agent.chat": "checkpoint"})
  refuse(settings, policy, r"has no chat template .*; set agent\.chat='compact', ")
  with pytest.raises(ConfigError, match=r"'checkpoint' must be 'compact' for a cold"):
    cold_start.run(settings, policy.parent / "cold")


@pytest.mark.parametrize("command", ["sft", "train", "evaluate", "player"])
@pytest.mark.parametrize(
  ("place", "said"),
  [
    ("gs://bucket/run", "--workdir=gs:/.*address of a bucket.*mount"),
    ("file", "file is in the way"),
    ("file/run", "file is in the way"),
    ("/proc/run", "--workdir=/proc/run cannot be written"),
    ("taken", r"--workdir=.*/taken"),
  ],
)
def test_a_folder_that_cannot_be_written(settings, policy, command, place, said):
  root = policy.parent
  (root / "file").write_text("")
  (root / "taken").mkdir()
  for name in ("policy", "banks", "checkpoints"):
    (root / "taken" / name).write_text("")
  folder = place if "//" in place or place[0] == "/" else root / place
  start = {
    "sft": lambda: cold_start.run(settings, folder),
    "train": lambda: training.run(settings, policy, folder),
    "evaluate": lambda: evaluation.run(settings, policy, folder),
    "player": lambda: players.run(settings, "expert", folder),
  }
  with pytest.raises(ConfigError, match=said):
    start[command]()
  assert not pathlib.Path("gs:").exists()


def test_a_folder_without_a_name(settings, policy, tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  with pytest.raises(ConfigError, match="--workdir is empty; it must name a folder"):
    evaluation.run(settings, policy, "")
  assert not list(tmp_path.glob("*.json"))


@pytest.mark.parametrize(
  ("path", "overrides", "said"),
  [
    (
      "alfworld_scratch",
      {"env.human_goals": "yes"},
      "env.human_goals = 'yes' has ty",
    ),
    ("webshop_scratch", {"env.price_seed": 1.5}, "env.price_seed = 1.5 has type float"),
    ("household", {"eval.temperature": float("nan")}, "temperature = nan must be a fin"),
  ],
)
def test_values_of_another_type(repo_root, path, overrides, said):
  section = config.load(str(repo_root / f"configs/{path}.py"))
  with section.unlocked(), section.ignore_type():
    section.update_from_flattened_dict(overrides)
  with pytest.raises(ConfigError, match=said):
    read_settings(section)


def test_environments_that_cannot_be_built(repo_root):
  overrides = {"env.games": ("coin",), "env.params": ("coin:nope=4",)}
  settings = settings_of(
    "configs/textworld_express.py", repo_root, {**overrides, "pool.num_workers": 0}
  )
  with pytest.raises(ConfigError, match=r"\(environment 'textworld_express'\)"):
    assembly.make_pool(settings)


def test_files_in_the_way(tmp_path, monkeypatch):
  (tmp_path / "config.json").mkdir()
  with pytest.raises(ConfigError, match=r"config\.json is a folder"):
    folders.check_writable(tmp_path, files=("config.json",))
  (tmp_path / "link").symlink_to(tmp_path / "nowhere")
  with pytest.raises(ConfigError, match="link is in the way"):
    folders.check_writable(tmp_path / "link" / "run")
  folders.check_writable(tmp_path / "new" / "run", folders=("a",), files=("b",))
  assert sorted(p.name for p in tmp_path.iterdir()) == ["config.json", "link"]

  def refuse(*_):
    raise PermissionError(13, "Permission denied")

  monkeypatch.setattr(pathlib.Path, "write_text", refuse)
  with pytest.raises(ConfigError, match=r"cannot be written: Permission denied"):
    folders.check_writable(tmp_path / "new")
  assert sorted(p.name for p in tmp_path.iterdir()) == ["config.json", "link"]


def test_a_mount_that_cannot_rename_what_a_checkpoint_renames(tmp_path, monkeypatch):
  """gcsfuse renames empty folders and files of any bucket, and says EMFILE of others."""
  rename = pathlib.Path.rename

  def as_gcsfuse(self, target):
    if self.is_dir() and list(self.iterdir()):
      raise OSError(24, "Too many open files")
    return rename(self, target)

  monkeypatch.setattr(pathlib.Path, "rename", as_gcsfuse)
  said = r"--workdir=.*/run: Too many open files where .*namespace.*--rename-dir-limit"
  with pytest.raises(ConfigError, match=said):
    folders.check_writable(tmp_path / "run", folders=("checkpoints",))
  assert list(tmp_path.iterdir()) == []


def test_a_bucket_is_no_policy_and_no_banks(settings, policy):
  with pytest.raises(ConfigError, match=r"policy=gs:/.*address of a bucket"):
    training.run(settings, "gs://bucket/policy", policy.parent / "run")
  for banks in ("gs://bucket/banks", policy.parent / "nowhere"):
    with pytest.raises(ConfigError, match="--banks="):
      evaluation.run(settings, policy, policy.parent / "run", banks_folder=banks)


MESHES = """
  import sys
  from skilljax import config, preflight
  from skilljax.runs import cold_start
  from skilljax.settings import read_settings
  for overrides in eval(sys.argv[2]):
    settings = config.load("configs/household.py:debug")
    with settings.unlocked():
      settings.engine.num_lanes, settings.engine.num_slots = 1, 8
      settings.learner.rows_per_batch = settings.sft.rows_per_batch = 8
      for key, value in overrides.items():
        section, name = key.split(".")
        if section not in settings:
          settings[section] = {}
        settings[section][name] = value
    settings = read_settings(settings)
    for check in (
      lambda: preflight.check_policy(settings, sys.argv[1], trained=True),
      lambda: cold_start.check(settings),
    ):
      try:
        check()
        print("fits")
      except config.ConfigError as error:
        print(str(error).replace(chr(10), " "))
"""
SAMPLER = "this is the sampler's mesh"
BAD_MESHES = (
  # Overrides, what training says, what a cold start says.
  ({"mesh.data": 9}, "mesh data=9 .*needs 9 devices, there are 8 .*mesh.data", "needs 9"),
  ({"engine_mesh.tensor": 16}, "engine_mesh .*needs 16 .*engine_mesh.tensor", "fits"),
  ({"mesh.tensor": 3}, "^mesh.tensor=3 must divide model", "mesh.tensor=3 must"),
  ({"mesh.tensor": 8}, "^mesh.tensor=8 must divide model.num", "mesh.tensor=8 must"),
  ({"engine_mesh.tensor": 8}, f"must divide model.num.*{SAMPLER}", "fits"),
  ({"mesh.data": 3, "engine_mesh.data": 2}, "learner.rows_per_batch=8", "sft.rows_per_b"),
  ({"engine_mesh.data": 3}, "engine.num_slots=8 must be divided by data=3", "fits"),
  ({"engine_mesh.data": 2, "engine.num_lanes": 2}, "engine.num_lanes=2", "fits"),
  ({"mesh.data": 2, "engine_mesh.data": 2}, "fits", "fits"),
)


def test_meshes_that_do_not_fit(repo_root, untrained):
  done = subprocess.run(
    [
      *(sys.executable, "-c", textwrap.dedent(MESHES)),
      *(str(untrained), repr([overrides for overrides, *_ in BAD_MESHES])),
    ],
    cwd=repo_root,
    env={**os.environ, "JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": "8"},
    capture_output=True,
    text=True,
    check=False,
  )
  lines = done.stdout.splitlines()
  assert len(lines) == 2 * len(BAD_MESHES), done.stderr
  said = [text for _, *both in BAD_MESHES for text in both]
  for line, expected in zip(lines, said, strict=True):
    assert re.search(expected, line), (expected, line)


def test_a_good_policy_passes(settings, untrained):
  preflight.check_policy(settings, untrained, trained=True)
