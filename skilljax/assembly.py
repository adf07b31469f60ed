"""From settings to working parts: policy, chat, engine, learner, environments, proposer.

Whatever does not fit (devices, memory, files, vocabularies) is a ConfigError that names
the key. Must not know about: the order of events in training or evaluation.
"""

import dataclasses
import functools
from pathlib import Path

import jax
from jax.sharding import Mesh

from skilljax import hosts, perf, sharding
from skilljax.agents import chat as chat_lib
from skilljax.agents.answers import RecordedAnswers
from skilljax.agents.endpoint import Endpoint
from skilljax.config import ConfigError
from skilljax.data.tokenizer import Tokenizer, from_pretrained
from skilljax.engine.base import Engine
from skilljax.engine.engine import DecodeEngine
from skilljax.engine.lanes import LaneEngine
from skilljax.engine.settings import EngineSettings
from skilljax.envs import base as envs
from skilljax.envs import table
from skilljax.envs.pool import EnvPool
from skilljax.folders import check_local
from skilljax.learner import Learner, LearnerSettings, Params
from skilljax.models.config import ModelConfig
from skilljax.models.hf_io import load_checkpoint, read_config, read_control_ids
from skilljax.models.params import init_from, param_specs
from skilljax.rollout.proposers import Proposer, TeacherProposer, silent
from skilljax.rollout.runner import Runner
from skilljax.settings import CHATS, NUMERICS, NumericsSettings, Settings
from skilljax.sharding import MeshSettings
from skilljax.skills.retrieval import make_retriever


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
    source = table.make_source(settings.env_name, settings.env)
    source.tasks(split)
  except (OSError, ModuleNotFoundError, RuntimeError, ValueError) as error:
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
    control_ids = read_control_ids(folder)
  except (OSError, ValueError) as error:
    raise ConfigError(f"policy {folder}: {error}") from error
  if model.vocab_size < tokenizer.vocab_size:
    raise ConfigError(
      f"policy {folder}: its tokenizer has {tokenizer.vocab_size} ids, and "
      f"vocab_size={model.vocab_size} in its config.json has no more rows of the "
      "embedding; use the tokenizer that the model was trained with"
    )
  # A tokenizer of another model may be small enough, and have the tokens of the chat.
  # Which control token ends a text may have changed since; that it is one has not.
  other = [
    f"{key}={index}"
    for key, ids in control_ids.items()
    for index in ids
    if index not in tokenizer.special_ids
  ]
  if other:
    raise ConfigError(
      f"policy {folder}: {', '.join(other)} in its config.json or generation_config.json "
      "are no control tokens of its tokenizer, which belongs to another model then; use "
      "the tokenizer that the model was trained with, or correct these ids"
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
  """Environments of a config; close it, or use it as a context manager.

  Raises:
    ConfigError: an environment of this process cannot be built.
  """
  make = functools.partial(table.make_env, settings.env_name, settings.env)
  try:
    return EnvPool(make, **dataclasses.asdict(settings.pool))
  except (OSError, ModuleNotFoundError, RuntimeError, ValueError) as error:
    raise ConfigError(f"{error} (environment {settings.env_name!r})") from error


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
    goal_of=table.make_source(settings.env_name, settings.env).goal,
    limits=settings.limits,
    settings=settings.runner,
    code_actions=table.code_actions(settings.env_name),
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
