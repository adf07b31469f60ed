"""The scripted reader of `household`: what following and writing skills can be worth.

It reads the skills of its prompt, explores what they leave open and reviews its episodes,
in the policy's place: same tasks, arms, prompts, parser, retrieval and limits. It is the
bound that a trained policy's arms are compared with.

Must not know about: flags, training.
"""

import dataclasses
import zlib
from pathlib import Path
from typing import Any

from skilljax import assembly, folders
from skilljax.config import ConfigError
from skilljax.data.tokenizer import train_tokenizer
from skilljax.engine.base import GenerateRequest, GenerateResult
from skilljax.engine.scripted import ScriptedEngine
from skilljax.envs.household import HouseholdAgent
from skilljax.evaluation import exact
from skilljax.runs import evaluation
from skilljax.runs.claim import claims_folder
from skilljax.runs.passes import Passes
from skilljax.settings import Settings

NAME = "reader"
# Of a tokenizer that has little but bytes: a reply is never cut.
_BYTES, _BUDGET = ("household",), 4096


class ReaderEngine:
  """A scripted engine whose readers explore as their sampling keys say (Engine)."""

  def __init__(self, tokenizer, *, num_slots: int, stop_id: int):
    """Takes a tokenizer, the number of open sequences and the id that ends a reply."""
    self._keys: dict[str, tuple] = {}
    self._inner = ScriptedEngine(self._reader, tokenizer, num_slots, stop_id)

  def _reader(self, sequence: str) -> HouseholdAgent:
    return HouseholdAgent(seed=zlib.crc32(repr(self._keys[sequence]).encode()))

  @property
  def policy_version(self) -> int:
    """As of the scripted engine."""
    return self._inner.policy_version

  @property
  def num_free(self) -> int:
    """As of the scripted engine."""
    return self._inner.num_free

  @property
  def max_len(self) -> int:
    """As of the scripted engine."""
    return self._inner.max_len

  def publish(self, params: Any, version: int) -> None:
    """Takes a version number."""
    self._inner.publish(params, version)

  def submit(self, request: GenerateRequest) -> None:
    """Queues one request; the key of an episode's first seeds its reader."""
    self._keys.setdefault(request.sequence, request.key[:-1])  # without the turn
    self._inner.submit(request)

  def step(self) -> list[GenerateResult]:
    """Answers everything that is queued."""
    return self._inner.step()

  def release(self, sequence: str) -> None:
    """Closes a sequence."""
    self._inner.release(sequence)
    del self._keys[sequence]


@claims_folder
def run(settings: Settings, folder: str | Path) -> dict[str, Any]:
  """Evaluates the reader in the arms of section `eval`; returns the written summary.

  Args:
    settings: of a `household` config.
    folder: of the results.
  Raises:
    ConfigError: another environment, or as `evaluation.run`.
  """
  if settings.env_name != "household":
    raise ConfigError(
      f"player={NAME!r} plays environment 'household' only, not {settings.env_name!r} "
      "(config key env.name)"
    )
  folders.check_writable(folder, folders=evaluation.FOLDERS, files=evaluation.FILES)
  source = assembly.open_source(settings, settings.eval.split, key="eval.split")
  tasks, warmup = evaluation.choose_tasks(source, settings.eval)
  played = evaluation.without_empty_arms(settings.eval, banks_folder=None)
  kept = Passes(Path(folder), settings, {"player": NAME})
  if (summary := kept.finished()) is not None:
    return summary
  finished = kept.begin()[: played.passes]
  tokenizer = train_tokenizer(_BYTES, vocab_size=320)
  budget = {"act_tokens": _BUDGET, "edit_tokens": _BUDGET}
  roomy = dataclasses.replace(
    settings, runner=dataclasses.replace(settings.runner, **budget)
  )
  engine = ReaderEngine(
    tokenizer,
    num_slots=settings.engine.num_slots,
    stop_id=assembly.make_chat(settings, tokenizer).end_id,
  )
  engine.publish(None, 0)
  with (
    assembly.make_pool(settings) as pool,
    evaluation.progress(tasks, warmup, played, len(finished)) as on_episode,
  ):
    result = exact.evaluate(
      tasks,
      runner=assembly.make_runner(roomy, engine=engine, tokenizer=tokenizer, pool=pool),
      settings=played,
      banks={},
      warmup=warmup,
      on_episode=on_episode,
      finished=finished,
      on_pass=lambda index, left: evaluation.keep(kept, index, left),
    )
  return evaluation.finish(kept, settings, result, tasks=tasks, policy=NAME)
