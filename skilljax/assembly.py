"""From a config to working parts: every section is read, checked and built here.

Nothing expensive starts before `read_settings` has returned: an unknown key, a key that
nothing reads, a value out of range and a combination without effect all stop there.

Must not know about: the order of events in training or evaluation.
"""

import dataclasses
import functools
from pathlib import Path
from typing import Any

import jax
import ml_collections

from skilljax import perf
from skilljax.agents import chat as chat_lib
from skilljax.agents import prompts
from skilljax.cold_start import ColdStartSettings
from skilljax.config import ConfigError, Reader
from skilljax.data.tokenizer import Tokenizer
from skilljax.engine.base import Engine
from skilljax.engine.engine import DecodeEngine
from skilljax.engine.lanes import LaneEngine
from skilljax.engine.settings import EngineSettings
from skilljax.envs import base as envs
from skilljax.envs.pool import EnvPool
from skilljax.evaluation.exact import EvalSettings
from skilljax.learner import Learner, LearnerSettings, LossSettings, Params
from skilljax.models.config import ModelConfig
from skilljax.models.hf_io import load_checkpoint
from skilljax.rollout.commit import GateSettings
from skilljax.rollout.credit import CreditSettings
from skilljax.rollout.feed import FeedSettings
from skilljax.rollout.probes import ProbeSettings
from skilljax.rollout.runner import Runner, RunnerSettings
from skilljax.skills.edits import EditLimits
from skilljax.skills.retrieval import make_retriever

