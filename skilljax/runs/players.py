"""Reference rows of a benchmark: chance, the demonstrator and a written expert.

They play the tasks that section `eval` selects, each once a pass, through the policy's
prompts and parser; the files are those of `evaluation.py`. No model, no skills, no bank.
A pass draws anew what a player leaves to chance.

Must not know about: flags, engines, training.
"""

import contextlib
import dataclasses
import random
import re
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from skilljax import assembly, folders
from skilljax.agents.parse import parse_action
from skilljax.agents.prompts import PromptStyle
from skilljax.config import ConfigError
from skilljax.envs import base as envs
from skilljax.evaluation.exact import EpisodeRecord, Evaluation
from skilljax.metrics import Progress
from skilljax.runs import evaluation
from skilljax.settings import Settings
from skilljax.types import Observation, Task, episode_score

PLAYERS = ("random", "demonstrator", "expert")

_BLANK = re.compile(r"<[^<>]*>")  # of a command: 'search[<your query>]'


class Player(Protocol):
  """Plays one episode."""

  def command(self, seen: Observation) -> str:
    """The next command, for what the last one led to."""


class RandomPlayer:
  """Any command that is offered, each as likely; blanks hold the goal."""

  def __init__(self, seed: int):
    """Takes the seed of one episode."""
    self._rng = random.Random(seed)
    self._goal = ""

  def command(self, seen: Observation) -> str:
    """The next command.

    Raises:
      ConfigError: the environment offers none.
    """
    self._goal = seen.goal or self._goal
    if not seen.admissible:
      raise ConfigError(
        "player='random' needs commands to choose from, and this environment offers none"
      )
    return _BLANK.sub(lambda _: self._goal, self._rng.choice(seen.admissible))


class ScriptedPlayer:
  """A scripted agent, in the policy's prompts and form of reply, without skills."""

  def __init__(self, agent: envs.TextAgent, style: PromptStyle, *, code: bool):
    """Takes an agent of a teacher; `code` says that actions are program text."""
    self._agent, self._style, self._code = agent, style, code

  def command(self, seen: Observation) -> str:
    """The next command; '' for a reply that the parser rejects."""
    reply = self._agent.reply(self._style.observation(seen))
    return parse_action(reply, code=self._code).action


def run(settings: Settings, player: str, folder: str | Path) -> dict[str, Any]:
  """Plays the evaluation tasks; returns the summary that it also writes.

  Args:
    settings: section `eval` says which tasks and how many passes; its arms, temperature
      and warm-up play no part.
    player: one of `PLAYERS`.
    folder: of the results.
  Raises:
    ConfigError: unknown player, one that this environment cannot have, data that are
      absent or damaged.
  """
  if player not in PLAYERS:
    raise ConfigError(f"player={player!r} must be one of {', '.join(PLAYERS)}")
  folders.check_writable(folder, folders=("banks",), files=evaluation.FILES)
  source = assembly.open_source(settings, settings.eval.split, key="eval.split")
  tasks, _ = evaluation.choose_tasks(source, settings.eval)
  rounds = [
    (index, position, task)
    for index in range(settings.eval.passes)
    for stream in tasks.values()
    for position, task in enumerate(stream)
  ]
  records: list[EpisodeRecord] = []
  make = _maker(settings, player)
  env = envs.make_env(settings.env_name, _offering(settings.env))
  with contextlib.closing(env), Progress(player, total=len(rounds)) as progress:
    for index, position, task in rounds:
      seed = zlib.crc32(f"{settings.seed}/{index}/{task.key}".encode())
      outcome = _play(env, task, lambda task=task, seed=seed: make(task, seed))
      place = {"pass_index": index, "position": position}
      records.append(EpisodeRecord(arm=player, bank_size=0, **place, **outcome))
      progress.update(len(records))
  name = f"{settings.env_name}_{settings.eval.split}"
  played = Evaluation(tuple(records), {}, len(records), {})
  summary = evaluation.summarise(played, name=name, tasks=tasks, policy=player)
  folder = Path(folder)
  folder.mkdir(parents=True, exist_ok=True)
  evaluation.write(folder, played, summary)
  return summary


def _offering(env_settings: Any) -> Any:
  """The settings of an environment, with commands to choose from if it can offer any."""
  if "admissible" not in {field.name for field in dataclasses.fields(env_settings)}:
    return env_settings
  return dataclasses.replace(env_settings, admissible=True)


def _maker(settings: Settings, name: str) -> Callable[[Task, int], Player]:
  """(task, seed) -> a player of one episode."""
  if name == "random":
    return lambda task, seed: RandomPlayer(seed)
  teacher = envs.make_teacher(settings.env_name, settings.env)
  code = envs.code_actions(settings.env_name)

  def make(task: Task, seed: int) -> ScriptedPlayer:
    try:
      expert = name == "expert"
      agent = teacher.expert(task) if expert else teacher.agent(task, seed)
    except ValueError as error:
      raise ConfigError(f"player={name!r}: {error}") from error
    return ScriptedPlayer(agent, settings.style, code=code)

  return make


def _play(env: envs.Env, task: Task, make: Callable[[], Player]) -> dict[str, Any]:
  """One episode: the fields of its record that follow from playing it."""
  turns, total, success, most, fault = 0, 0.0, False, 0, ""
  try:
    seen = env.reset(task)
    player, most = make(), seen.max_turns
    while not seen.ended:
      seen = env.step(player.command(seen))
      turns, total = turns + 1, total + seen.reward
    success = seen.success
  except envs.UnplayableTask as error:
    fault = str(error)
  return {
    "scope": task.scope,
    "task": task.key,
    "family": task.family,
    "success": success,
    "score": episode_score(success, turns, most),
    "num_turns": turns,
    "episode_return": total,
    "fault": fault,
  }
