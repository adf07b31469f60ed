"""A whole config, typed: every section is read and checked here, before anything starts.

An unknown key, a key that nothing reads, a value out of range and a combination without
effect all stop in `read_settings`.

Must not know about: devices, files, how parts are built from settings.
"""

import dataclasses
from typing import Any

import ml_collections

from skilljax.agents import chat as chat_lib
from skilljax.agents import chat_template, prompts
from skilljax.cold_start import ColdStartSettings
from skilljax.config import ConfigError, Reader, build
from skilljax.engine.settings import EngineSettings
from skilljax.envs import table
from skilljax.envs.pool import check_arguments
from skilljax.evaluation.exact import EvalSettings
from skilljax.learner import LearnerSettings, LossSettings
from skilljax.models.config import REMAT, ModelConfig
from skilljax.models.lora import LoraSettings
from skilljax.optimizer import DTYPES
from skilljax.rollout.commit import GateSettings
from skilljax.rollout.credit import CreditSettings
from skilljax.rollout.feed import FeedSettings
from skilljax.rollout.probes import ProbeSettings
from skilljax.rollout.proposers import ProposerSettings
from skilljax.rollout.runner import RunnerSettings
from skilljax.sharding import ONE_DEVICE, MeshSettings
from skilljax.skills.edits import EditLimits

CHATS = {
  "compact": chat_lib.compact,
  "chatml": chat_lib.chatml,
  "llama3": chat_lib.llama3,
  "checkpoint": chat_template.from_checkpoint,
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

  def __post_init__(self):
    check_arguments(**dataclasses.asdict(self))


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
    initial_banks: a bank file, or a folder with one file a scope, that scopes begin with;
      '' = none.
    checkpoint_every: updates between checkpoints.
    keep_checkpoints: how many of the newest are kept.
    record_every: updates between records of whole trajectories for the report.
    max_idle_updates: so many updates in a row in which every episode ended in a fault
      stop the run.
  """

  num_updates: int
  group_size: int = 8
  minibatches: int = 1
  split: str = "train"
  review: bool = True
  skills: bool = True
  taught_banks: float = 0.0
  initial_banks: str = ""
  checkpoint_every: int = 5
  keep_checkpoints: int = 2
  record_every: int = 10
  max_idle_updates: int = 3

  def __post_init__(self):
    for name in (
      *("num_updates", "group_size", "minibatches", "checkpoint_every"),
      "max_idle_updates",
    ):
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
    if self.initial_banks and (self.taught_banks or not self.skills):
      raise ValueError(
        f"initial_banks={self.initial_banks!r} needs train.skills=True and "
        "train.taught_banks=0 (config key train.initial_banks)"
      )
    if self.review and not self.skills:
      raise ValueError(
        "train.review=True writes skills that train.skills=False never shows; "
        "set both or neither"
      )


@dataclasses.dataclass(frozen=True, kw_only=True)
class NumericsSettings:
  """Config section `numerics`: of a policy that is read from a folder.

  Attributes:
    param_dtype: type of the learner's parameters. In bfloat16 a step that changes a
      weight by less than about 1/256 of it is lost.
    compute_dtype: of products; norms, softmax and log-probs are float32 in either case.
    remat: see `ModelConfig`.
  """

  param_dtype: str = "float32"
  compute_dtype: str = "float32"
  remat: str = "none"

  def __post_init__(self):
    for name, allowed in (
      ("param_dtype", DTYPES),
      ("compute_dtype", DTYPES),
      ("remat", REMAT),
    ):
      if self.__dict__[name] not in allowed:
        raise ValueError(
          f"{name}={self.__dict__[name]!r} must be one of {allowed} "
          f"(config key numerics.{name})"
        )


NUMERICS = NumericsSettings()


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
  proposer: ProposerSettings
  credit: CreditSettings
  loss: LossSettings
  learner: LearnerSettings
  mesh: MeshSettings
  engine_mesh: MeshSettings
  numerics: NumericsSettings
  lora: LoraSettings | None
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
  env = build(table.settings_type(name), env_values, prefix="env")
  train = reader.build(TrainSettings, "train")
  optional = reader.config
  chat, style = reader.get("agent.chat"), reader.get("agent.style")
  if chat not in CHATS:
    raise ConfigError(f"agent.chat={chat!r} must be one of {sorted(CHATS)}")
  if style not in STYLES:
    raise ConfigError(f"agent.style={style!r} must be one of {sorted(STYLES)}")
  proposer = ProposerSettings()
  if "proposer" in optional:
    proposer = reader.build(ProposerSettings, "proposer")
  taught = proposer.name == "endpoint"
  if taught and (train.review or not train.skills):
    raise ConfigError(
      f"proposer.name={proposer.name!r} takes the place of reviews: it needs "
      "train.review=False and train.skills=True"
    )
  # Where nobody proposes, nothing is probed or committed: their keys would be unread.
  gate = reader.build(GateSettings, "gate") if train.review or taught else None
  if taught and gate is not None and gate.mode == "frozen":
    raise ConfigError(
      "gate.mode='frozen' lets no edit of a teacher in; use 'accept' or 'commit'"
    )
  mesh = reader.build(MeshSettings, "mesh") if "mesh" in optional else ONE_DEVICE
  engine_mesh = mesh
  if "engine_mesh" in optional:
    engine_mesh = reader.build(MeshSettings, "engine_mesh")
  numerics = NUMERICS
  if "numerics" in optional:
    numerics = reader.build(NumericsSettings, "numerics")
  probed = train.review or (gate is not None and gate.mode == "commit")
  return Settings(
    seed=reader.get("seed"),
    env_name=name,
    env=env,
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
    probes=reader.build(ProbeSettings, "probes") if probed else None,
    gate=gate,
    proposer=proposer,
    credit=reader.build(CreditSettings, "rl"),
    loss=reader.build(LossSettings, "loss"),
    learner=reader.build(LearnerSettings, "learner"),
    mesh=mesh,
    engine_mesh=engine_mesh,
    numerics=numerics,
    lora=reader.build(LoraSettings, "lora") if "lora" in optional else None,
    eval=reader.build(EvalSettings, "eval"),
    resolved=reader.config,
  )
