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
from jax.sharding import Mesh

from skilljax import hosts, perf, sharding
from skilljax.agents import chat as chat_lib
from skilljax.agents import chat_template, prompts
from skilljax.agents.answers import RecordedAnswers
from skilljax.agents.endpoint import Endpoint
from skilljax.cold_start import ColdStartSettings
from skilljax.config import ConfigError, Reader
from skilljax.data.tokenizer import Tokenizer, from_pretrained
from skilljax.engine.base import Engine
from skilljax.engine.engine import DecodeEngine
from skilljax.engine.lanes import LaneEngine
from skilljax.engine.settings import EngineSettings
from skilljax.envs import base as envs
from skilljax.envs.pool import EnvPool, check_arguments
from skilljax.evaluation.exact import EvalSettings
from skilljax.folders import check_local
from skilljax.learner import Learner, LearnerSettings, LossSettings, Params
from skilljax.models.config import REMAT, ModelConfig
from skilljax.models.hf_io import load_checkpoint, read_config
from skilljax.models.lora import LoraSettings
from skilljax.models.params import init_from, param_specs
from skilljax.optimizer import DTYPES
from skilljax.rollout.commit import GateSettings
from skilljax.rollout.credit import CreditSettings
from skilljax.rollout.feed import FeedSettings
from skilljax.rollout.probes import ProbeSettings
from skilljax.rollout.proposers import Proposer, ProposerSettings, TeacherProposer, silent
from skilljax.rollout.runner import Runner, RunnerSettings
from skilljax.sharding import ONE_DEVICE, MeshSettings
from skilljax.skills.edits import EditLimits
from skilljax.skills.retrieval import make_retriever

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


@dataclasses.dataclass(frozen=True)
class Policy:
  """A policy folder in memory: Hugging Face layout, weights and tokenizer."""

  model: ModelConfig
  params: Params
  tokenizer: Tokenizer


def open_source(settings: Settings, split: str, *, key: str) -> envs.TaskSource:
  """The task source of a config, with the tasks of a split read: bad data stop here.

  Args:
    settings: of the run.
    split: that will be played.
    key: where it stands in the config, for the message.
  Raises:
    ConfigError: data or packages are absent, data are damaged, the split is unknown.
  """
  try:
    source = envs.make_source(settings.env_name, settings.env)
    source.tasks(split)
  except (FileNotFoundError, ModuleNotFoundError, ValueError) as error:
    raise ConfigError(
      f"{error} (environment {settings.env_name!r}, {key}={split!r})"
    ) from error
  return source


def make_mesh(settings: MeshSettings, section: str = "mesh") -> Mesh | None:
  """The mesh of a learner, over all hosts; None for one device, which needs none.

  Args:
    settings: its sizes.
    section: of the config, for messages.
  Raises:
    ConfigError: there are fewer devices, or several hosts and not all of them.
  """
  if settings.num_devices == 1 and hosts.count() == 1:
    return None
  num, there = settings.num_devices, jax.device_count()
  keys = f"(config keys {section}.data, {section}.fsdp, {section}.tensor)"
  if hosts.count() > 1 and num != there:
    raise ConfigError(
      f"{section} of {num} devices must take all {there} of the {hosts.count()} hosts "
      f"{keys}"
    )
  if num > there:
    raise ConfigError(
      f"{section} data={settings.data} x fsdp={settings.fsdp} x tensor={settings.tensor} "
      f"needs {num} devices, there are {there} {keys}"
    )
  return sharding.make_mesh(**dataclasses.asdict(settings))


def make_engine_mesh(settings: Settings) -> Mesh | None:
  """The mesh of this host's sampler; each host samples its own episodes.

  Raises:
    ConfigError: it does not take exactly this host's devices, where there are several.
  """
  own, num = jax.local_devices(), settings.engine_mesh.num_devices
  if hosts.count() == 1:
    return make_mesh(settings.engine_mesh, "engine_mesh")
  if num != len(own):
    raise ConfigError(
      f"engine_mesh of {num} devices must take the {len(own)} of one host (config keys "
      "engine_mesh.data, engine_mesh.fsdp, engine_mesh.tensor)"
    )
  return sharding.make_mesh(**dataclasses.asdict(settings.engine_mesh), devices=own)


def open_policy(folder: str | Path) -> tuple[ModelConfig, Tokenizer]:
  """The model and the tokenizer of a folder, without weights.

  Raises:
    ConfigError: as `load_policy`, without what concerns weights.
  """
  check_local(folder, key="policy")
  try:
    model, tokenizer = read_config(folder), from_pretrained(folder)
  except (OSError, ValueError) as error:
    raise ConfigError(f"policy {folder}: {error}") from error
  if model.vocab_size < tokenizer.vocab_size:
    raise ConfigError(
      f"policy {folder}: its tokenizer has {tokenizer.vocab_size} ids, and "
      f"vocab_size={model.vocab_size} in its config.json has no more rows of the "
      "embedding; use the tokenizer that the model was trained with"
    )
  return model, tokenizer


def make_chat(settings: Settings, tokenizer: Tokenizer) -> chat_lib.ChatFormat:
  """The chat format of a config; the stop ids of the checkpoint end a response too.

  Raises:
    ConfigError: the tokenizer lacks its tokens, or the checkpoint's template cannot be
      used.
  """
  try:
    chat = CHATS[settings.chat](tokenizer)
  except ValueError as error:
    raise ConfigError(
      f"agent.chat={settings.chat!r} does not fit the policy: {error} (config key "
      f"agent.chat, one of {', '.join(CHATS)})"
    ) from error
  stop_ids = dict.fromkeys((*chat.stop_ids, *tokenizer.stop_ids))
  return dataclasses.replace(chat, stop_ids=tuple(stop_ids))


