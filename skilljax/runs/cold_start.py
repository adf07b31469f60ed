"""A cold-start run: demonstrations, tokenizer, supervised policy, all in one folder.

  <folder>/demonstrations/       TFDS dataset
  <folder>/dataset.json          what it was made with; comes after it
  <folder>/checkpoints/<step>/   everything that a resume needs
  <folder>/policy/               config.json, model.safetensors, tokenizer files

The policy begins as random weights with a tokenizer made here, or as a checkpoint with
its own. A killed run keeps its demonstrations, goes on from its last checkpoint and
writes the same bytes as one that was never killed.

Must not know about: flags, RL.
"""

import dataclasses
import shutil
from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np

from skilljax import assembly, cold_start, fine_tuning, folders, hosts, preflight
from skilljax import checkpoint as checkpoint_lib
from skilljax.config import ConfigError, to_json
from skilljax.data import demonstrations
from skilljax.data import tokenizer as tokenizer_lib
from skilljax.engine.scripted import ScriptedEngine
from skilljax.envs import base as envs
from skilljax.envs import table
from skilljax.learner import Learner, Params, TrainState
from skilljax.metrics import MetricWriter, Progress
from skilljax.models import head_start
from skilljax.models.config import ModelConfig
from skilljax.models.hf_io import save_checkpoint
from skilljax.models.transformer import init_params
from skilljax.runs import kept
from skilljax.runs.claim import claims_folder
from skilljax.settings import Settings
from skilljax.types import Task

POLICY = "policy"
_FOLDERS = (POLICY, "demonstrations", "checkpoints", "tensorboard")
_FILES = ("config.json", "metrics.jsonl", kept.DATASET)


@claims_folder
def run(
  settings: Settings,
  folder: str | Path,
  checkpoint: str | Path | None = None,
) -> Path:
  """Makes demonstrations and trains the cold-start policy.

  Args:
    settings: needs the sections `cold_start` and `sft`, and `model` without a checkpoint.
    folder: of the run; a killed run goes on where it stood.
    checkpoint: Hugging Face layout; fine-tuned in place of a new model.
  Returns:
    The policy folder.
  Raises:
    ConfigError: a section is missing or without effect, shapes do not fit each other, the
      checkpoint or the devices, hosts disagree, the folder cannot be written or holds
      parts of a run with another config.
  """
  folders.check_writable(folder, folders=_FOLDERS, files=_FILES)
  folder = Path(folder)
  preflight.check_hosts(settings, policy=checkpoint, workdir=folder)
  policy = folder / POLICY
  if (policy / "config.json").exists():
    return policy
  check(settings, checkpoint)
  tokenizer = make_dataset(settings, folder, checkpoint)
  if checkpoint is None:
    begin = assembly.Policy(settings.model, initial_params(settings), tokenizer)
  else:
    mesh = assembly.make_mesh(settings.mesh)
    begin = assembly.load_policy(checkpoint, numerics=settings.numerics, mesh=mesh)
    begin = assembly.add_adapters(begin, settings)
  train(settings, folder, begin)
  return policy


def check(settings: Settings, checkpoint: str | Path | None = None) -> None:
  """Raises a ConfigError unless the config can be cold-started."""
  needed = ("cold_start", "sft") if checkpoint else ("model", "cold_start", "sft")
  for name in needed:
    if settings.__dict__[name] is None:
      raise ConfigError(f"config section {name!r} is missing; a cold start needs it")
  assembly.check_shapes(settings.sft, settings.engine, "sft")
  preflight.check_rows(settings.sft, settings.mesh, "sft")
  if checkpoint:
    check_checkpoint(settings, checkpoint)
  else:
    check_new(settings)


def check_checkpoint(settings: Settings, checkpoint: str | Path) -> None:
  """Raises a ConfigError unless this checkpoint can be fine-tuned."""
  if settings.model is not None:
    raise ConfigError(
      "config section 'model' describes a new policy; leave it out, or leave out "
      f"--policy={checkpoint}, whose config.json describes another"
    )
  for name in ("previous_token_heads", "induction_head"):
    if getattr(settings.cold_start, name):
      raise ConfigError(
        f"cold_start.{name}={getattr(settings.cold_start, name)} writes into random "
        f"weights; leave it out with --policy={checkpoint}"
      )
  preflight.check_policy(settings, checkpoint, trained=False)
  model, _ = assembly.open_policy(checkpoint)
  make_learner(settings, dataclasses.replace(model, lora=settings.lora))


