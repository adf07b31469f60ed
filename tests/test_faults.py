"""Whole updates in which environments break: reported, not trained on, counted once."""

import dataclasses
import functools
import lzma

import jax
import numpy as np
import pytest

from skilljax import assembly, config
from skilljax import train as train_lib
from skilljax.data.tokenizer import train_tokenizer
from skilljax.envs.pool import EnvPool
from skilljax.models.transformer import init_params
from skilljax.rollout.feed import tasks_at
from skilljax.runs import cold_start, evaluation, training
from skilljax.settings import read_settings
from skilljax.types import Observation, Task
from tests.agents import checkpoints
from tests.envs import fake_envs
from tests.rollout import worlds

pytestmark = pytest.mark.timeout(900)
NUM_WORKERS, ENVS_PER_WORKER = 2, 3
UPDATE = 3  # episodes of these tasks are longer than two turns


@pytest.fixture(scope="module")
def shop(repo_root):
  """The loop's parts, all real but the policy, which is a scripted reader."""
  overrides = {"train.group_size": 3, "feed.tasks_per_update": 3}
  overrides |= {"model.num_layers": 1, "model.d_model": 16, "model.d_ff": 16}
  overrides |= {"model.head_dim": 8, "model.remat": "none"}
  path = str(repo_root / "configs/household.py:debug")
  settings = read_settings(config.load(path, overrides))
  source = worlds.HouseholdSource(settings.env)
  learner = assembly.make_learner(settings, settings.model)
  return train_lib.Workshop(
    settings=settings,
    source=source,
    teacher=worlds.HouseholdTeacher(settings.env),
    engine=None,
    runner=dataclasses.replace(worlds.make_runner(max_len=640), goal_of=source.goal),
    learner=learner,
    reference=init_params(jax.random.key(0), settings.model),
  )


def one_update(shop, pool, **known):
  """One update with a fresh engine, environments from `pool`; `known` is of the state."""
  engine = worlds.KeyedEngine(num_slots=8, max_len=640)
  runner = dataclasses.replace(shop.runner, engine=engine, pool=pool)
  with_pool = dataclasses.replace(shop, engine=engine, runner=runner)
  state = train_lib.LoopState(
    update=UPDATE,
    train=shop.learner.init(shop.reference),
    banks={},
    interactions=100,
    **known,
  )
  engine.publish(None, UPDATE)
  result = train_lib.one_update(with_pool, state)
  assert (engine.num_free, pool.num_free) == (8, pool.capacity)
  return result


def tasks_of(shop):
  settings = shop.settings
  return tasks_at(
    UPDATE, source=shop.source, split=settings.train.split, settings=settings.feed
  )


@pytest.fixture(scope="module")
def undisturbed(shop):
  with EnvPool(functools.partial(worlds.HouseholdEnv, shop.settings.env)) as pool:
    return one_update(shop, pool)