def load_policy(
  folder: str | Path,
  *,
  numerics: NumericsSettings = NUMERICS,
  mesh: Mesh | None = None,
) -> Policy:
  """Reads config.json, weights and tokenizer of a folder.

  Args:
    folder: Hugging Face layout.
    numerics: types, and what is computed again.
    mesh: over which the weights are split as they are read; None: one device.
  Raises:
    ConfigError: a file is absent or damaged, or the vocabularies do not fit.
  """
  _, tokenizer = open_policy(folder)  # before weights, which take long
  try:
    shardings = None
    if mesh is not None:
      specs = param_specs(read_config(folder))
      shardings = sharding.param_shardings(specs, mesh)
    model, params = load_checkpoint(
      folder, param_dtype=numerics.param_dtype, shardings=shardings
    )
  except (OSError, ValueError) as error:
    raise ConfigError(f"policy {folder}: {error}") from error
  model = dataclasses.replace(model, dtype=numerics.compute_dtype, remat=numerics.remat)
  return Policy(model, params, tokenizer)


def add_adapters(policy: Policy, settings: Settings) -> Policy:
  """The policy as it is trained: with fresh adapters if the config asks for some."""
  if settings.lora is None:
    return policy
  model = dataclasses.replace(policy.model, lora=settings.lora)
  specs, shardings, mesh = param_specs(model)["lora"], None, make_mesh(settings.mesh)
  if mesh is not None:
    shardings = sharding.param_shardings(specs, mesh)
  make = jax.jit(lambda key: init_from(key, specs), out_shardings=shardings)
  adapters = make(jax.random.key(settings.seed))
  return dataclasses.replace(
    policy, model=model, params={**policy.params, "lora": adapters}
  )


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
    chat=make_chat(settings, tokenizer),
    style=settings.style,
    retriever=make_retriever(retrieval.pop("name"), **retrieval),
    goal_of=envs.make_source(settings.env_name, settings.env).goal,
    limits=settings.limits,
    settings=settings.runner,
    code_actions=envs.code_actions(settings.env_name),
  )


def make_proposer(settings: Settings, folder: Path) -> Proposer:
  """Who proposes edits beside the policy; its answers are kept in `teacher.jsonl`.

  Raises:
    EndpointError: its key is not set.
  """
  endpoint = settings.proposer.endpoint
  if endpoint is None:
    return silent
  if not hosts.is_first():
    return lambda *evidence: hosts.from_first(None)
  answers = RecordedAnswers(Endpoint(endpoint), folder / "teacher.jsonl")
  teacher = TeacherProposer(answers.ask, settings.proposer)
  return lambda *evidence: hosts.from_first(lambda: teacher(*evidence))


def make_engine(settings: Settings, policy: Policy) -> DecodeEngine | LaneEngine:
  """The engine of a config; publish a policy before `warmup`."""
  lanes, mesh = settings.engine.num_lanes, make_engine_mesh(settings)
  check_lanes(settings)
  each = dataclasses.replace(
    settings.engine, num_slots=settings.engine.num_slots // lanes, num_lanes=1
  )
  try:
    engines = [
      DecodeEngine(
        policy.model,
        settings=each,
        root_key=jax.random.key(settings.seed),
        stop_ids=make_chat(settings, policy.tokenizer).stop_ids,
        mesh=mesh,
      )
      for _ in range(lanes)
    ]
  except ValueError as error:
    raise ConfigError(str(error)) from error
  return engines[0] if lanes == 1 else LaneEngine(engines)


def check_lanes(settings: Settings) -> None:
  """Raises a ConfigError for several lanes on a mesh of several devices."""
  lanes, num = settings.engine.num_lanes, settings.engine_mesh.num_devices
  if lanes > 1 and (num > 1 or hosts.count() > 1):
    raise ConfigError(f"engine.num_lanes={lanes} must be 1 on a mesh of {num} devices")


def make_learner(settings: Settings, model: ModelConfig) -> Learner:
  """The RL learner of a config.

  Raises:
    ConfigError: a row cannot hold the longest episode, or memory does not suffice.
  """
  check_shapes(settings.learner, settings.engine, "learner")
  plan = memory_plan(settings, model)
  try:
    perf.check_fits(plan, perf.available_bytes())
    return Learner(model, settings.learner, settings.loss, make_mesh(settings.mesh))
  except ValueError as error:
    raise ConfigError(str(error)) from error


def memory_plan(settings: Settings, model: ModelConfig) -> dict[str, int]:
  """Bytes a device by purpose, of the learner and of all lanes of the sampler."""
  return perf.memory_plan(
    model,
    num_slots=settings.engine.num_slots,
    max_len=settings.engine.max_len,
    rows_per_batch=settings.learner.rows_per_batch,
    row_len=settings.learner.row_len,
    logprob_chunk=settings.learner.logprob_chunk,
    mesh=settings.mesh,
    engine_mesh=settings.engine_mesh,
    param_dtype=settings.numerics.param_dtype,
    moment_dtype=settings.learner.moment_dtype,
  )


def check_shapes(learner: LearnerSettings, engine: EngineSettings, section: str) -> None:
  """Raises a ConfigError if the longest episode does not fit into a packed row."""
  if learner.row_len < engine.max_len:
    raise ConfigError(
      f"{section}.row_len={learner.row_len} must be >= engine.max_len={engine.max_len}, "
      "so that the longest episode fits into a packed row"
    )
