"""A cold-start run: demonstrations, tokenizer, supervised policy, all in one folder.

  <folder>/demonstrations/   TFDS dataset
  <folder>/policy/           config.json, model.safetensors, tokenizer files

Must not know about: flags, RL.
"""

import json
from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np

from skilljax import assembly, cold_start
from skilljax.config import ConfigError, to_json
from skilljax.data import demonstrations
from skilljax.data.tokenizer import Tokenizer, train_tokenizer
from skilljax.engine.scripted import ScriptedEngine
from skilljax.envs import base as envs
from skilljax.learner import Learner, Params
from skilljax.metrics import MetricWriter, Progress
from skilljax.models import head_start
from skilljax.models.hf_io import save_checkpoint
from skilljax.models.transformer import init_params
from skilljax.types import Task

POLICY, DATA = "policy", "."


def run(settings: assembly.Settings, folder: str | Path) -> Path:
  """Makes demonstrations and trains the cold-start policy.

  Args:
    settings: needs the sections `model`, `cold_start` and `sft`.
    folder: of the run; what is complete in it is not made again.
  Returns:
    The policy folder.
  Raises:
    ConfigError: a section is missing, or shapes do not fit.
  """
  folder = Path(folder)
  policy = folder / POLICY
  if (policy / "config.json").exists():
    return policy
  check(settings)
  folder.mkdir(parents=True, exist_ok=True)
  (folder / "config.json").write_text(to_json(settings.resolved))
  tokenizer = make_dataset(settings, folder)
  train(settings, folder, tokenizer)
  return policy


def check(settings: assembly.Settings) -> None:
  """Raises a ConfigError unless the config can be cold-started."""
  for name in ("model", "cold_start", "sft"):
    if settings.__dict__[name] is None:
      raise ConfigError(f"config section {name!r} is missing; a cold start needs it")
  assembly.check_shapes(settings.sft, settings.engine, "sft")
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


def make_dataset(settings: assembly.Settings, folder: Path) -> Tokenizer:
  """Plays the demonstrations and stores them, with the tokenizer that they need."""
  cold, style = settings.cold_start, settings.style
  source = envs.make_source(settings.env_name, settings.env)
  teacher = envs.make_teacher(settings.env_name, settings.env)
  tasks = draw_tasks(source, settings.train.split, cold.episodes, cold.seed)
  env = envs.make_env(settings.env_name, settings.env)
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
  tokenizer = train_tokenizer(texts, vocab_size=cold.vocab_size)
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
  demonstrations.build(folder, trajectories)
  return tokenizer


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


def train(settings: assembly.Settings, folder: Path, tokenizer: Tokenizer) -> None:
  """Supervised fine-tuning on the stored demonstrations; writes the policy folder."""
  model = settings.model
  tokenizer.check_fits(model.vocab_size)
  cold = settings.cold_start
  examples = demonstrations.balance_reviews(demonstrations.load(folder), cold.seed)
  num_exercises = cold.drills if cold.drill_share or cold.exercise_steps else 0
  drills, exercises = (
    cold_start.make_drills(
      num,
      teacher=envs.make_teacher(settings.env_name, settings.env),
      style=settings.style,
      chat=assembly.CHATS[settings.chat](tokenizer),
      tokenizer=tokenizer,
      reading_only=reading_only,
    )
    for reading_only, num in ((True, cold.drills), (False, num_exercises))
  )
  writer = MetricWriter(folder)
  with Progress("cold start", total=cold.steps) as progress:

    def on_step(step: int, metrics: dict[str, float]):
      rows = {"train/nll": metrics["nll"], "train/grad_norm": metrics["grad_norm"]}
      for role in ("act", "edit"):
        if f"{role}/nll" in metrics:
          rows[f"train/nll_{role}"] = metrics[f"{role}/nll"]
      writer.write(step, rows)
      progress.update(step, f"nll {metrics['nll']:.3f}")

    params = cold_start.fine_tune(
      initial_params(settings),
      examples,
      learner=Learner(model, settings.sft, settings.loss),
      steps=cold.steps,
      drill_steps=cold.drill_steps,
      exercise_steps=cold.exercise_steps,
      mastery=cold.mastery,
      opening_steps=cold.opening_steps,
      drills=drills,
      exercises=exercises,
      drill_share=cold.drill_share,
      seed=cold.seed,
      on_step=on_step,
    )
  writer.close()
  write_policy(folder / POLICY, model, params, tokenizer)
  (folder / "dataset.json").write_text(json.dumps({"examples": len(examples)}))


def initial_params(settings: assembly.Settings) -> Params:
  """Random parameters, with the head start that the config asks for."""
  weights, heads = jax.random.split(jax.random.key(settings.seed))
  cold, model = settings.cold_start, settings.model
  params = init_params(weights, model)
  if cold.previous_token_heads:
    params = head_start.previous_token_heads(params, model, cold.previous_token_heads)
  if cold.induction_head:
    params = head_start.induction_head(heads, params, model)
  return params


def write_policy(folder: Path, model, params, tokenizer: Tokenizer) -> None:
  """Writes a policy folder in the Hugging Face layout; config.json comes last."""
  folder.mkdir(parents=True, exist_ok=True)
  tokenizer.save(folder)
  save_checkpoint(folder, model, params)