def check_new(settings: Settings) -> None:
  """Raises a ConfigError unless a policy can be made of nothing."""
  if settings.chat != "compact":
    raise ConfigError(
      f"agent.chat={settings.chat!r} must be 'compact' for a cold start from random "
      "weights, whose tokenizer is made here and has no other tokens (config key "
      "agent.chat); --policy fine-tunes a checkpoint"
    )
  make_learner(settings, settings.model)
  try:
    if settings.cold_start.previous_token_heads:
      head_start.check_num(settings.cold_start.previous_token_heads, settings.model)
    if settings.cold_start.induction_head:
      head_start.check_induction(settings.model)
  except ValueError as error:
    raise ConfigError(str(error)) from error
  if settings.model.vocab_size < settings.cold_start.vocab_size:
    raise ConfigError(
      f"model.vocab_size={settings.model.vocab_size} must be >= "
      f"cold_start.vocab_size={settings.cold_start.vocab_size}"
    )


def make_learner(settings: Settings, model: ModelConfig) -> Learner:
  """The supervised learner; a ConfigError if its mesh does not divide the model."""
  mesh = assembly.make_mesh(settings.mesh)
  try:
    return Learner(model, settings.sft, settings.loss, mesh)
  except ValueError as error:
    raise ConfigError(str(error)) from error


def make_dataset(
  settings: Settings, folder: Path, checkpoint: str | Path | None
) -> tokenizer_lib.Tokenizer:
  """Plays the demonstrations and stores them; returns the tokenizer they were cut with.

  Hosts share the episodes; one of them makes the tokenizer and writes. A dataset that is
  complete is kept.

  Raises:
    ConfigError: the one that is there was made with other settings, or none of the
      demonstrations is whole.
  """
  cold = settings.cold_start
  made_with = kept.decisive(settings.resolved, kept.DATA_KEYS)
  if checkpoint is not None:
    made_with["tokenizer of --policy"] = assembly.open_policy(checkpoint)[1].fingerprint
  if kept.is_there(folder, made_with):
    return tokenizer_lib.Tokenizer.load(folder / POLICY)
  source = assembly.open_source(settings, settings.train.split, key="train.split")
  teacher = table.make_teacher(settings.env_name, settings.env)
  tasks = draw_tasks(source, settings.train.split, cold.episodes, cold.seed)

  def write_tokenizer() -> None:
    if checkpoint is None:
      tokenizer = make_tokenizer(settings, tasks, teacher)
    else:
      _, tokenizer = assembly.open_policy(checkpoint)
    tokenizer.save(folder / POLICY)

  hosts.from_first(write_tokenizer)
  tokenizer = tokenizer_lib.Tokenizer.load(folder / POLICY)
  with (
    assembly.make_pool(settings) as pool,
    Progress("demonstrations", total=len(tasks)) as progress,
  ):
    idle = ScriptedEngine(lambda name: None, tokenizer, 1, tokenizer.pad_id)
    runner = assembly.make_runner(settings, engine=idle, tokenizer=tokenizer, pool=pool)
    trajectories = cold_start.demonstrate(
      tasks,
      runner=runner,
      teacher=teacher,
      num_slots=pool.capacity,
      max_len=settings.engine.max_len,
      seed=cold.seed,
      on_progress=progress.update,
    )
  if not trajectories:
    budget = settings.runner
    raise ConfigError(
      f"none of {len(tasks)} demonstrations is whole: they are cut, or their environment "
      f"failed; agent.budget.act_tokens={budget.act_tokens}, agent.budget.edit_tokens="
      f"{budget.edit_tokens} and engine.max_len={settings.engine.max_len} must hold them"
    )

  def write_dataset() -> None:
    shutil.rmtree(folder / "demonstrations", ignore_errors=True)  # nothing vouches for it
    demonstrations.build(folder, trajectories)
    kept.write(folder, made_with)

  hosts.from_first(write_dataset)
  return tokenizer


def make_tokenizer(
  settings: Settings, tasks: Sequence[Task], teacher: envs.Teacher
) -> tokenizer_lib.Tokenizer:
  """A tokenizer for what demonstrations and exercises say."""
  cold, style = settings.cold_start, settings.style
  env = table.make_env(settings.env_name, settings.env)
  texts = cold_start.sample_texts(
    tasks[: cold.tokenizer_episodes],
    env=env,
    teacher=teacher,
    style=style,
    seed=cold.seed,
  )
  env.close()
  if cold.drills:
    num = min(cold.drills, cold.tokenizer_episodes)
    texts += cold_start.drill_texts(num, teacher=teacher, style=style)
  return tokenizer_lib.train_tokenizer(texts, vocab_size=cold.vocab_size)