@pytest.mark.parametrize(
  ("trouble", "only_one"),
  [
    ("killed", False),
    ("stopped", False),
    ("deaf", False),
    ("half", False),
    ("wrong shape", False),
    ("exit", True),
    ("noise", True),
  ],
)
def test_trouble_costs_its_episodes_and_changes_no_other(
  shop, undisturbed, tmp_path, trouble, only_one
):
  calm_state, calm = undisturbed
  bad = tasks_of(shop)[1]
  make = functools.partial(
    fake_envs.FaultyHousehold, shop.settings.env, bad.key, trouble, str(tmp_path / "once")
  )
  with EnvPool(
    make, num_workers=NUM_WORKERS, envs_per_worker=ENVS_PER_WORKER, step_timeout_s=4.0
  ) as pool:
    state, update = one_update(shop, pool)
    assert (tmp_path / "once").exists()
    counts = pool.counts
  trajectories = update.rollout.trajectories
  faulty = {name for name, t in trajectories.items() if t.fault}
  least, most = (0, 0) if trouble == "noise" else (1, 1 if only_one else ENVS_PER_WORKER)
  assert least <= len(faulty) <= most
  assert not faulty or any(trajectories[name].task == bad for name in faulty)
  # Every episode is there once, the others token for token.
  assert list(trajectories) == list(calm.rollout.trajectories)
  for name in trajectories.keys() - faulty:
    ours, theirs = trajectories[name], calm.rollout.trajectories[name]
    assert np.array_equal(ours.tokens, theirs.tokens)
    assert (ours.turns, ours.success) == (theirs.turns, theirs.success)
    assert update.rollout.edits.get(name) == calm.rollout.edits.get(name)
  # Reported and never trained on.
  assert {t.episode_id for t in update.trained} == trajectories.keys() - faulty
  assert update.metrics["env/faults"] == len(faulty) == counts["faults"]
  assert update.metrics["rollout/episodes"] == 9 - len(faulty)
  trained_tokens = sum(int(t.loss_mask.sum()) for t in update.trained)
  assert update.metrics["train/num_tokens"] == trained_tokens
  assert not faulty & set(update.rollout.edits)
  # Played is played: an interaction counts once, whatever became of it.
  played = 9 + update.report.episodes_run
  assert state.interactions == 100 + played
  assert counts["episodes"] == played
  if not faulty:
    assert state.interactions == calm_state.interactions
    assert update.metrics == calm.metrics


class NoHousehold:
  """No task can be played."""

  def reset(self, task: Task) -> Observation:
    raise fake_envs.UnplayableTask(f"data/{task.name}: damaged; copy it again")

  def close(self):
    pass


def test_a_run_with_nothing_to_train_on_stops_and_says_why(shop):
  seen = []
  with EnvPool(NoHousehold) as pool:
    engine = worlds.KeyedEngine(num_slots=8, max_len=640)
    runner = dataclasses.replace(shop.runner, engine=engine, pool=pool)
    settings = dataclasses.replace(
      shop.settings, train=dataclasses.replace(shop.settings.train, num_updates=9)
    )
    broken = dataclasses.replace(shop, settings=settings, engine=engine, runner=runner)
    train = shop.learner.init(shop.reference)
    start = train_lib.LoopState(update=0, train=train, banks={})
    with pytest.raises(RuntimeError, match=r"3 updates in a row.*damaged; copy it again"):
      train_lib.run(broken, start, on_update=lambda *update: seen.append(update))
  assert [state.update for state, _ in seen] == [1, 2, 3]  # the last one is recorded too
  assert all(update.metrics["env/faults"] == 9 for _, update in seen)


@pytest.mark.parametrize("run", [training.run, evaluation.run])
def test_damaged_data_stop_a_run_before_anything_is_built(
  repo_root, tmp_path, monkeypatch, run
):
  for split in ("train", "valid_seen"):
    (tmp_path / f"{split}.jsonl.xz").write_bytes(lzma.compress(b"{}")[:-9])
  (tmp_path / "alfred.pddl").write_text("(define (domain alfred))")
  (tmp_path / "alfred.twl2").write_text("UNKNOWN GOAL")
  overrides = {"env.data_dir": str(tmp_path), "env.cache_dir": str(tmp_path / "cache")}
  path = str(repo_root / "configs/alfworld_scratch.py:debug")
  settings = read_settings(config.load(path, overrides))
  tokenizer = train_tokenizer(checkpoints.TEXTS, vocab_size=settings.model.vocab_size)
  params = init_params(jax.random.key(0), settings.model)
  cold_start.write_policy(tmp_path / "policy", settings.model, params, tokenizer)
  monkeypatch.setattr(assembly, "load_policy", lambda *_, **__: pytest.fail("too late"))
  with pytest.raises(ValueError, match=r"\.jsonl\.xz: damaged .*copy it again"):
    run(settings, tmp_path / "policy", tmp_path / "run")
