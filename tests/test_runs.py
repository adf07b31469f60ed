"""Whole runs of the debug variants: cold start, training, evaluation, kill and resume."""

import dataclasses
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pytest

from experiments.bench import engine as bench_engine
from skilljax import assembly, config
from skilljax.agents.parse import format_edit
from skilljax.models.lora import LoraSettings
from skilljax.runs import cold_start, demo, training
from skilljax.settings import Settings, read_settings
from skilljax.skills import store
from skilljax.skills.bank import GENERAL, from_skills
from skilljax.types import Edit, Skill
from tests.agents.stub_endpoint import completion, serve

HOUSEHOLD = "configs/household.py:debug"
RESULTS = ("metrics.jsonl", "edits.jsonl", "commits.jsonl", "policy/model.safetensors")


def settings_of(path: str, repo_root: pathlib.Path, overrides=None) -> Settings:
  return read_settings(config.load(str(repo_root / path), overrides))


@pytest.fixture(scope="module")
def root() -> pathlib.Path:
  return pathlib.Path(__file__).parents[1]


@pytest.fixture(scope="module")
def cold_policy(tmp_path_factory, root) -> pathlib.Path:
  """The cold start of the debug variant; most tests here begin with it."""
  return cold_start.run(settings_of(HOUSEHOLD, root), tmp_path_factory.mktemp("cold"))


def test_a_policy_that_is_not_there_is_a_config_error(root, tmp_path):
  settings = settings_of(HOUSEHOLD, root)
  with pytest.raises(config.ConfigError, match=r"policy .*nowhere: .*config.json"):
    training.run(settings, tmp_path / "nowhere", tmp_path / "rl")


def test_a_run_that_trains_adapters_leaves_an_ordinary_policy(
  root, cold_policy, tmp_path
):
  settings = settings_of(HOUSEHOLD, root, {"train.num_updates": 1})
  settings = dataclasses.replace(
    settings,
    lora=LoraSettings(rank=2, targets=("wq", "w_down")),
    learner=dataclasses.replace(
      settings.learner,
      learning_rate=1e-2,
      warmup_steps=0,  # a warm-up begins with 0
    ),
  )
  training.run(settings, cold_policy, tmp_path)
  before, after = (
    assembly.load_policy(folder) for folder in (cold_policy, tmp_path / "policy")
  )
  assert after.model == before.model and after.model.lora is None
  moved = jax.tree.map(
    lambda a, b: float(np.abs(a - b).max()), before.params, after.params
  )
  changed = {name for name, most in moved.pop("layers").items() if most > 0}
  assert changed == {"wq", "w_down"} and not any(moved.values())
  saved = [path.name for path in (tmp_path / "checkpoints").iterdir()]
  training.run(settings, cold_policy, tmp_path)  # nothing is left to do
  assert sorted(saved) == sorted(p.name for p in (tmp_path / "checkpoints").iterdir())