def draw_tasks(
  source: envs.TaskSource, split: str, num: int, seed: int
) -> Sequence[Task]:
  """`num` tasks of a split: scopes at random, each scope's tasks at random."""
  rng = np.random.default_rng([seed, 7])
  scopes = source.scopes(split)
  if len(scopes) == 1:
    stream = source.stream(scopes[0], split)
    epochs = -(-num // len(stream))
    order = np.concatenate([rng.permutation(len(stream)) for _ in range(epochs)])
    return [stream[int(i)] for i in order[:num]]
  tasks = []
  for scope in rng.integers(len(scopes), size=num):
    stream = source.stream(scopes[int(scope)], split)
    tasks.append(stream[int(rng.integers(len(stream)))])
  return tasks


def train(settings: Settings, folder: Path, begin: assembly.Policy) -> None:
  """Supervised fine-tuning on the stored demonstrations; writes the policy folder."""
  tokenizer, cold = begin.tokenizer, settings.cold_start
  tokenizer.check_fits(begin.model.vocab_size)
  examples = demonstrations.balance_reviews(demonstrations.load(folder), cold.seed)
  drills, exercises = make_exercises(settings, tokenizer)
  learner = make_learner(settings, begin.model)
  checkpointer = checkpoint_lib.Checkpointer(folder / "checkpoints", keep=1)
  resume = kept.restore(checkpointer, settings, begin, learner)
  done = resume[1].step if resume else None
  if hosts.is_first():
    (folder / "config.json").write_text(to_json(settings.resolved))
  writer = MetricWriter(folder, resume_step=done) if hosts.is_first() else None
  with Progress("cold start", total=cold.steps, done=done or 0) as progress:

    def on_step(step: int, metrics: dict[str, float]):
      hosts.tick()
      if writer is None:
        return
      rows = {"train/nll": metrics["nll"], "train/grad_norm": metrics["grad_norm"]}
      for role in ("act", "edit"):
        if f"{role}/nll" in metrics:
          rows[f"train/nll_{role}"] = metrics[f"{role}/nll"]
      writer.write(step, rows)
      progress.update(step, f"nll {metrics['nll']:.3f}")

    def on_state(state: TrainState, at: fine_tuning.Position):
      if at.step % cold.checkpoint_every == 0 or at.step == cold.steps:
        with hosts.phase(hosts.SAVE):
          checkpointer.save(at.step, state, kept.host_state(settings, tokenizer, at))
      hosts.enter(hosts.STEADY)  # by now everything is compiled

    params = fine_tuning.fine_tune(
      begin.params,
      examples,
      learner=learner,
      steps=cold.steps,
      drill_steps=cold.drill_steps,
      exercise_steps=cold.exercise_steps,
      mastery=cold.mastery,
      opening_steps=cold.opening_steps,
      drills=drills,
      exercises=exercises,
      drill_share=cold.drill_share,
      seed=cold.seed,
      resume=resume,
      on_step=on_step,
      on_state=on_state,
    )
  hosts.enter(hosts.SAVE)
  checkpointer.close()
  if writer is not None:
    writer.close()
  write_policy(folder / POLICY, begin.model, params, tokenizer)


def make_exercises(
  settings: Settings, tokenizer: tokenizer_lib.Tokenizer
) -> tuple[list[demonstrations.Example], list[demonstrations.Example]]:
  """(exercises of reading, exercises of all kinds) of a config, as many as it sees."""
  cold = settings.cold_start
  num_exercises = cold.drills if cold.drill_share or cold.exercise_steps else 0
  reading, every = (
    cold_start.make_drills(
      num,
      teacher=table.make_teacher(settings.env_name, settings.env),
      style=settings.style,
      chat=assembly.make_chat(settings, tokenizer),
      tokenizer=tokenizer,
      reading_only=reading_only,
    )
    for reading_only, num in ((True, cold.drills), (False, num_exercises))
  )
  return reading, every


def initial_params(settings: Settings) -> Params:
  """Random parameters, with the head start that the config asks for."""
  weights, heads = jax.random.split(jax.random.key(settings.seed))
  cold, model = settings.cold_start, settings.model
  params = init_params(weights, model)
  if cold.previous_token_heads:
    params = head_start.previous_token_heads(params, model, cold.previous_token_heads)
  if cold.induction_head:
    params = head_start.induction_head(heads, params, model)
  return params


def write_policy(
  folder: Path,
  model: ModelConfig,
  params: Params,
  tokenizer: tokenizer_lib.Tokenizer,
  *,
  dtype: str | None = None,
) -> None:
  """Writes a policy folder in the Hugging Face layout; config.json comes last.

  `dtype`: of the weights; None: the type they have.
  """
  if hosts.is_first():
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(folder)
  save_checkpoint(folder, model, params, dtype=dtype)