CHATS = {
  "compact": chat_lib.compact,
  "chatml": chat_lib.chatml,
  "llama3": chat_lib.llama3,
}
STYLES = {
  "compact": prompts.COMPACT,
  "full": prompts.FULL,
  "full_state_rules": dataclasses.replace(prompts.FULL, state_rules=True),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class PoolSettings:
  """Config section `pool`; arguments of `EnvPool`."""

  num_workers: int = 0
  envs_per_worker: int = 16
  reset_timeout_s: float = 60.0
  step_timeout_s: float = 20.0
  recycle_after_episodes: int = 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainSettings:
  """Config section `train`.

  Attributes:
    num_updates: RL updates of a whole run.
    group_size: G, episodes of a task in an update.
    minibatches: optimiser steps of an update.
    split: of the training tasks.
    review: whether episodes end with a skill review; without it there are no probes.
    skills: whether skills enter the prompt; False is plain GRPO.
    taught_banks: share of scopes whose bank begins with a teacher's skills; the others
      begin empty.
    checkpoint_every: updates between checkpoints.
    keep_checkpoints: how many of the newest are kept.
    record_every: updates between records of whole trajectories for the report.
  """

  num_updates: int
  group_size: int = 8
  minibatches: int = 1
  split: str = "train"
  review: bool = True
  skills: bool = True
  taught_banks: float = 0.0
  checkpoint_every: int = 5
  keep_checkpoints: int = 2
  record_every: int = 10

  def __post_init__(self):
    for name in ("num_updates", "group_size", "minibatches", "checkpoint_every"):
      if self.__dict__[name] < 1:
        raise ValueError(
          f"{name}={self.__dict__[name]} must be >= 1 (config key train.{name})"
        )
    if not 0.0 <= self.taught_banks <= 1.0:
      raise ValueError(
        f"taught_banks={self.taught_banks} must be in [0, 1] "
        "(config key train.taught_banks)"
      )
    if self.taught_banks and not self.skills:
      raise ValueError(
        f"taught_banks={self.taught_banks} needs train.skills=True, which shows skills "
        "(config key train.taught_banks)"
      )
    if self.review and not self.skills:
      raise ValueError(
        "train.review=True writes skills that train.skills=False never shows; "
        "set both or neither"
      )


@dataclasses.dataclass(frozen=True)
class Settings:
  """A whole config, typed. Attributes are the config's sections."""

  seed: int
  env_name: str
  env: Any
  pool: PoolSettings
  chat: str
  style: prompts.PromptStyle
  runner: RunnerSettings
  retriever: ml_collections.FrozenConfigDict
  limits: EditLimits
  model: ModelConfig | None
  cold_start: ColdStartSettings | None
  sft: LearnerSettings | None
  engine: EngineSettings
  train: TrainSettings
  feed: FeedSettings
  probes: ProbeSettings | None
  gate: GateSettings | None
  credit: CreditSettings
  loss: LossSettings
  learner: LearnerSettings
  eval: EvalSettings
  resolved: ml_collections.FrozenConfigDict


def read_settings(config: ml_collections.ConfigDict) -> Settings:
  """Reads every key of a config.

  Raises:
    ConfigError: a key is unknown, missing, never read, of the wrong type or out of
      range; the message names it.
  """
  reader = Reader(config)
  try:
    settings = _read(reader)
  except ConfigError:
    raise
  except ValueError as error:
    raise ConfigError(str(error)) from error
  reader.assert_all_read()
  return settings


def _read(reader: Reader) -> Settings:
  name = reader.get("env.name")
  env_values = {k: v for k, v in reader.get("env").items() if k != "name"}
  train = reader.build(TrainSettings, "train")
  optional = reader.config
  chat, style = reader.get("agent.chat"), reader.get("agent.style")
  if chat not in CHATS:
    raise ConfigError(f"agent.chat={chat!r} must be one of {sorted(CHATS)}")
  if style not in STYLES:
    raise ConfigError(f"agent.style={style!r} must be one of {sorted(STYLES)}")
  return Settings(
    seed=reader.get("seed"),
    env_name=name,
    env=envs.make_settings(name, env_values),
    pool=reader.build(PoolSettings, "pool"),
    chat=chat,
    style=STYLES[style],
    runner=reader.build(RunnerSettings, "agent.budget"),
    retriever=reader.get("skills.retrieval"),
    limits=reader.build(EditLimits, "skills.limits"),
    model=reader.build(ModelConfig, "model") if "model" in optional else None,
    cold_start=(
      reader.build(ColdStartSettings, "cold_start") if "cold_start" in optional else None
    ),
    sft=reader.build(LearnerSettings, "sft") if "sft" in optional else None,
    engine=reader.build(EngineSettings, "engine"),
    train=train,
    feed=reader.build(FeedSettings, "feed"),
    # Without reviews nothing is probed or committed, and their keys would be unread.
    probes=reader.build(ProbeSettings, "probes") if train.review else None,
    gate=reader.build(GateSettings, "gate") if train.review else None,
    credit=reader.build(CreditSettings, "rl"),
    loss=reader.build(LossSettings, "loss"),
    learner=reader.build(LearnerSettings, "learner"),
    eval=reader.build(EvalSettings, "eval"),
    resolved=reader.config,
  )


@dataclasses.dataclass(frozen=True)
class Policy:
  """A policy folder in memory: Hugging Face layout, weights and tokenizer."""

  model: ModelConfig
  params: Params
  tokenizer: Tokenizer


def load_policy(folder: str | Path) -> Policy:
  """Reads config.json, weights and tokenizer of a folder.

  Raises:
    FileNotFoundError, ValueError: names the file, or the vocabulary that does not fit.
  """
  model, params = load_checkpoint(folder)
  tokenizer = Tokenizer.load(folder)
  tokenizer.check_fits(model.vocab_size)
  return Policy(model, params, tokenizer)


def make_pool(settings: Settings) -> EnvPool:
  """Environments of a config; close it, or use it as a context manager."""
  return EnvPool(
    functools.partial(envs.make_env, settings.env_name, settings.env),
    **dataclasses.asdict(settings.pool),
  )


def make_runner(
  settings: Settings, *, engine: Engine, tokenizer: Tokenizer, pool: EnvPool
) -> Runner:
  """The runner of a config around an engine."""
  retrieval = dict(settings.retriever)
  return Runner(
    engine=engine,
    pool=pool,
    tokenizer=tokenizer,
    chat=CHATS[settings.chat](tokenizer),
    style=settings.style,
    retriever=make_retriever(retrieval.pop("name"), **retrieval),
    goal_of=envs.make_source(settings.env_name, settings.env).goal,
    limits=settings.limits,
    settings=settings.runner,
  )


def make_engine(settings: Settings, policy: Policy) -> DecodeEngine | LaneEngine:
  """The engine of a config; publish a policy before `warmup`."""
  lanes = settings.engine.num_lanes
  each = dataclasses.replace(
    settings.engine, num_slots=settings.engine.num_slots // lanes, num_lanes=1
  )
  engines = [
    DecodeEngine(
      policy.model,
      settings=each,
      root_key=jax.random.key(settings.seed),
      stop_ids=CHATS[settings.chat](policy.tokenizer).stop_ids,
    )
    for _ in range(lanes)
  ]
  return engines[0] if lanes == 1 else LaneEngine(engines)


def make_learner(settings: Settings, model: ModelConfig) -> Learner:
  """The RL learner of a config.

  Raises:
    ConfigError: a row cannot hold the longest episode, or memory does not suffice.
  """
  check_shapes(settings.learner, settings.engine, "learner")
  plan = perf.memory_plan(
    model,
    num_slots=settings.engine.num_slots,
    max_len=settings.engine.max_len,
    rows_per_batch=settings.learner.rows_per_batch,
    row_len=settings.learner.row_len,
    logprob_chunk=settings.learner.logprob_chunk,
  )
  try:
    perf.check_fits(plan, perf.available_bytes())
  except ValueError as error:
    raise ConfigError(str(error)) from error
  return Learner(model, settings.learner, settings.loss)


def check_shapes(learner: LearnerSettings, engine: EngineSettings, section: str) -> None:
  """Raises a ConfigError if the longest episode does not fit into a packed row."""
  if learner.row_len < engine.max_len:
    raise ConfigError(
      f"{section}.row_len={learner.row_len} must be >= engine.max_len={engine.max_len}, "
      "so that the longest episode fits into a packed row"
    )