def train_in_process(root, policy, folder, *, updates: int) -> subprocess.Popen:
  """`experiments.train` as a user would start it."""
  return subprocess.Popen(
    [
      sys.executable,
      "-m",
      "experiments.train",
      f"--config={root}/configs/household.py:debug,updates={updates}",
      f"--config.train.num_updates={updates}",
      f"--policy={policy}",
      f"--workdir={folder}",
    ],
    cwd=root,
    env={**os.environ, "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(root)},
    stdout=subprocess.DEVNULL,
    stderr=subprocess.PIPE,
  )


def wait_for_checkpoint(process: subprocess.Popen, folder: pathlib.Path, step: int):
  """Blocks until a checkpoint of at least `step` is complete."""
  for _ in range(2400):
    names = [p.name for p in (folder / "checkpoints").glob("*") if p.name.isdigit()]
    if any(int(name) >= step for name in names):
      return
    assert process.poll() is None, process.stderr.read().decode()[-2000:]
    time.sleep(0.05)
  raise AssertionError("no checkpoint in time")


def last_checkpoint(folder: pathlib.Path) -> dict:
  """Checksums of parameters and optimiser state, and the banks with their statistics."""
  unit = json.loads((folder / "checkpoints" / "6" / "host" / "metadata").read_text())
  assert any("opt" in name for name in unit["manifest"]), list(unit["manifest"])[:3]
  return unit


@pytest.mark.timeout(600)
def test_a_killed_run_ends_bit_for_bit_like_a_straight_one(root, cold_policy, tmp_path):
  straight, killed = tmp_path / "straight", tmp_path / "killed"
  process = train_in_process(root, cold_policy, killed, updates=6)
  wait_for_checkpoint(process, killed, 3)
  process.send_signal(signal.SIGKILL)
  process.communicate()
  assert not (killed / "policy").exists()
  for folder in (killed, straight):
    process = train_in_process(root, cold_policy, folder, updates=6)
    error = process.communicate()[1].decode()
    assert process.returncode == 0, error[-2000:]
  for name in RESULTS:
    assert (killed / name).read_bytes() == (straight / name).read_bytes(), name
  assert last_checkpoint(killed) == last_checkpoint(straight)
  rows = [json.loads(line) for line in (killed / "metrics.jsonl").open()]
  assert [row["step"] for row in rows] == [1, 2, 3, 4, 5, 6]


@pytest.mark.timeout(600)
def test_the_demo_runs_end_to_end_and_a_second_call_repeats_nothing(
  root, tmp_path, capsys
):
  settings = settings_of(HOUSEHOLD, root)
  report = demo.run(settings, tmp_path)
  assert report.stat().st_size > 10_000
  summary = json.loads((tmp_path / "eval_rl" / "summary.json").read_text())
  assert set(summary["arms"]) == {"no_bank", "frozen", "evolving"}
  tasks = settings.eval.num_scopes * settings.eval.tasks_per_scope
  assert summary["num_tasks"] == tasks
  assert all(arm["success"]["count"] == tasks for arm in summary["arms"].values())
  assert f"success_{tasks}of{tasks}" in " ".join(summary["metrics"])
  out = capsys.readouterr().out
  assert "trained: evolving - no_bank" in out
  for stage in ("demonstrations", "cold start", "training", "evaluation"):
    assert re.search(rf"^{stage} (\d+)/\1,", out, re.MULTILINE), stage
  assert "share of the naive count" in out or "edits not compared" in out
  assert str(report.resolve()) in out
  before = (tmp_path / "rl" / "metrics.jsonl").read_bytes()
  demo.run(settings, tmp_path)
  assert (tmp_path / "rl" / "metrics.jsonl").read_bytes() == before


RECIPES = sorted(
  path.stem
  for path in (pathlib.Path(__file__).parents[1] / "configs" / "recipes").glob("*.py")
  if path.stem != "__init__"
)


OTHER = (Skill("", GENERAL, "look", "look first.", "always"),)
LESSON = Edit(
  kind="propose",
  category=GENERAL,
  title="look in the box",
  principle="look in the box.",
  when_to_apply="always",
  reason="it was in the box",
)


@pytest.fixture(scope="module")
def needs(tmp_path_factory):
  """Recipe -> overrides for what its run finds outside: banks, and a teacher."""
  file = tmp_path_factory.mktemp("bank") / "bank.json"
  store.save_bank(file, from_skills([Skill("", GENERAL, "go on", "go on.", "always")]))
  banks = {"train.initial_banks": str(file)}

  def answer(number, record):  # no two answers are equal, as with a sampled model
    texts = {"title": f"box {number}", "principle": f"look in box {number}."}
    lesson = dataclasses.replace(LESSON, **texts)
    return 200, completion(format_edit("it failed", lesson)), {}

  with serve(answer) as (url, _):
    teacher = {
      "proposer.every": 1,
      "proposer.below": 1.0,
      "proposer.endpoint.url": url,
      "proposer.endpoint.key_variable": "",
    }
    yield {"skillrl": banks, "skillrl_teacher": {**banks, **teacher}}


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_trains(root, cold_policy, tmp_path, name, needs):
  path = f"configs/recipes/{name}.py:debug"
  overrides = {"train.num_updates": 1, **needs.get(name, {})}
  settings = settings_of(path, root, overrides)
  policy = training.run(settings, cold_policy, tmp_path)
  assert assembly.load_policy(policy).model == assembly.load_policy(cold_policy).model
  (row,) = [json.loads(line) for line in (tmp_path / "metrics.jsonl").open()]
  assert row["train/grad_norm"] > 0.0


@pytest.mark.timeout(600)
def test_a_frozen_bank_is_shown_and_stays(root, cold_policy, tmp_path, needs):
  file = shutil.copy(needs["skillrl"]["train.initial_banks"], tmp_path)
  overrides = {"train.initial_banks": str(file)}
  settings = settings_of("configs/recipes/skillrl.py:debug", root, overrides)
  training.run(settings, cold_policy, tmp_path / "run")
  rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").open()]
  assert [row["rollout/shown_skills"] for row in rows] == [1.0, 1.0]
  given = store.load_bank(file)
  assert set(training.read_banks(tmp_path / "run" / "banks").values()) == {given}
  # Scopes that a resumed run enters later must begin with what the others began with.
  store.save_bank(file, from_skills([*given.skills, *OTHER]))
  with pytest.raises(config.ConfigError, match="initial banks have changed"):
    training.run(settings, cold_policy, tmp_path / "run")


@pytest.mark.timeout(600)
def test_a_teachers_answers_are_asked_for_once(root, cold_policy, tmp_path, needs):
  path = "configs/recipes/skillrl_teacher.py:debug"
  settings = settings_of(path, root, needs["skillrl_teacher"])
  straight, killed = tmp_path / "straight", tmp_path / "killed"
  training.run(settings, cold_policy, straight)
  rows = [json.loads(line) for line in (straight / "metrics.jsonl").open()]
  # Nothing is learned in this variant, so every episode fails and is reviewed.
  assert all(row["skill/teacher_edits"] > 0 for row in rows)
  assert rows[-1]["skill/committed"] > 0 and rows[-1]["skill/bank_size"] > 2.0
  commits = [json.loads(line) for line in (straight / "commits.jsonl").open()]
  assert {row["edit"]["reason"] for row in commits} == {LESSON.reason}
  # A run that was killed in its second update, and a teacher who is gone.
  shutil.copytree(straight, killed)
  shutil.rmtree(killed / "checkpoints" / "2")
  answers = (straight / "teacher.jsonl").read_bytes()
  gone = {"proposer.endpoint.url": "http://127.0.0.1:9/v1"}
  settings = settings_of(path, root, {**needs["skillrl_teacher"], **gone})
  training.run(settings, cold_policy, killed)
  assert (killed / "teacher.jsonl").read_bytes() == answers
  for name in RESULTS:
    assert (killed / name).read_bytes() == (straight / name).read_bytes(), name


@pytest.mark.timeout(600)
def test_grpo_without_skills_has_no_review_and_no_probe(root, cold_policy, tmp_path):
  settings = settings_of(f"{HOUSEHOLD},grpo", root)
  training.run(settings, cold_policy, tmp_path)
  rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").open()]
  assert len(rows) == settings.train.num_updates
  assert not any(name.startswith("skill/probe") for row in rows for name in row)
  per_update = settings.feed.tasks_per_update * settings.train.group_size
  assert rows[-1]["rollout/interactions"] == per_update * len(rows)
  assert settings.eval.arms == ("no_bank",)  # a policy without reviews has no other


def test_the_engine_is_measured_on_real_episodes(root, cold_policy):
  settings = settings_of(HOUSEHOLD, root)
  row = bench_engine.measure(settings, assembly.load_policy(cold_policy), 3, 2)
  assert (row["episodes"], row["recompilations"]) == (6, 0)
  assert 0 < row["tok_s_wall"] <= row["tok_s_engine"] <= row["decode_tok_s"]


@pytest.mark.parametrize(
  ("key", "value", "words"),
  [
    ("rl.advantage", "grpo", ["edit_weight", "no effect"]),
    ("rl.advantage", "ppo", ["rl.advantage", "dual"]),
    ("learner.row_len", 64, ["learner.row_len=64", "engine.max_len=640"]),
    ("agent.chat", "xml", ["agent.chat", "compact"]),
    ("gate.level", 0.001, ["gate.null_window"]),
    ("train.review", False, ["probes", "no effect"]),
    ("eval.arms", ("no_skill",), ["eval.arms"]),
  ],
)
def test_bad_configs_stop_with_the_key_and_the_fix(
  root, cold_policy, tmp_path, key, value, words
):
  with pytest.raises(config.ConfigError) as error:
    settings = settings_of(HOUSEHOLD, root, {key: value})
    training.run(settings, cold_policy, tmp_path)
  assert all(word in str(error.value) for word in words), str(error.value)


def test_an_unknown_key_names_its_neighbour(root):
  with pytest.raises(config.ConfigError, match="clip_eps_high"):
    settings_of(HOUSEHOLD, root, {"loss.clip_eps_hihg": 0.3})


@pytest.mark.parametrize("num", [-1, 3])
def test_a_head_start_without_room_stops_before_anything_is_made(root, tmp_path, num):
  key = "cold_start.previous_token_heads"
  settings = settings_of(HOUSEHOLD, root, {key: num})
  with pytest.raises(config.ConfigError, match=rf"{num} must be in .*{key}"):
    cold_start.run(settings, tmp_path / "cold")
  assert not (tmp_path / "cold").exists()


def test_an_induction_head_without_a_second_layer_stops_early(root, tmp_path):
  settings = settings_of(HOUSEHOLD, root, {"model.num_layers": 1})
  with pytest.raises(config.ConfigError, match=r"num_layers=1.*model\.num_layers"):
    cold_start.run(settings, tmp_path / "cold")
  assert not (tmp_path / "cold").exists()


def test_a_model_that_cannot_fit_stops_before_it_compiles(root, cold_policy, tmp_path):
  settings = settings_of(HOUSEHOLD, root, {"learner.rows_per_batch": 1_000_000})
  with pytest.raises(config.ConfigError, match=r"learner\.rows_per_batch"):
    training.run(settings, cold_policy, tmp_path)


def test_a_tokenizer_that_does_not_fit_stops(root, cold_policy, tmp_path):
  folder = tmp_path / "policy"
  folder.mkdir()
  for path in cold_policy.iterdir():
    (folder / path.name).write_bytes(path.read_bytes())
  hf = json.loads((folder / "config.json").read_text())
  hf["vocab_size"] = 300
  (folder / "config.json").write_text(json.dumps(hf))
  with pytest.raises(ValueError, match=r"vocab_size|embed"):
    training.run(settings_of(HOUSEHOLD, root), folder, tmp_path / "run")


def test_another_config_does_not_continue_a_checkpoint(root, cold_policy, tmp_path):
  training.run(settings_of(HOUSEHOLD, root), cold_policy, tmp_path)
  changed = settings_of(HOUSEHOLD, root, {"loss.kl_coef": 0.5, "train.num_updates": 3})
  with pytest.raises(config.ConfigError, match="loss"):
    training.run(changed, cold_policy, tmp_path)
