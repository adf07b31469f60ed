"""Reference rows of a benchmark: chance, the demonstrator and a written expert.

They play the tasks that section `eval` selects, each once a pass, through the policy's
prompts and parser and the environments of section `pool`; the files are those of
`evaluation.py`. No model, no skills, no bank. A pass draws anew what a player leaves to
chance. An episode that breaks is a record with its reason, and the others go on.

Must not know about: flags, engines, training.
"""

import collections
import dataclasses
import random
import re
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

from skilljax import assembly, folders
from skilljax.agents.parse import parse_action
from skilljax.agents.prompts import PromptStyle
from skilljax.config import ConfigError
from skilljax.envs import base as envs
from skilljax.envs import table
from skilljax.envs.pool import EnvPool
from skilljax.evaluation.exact import EpisodeRecord, Evaluation, Pass
from skilljax.metrics import Progress
from skilljax.runs import evaluation
from skilljax.runs.claim import claims_folder
from skilljax.runs.passes import Passes
from skilljax.settings import Settings
from skilljax.types import Fault, Observation, Task, episode_score

PLAYERS = ("random", "demonstrator", "expert")

_BLANK = re.compile(r"<[^<>]*>")  # of a command: 'search[<your query>]'
_PATIENCE_S = 60.0  # of one wait; the pool's own time-outs decide who has hung


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
      ValueError: the environment offers none.
    """
    self._goal = seen.goal or self._goal
    if not seen.admissible:
      raise ValueError("the environment offers no command to choose from")
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


@claims_folder
def run(settings: Settings, player: str, folder: str | Path) -> dict[str, Any]:
  """Plays the evaluation tasks; returns the summary that it also writes.

  A run that was killed keeps its finished passes and goes on after them.

  Args:
    settings: section `eval` says which tasks and how many passes; its arms, temperature
      and warm-up play no part.
    player: one of `PLAYERS`.
    folder: of the results.
  Raises:
    ConfigError: unknown player, one that this environment cannot have, data that are
      absent or damaged, finished passes of another run in the folder.
  """
  if player not in PLAYERS:
    raise ConfigError(f"player={player!r} must be one of {', '.join(PLAYERS)}")
  if player == "random" and table.code_actions(settings.env_name):
    raise ConfigError(
      f"player='random' needs commands to choose from, and environment "
      f"{settings.env_name!r} takes program text and offers none"
    )
  folders.check_writable(folder, folders=evaluation.FOLDERS, files=evaluation.FILES)
  source = assembly.open_source(settings, settings.eval.split, key="eval.split")
  tasks, _ = evaluation.choose_tasks(source, settings.eval)
  make = _Maker(settings, player)
  finished = Passes(Path(folder), settings, {"player": player})
  if (summary := finished.finished()) is not None:
    return summary
  passes = finished.begin()[: settings.eval.passes]
  num = sum(map(len, tasks.values()))
  offering = dataclasses.replace(settings, env=_offering(settings.env))
  with (
    assembly.make_pool(offering) as pool,
    Progress(
      player, total=num * settings.eval.passes, done=num * len(passes)
    ) as progress,
  ):
    for index in range(len(passes), settings.eval.passes):
      before = num * index
      rows = _play_pass(
        pool,
        _rounds(tasks, index, settings.seed),
        make,
        on_episode=lambda played, before=before: progress.update(before + played),
      )
      records = tuple(EpisodeRecord(arm=player, pass_index=index, **row) for row in rows)
      passes.append(Pass(records, {}, {}))
      finished.keep(index, passes[index])
  records = tuple(record for one in passes for record in one.records)
  played = Evaluation(records, {}, len(records), {})
  return evaluation.finish(finished, settings, played, tasks=tasks, policy=player)


@dataclasses.dataclass
class _Round:
  """One episode: what is played, and how far it has come."""

  task: Task
  position: int  # in the stream of its scope
  seed: int
  player: Player | None = None
  turns: int = 0
  most: int = 0  # the step cap, known from the reset
  total: float = 0.0
  success: bool = False
  fault: str = ""

  def record(self) -> dict[str, Any]:
    """The fields of an `EpisodeRecord`, without arm and pass."""
    return {
      "scope": self.task.scope,
      "position": self.position,
      "task": self.task.key,
      "family": self.task.family,
      "success": self.success and not self.fault,
      "score": episode_score(self.success and not self.fault, self.turns, self.most),
      "num_turns": self.turns,
      "bank_size": 0,
      "episode_return": self.total,
      "fault": self.fault,
      "cluster": self.task.cluster,
    }


def _rounds(tasks: evaluation.Tasks, index: int, seed: int) -> list[_Round]:
  """The episodes of a pass, in the order of its streams."""
  return [
    _Round(task, position, zlib.crc32(f"{seed}/{index}/{task.key}".encode()))
    for stream in tasks.values()
    for position, task in enumerate(stream)
  ]


def _play_pass(
  pool: EnvPool,
  rounds: Sequence[_Round],
  make: Callable[[Task, int], Player],
  *,
  on_episode: Callable[[int], None],
) -> list[dict[str, Any]]:
  """Plays each round once, as many side by side as the pool has room for."""
  waiting = collections.deque(enumerate(rounds))
  running: dict[str, _Round] = {}
  while waiting or running:
    while waiting and pool.num_free:
      number, fresh = waiting.popleft()
      running[str(number)] = fresh
      pool.start(str(number), fresh.task)
    for ticket, answer in pool.poll(_PATIENCE_S):
      command = _next_command(running[ticket], answer, make)
      if command is not None:
        pool.step(ticket, command)
        continue
      pool.release(ticket)
      del running[ticket]
      on_episode(len(rounds) - len(waiting) - len(running))
  return [one.record() for one in rounds]


def _next_command(
  played: _Round, answer: Observation | Fault, make: Callable[[Task, int], Player]
) -> str | None:
  """Takes an answer in; the command that follows, None where the episode is over."""
  if isinstance(answer, Fault):
    played.fault = answer.reason
    return None
  try:
    if played.player is None:
      played.player, played.most = make(played.task, played.seed), answer.max_turns
    else:
      played.turns += 1
      played.total += answer.reward
    if not answer.ended:
      return played.player.command(answer)
  except ConfigError:
    raise
  except Exception as error:  # of a player who was told what no player expects
    played.fault = f"{type(error).__name__}: {error}"
    return None
  played.success = answer.success
  return None


def _offering(env_settings: Any) -> Any:
  """The settings of an environment, with commands to choose from if it can offer any."""
  if "admissible" not in {field.name for field in dataclasses.fields(env_settings)}:
    return env_settings
  return dataclasses.replace(env_settings, admissible=True)


class _Maker:
  """(task, seed) -> a player of one episode."""

  def __init__(self, settings: Settings, name: str):
    self._settings, self._name = settings, name
    self._teacher = table.make_teacher(settings.env_name, settings.env)
    self._code = table.code_actions(settings.env_name)
    self._num_made = 0

  def __call__(self, task: Task, seed: int) -> Player:
    if self._name == "random":
      return RandomPlayer(seed)
    try:
      expert = self._name == "expert"
      agent = self._teacher.expert(task) if expert else self._teacher.agent(task, seed)
    except ValueError as error:
      if self._num_made:
        raise  # of one task
      raise ConfigError(f"player={self._name!r}: {error}") from error
    self._num_made += 1
    return ScriptedPlayer(agent, self._settings.style, code=self._code)
