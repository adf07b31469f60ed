"""Cold start: scripted demonstrations and exercises, and text for a tokenizer.

Demonstrations are played by the same runner as the policy's own episodes, with a scripted
engine in place of the decoder. So prompts, masks and parsers are those of training.

Must not know about: rewards, probes, the RL loop.
"""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from skilljax import hosts
from skilljax.agents.chat import ChatFormat, Transcript
from skilljax.agents.prompts import PromptStyle
from skilljax.data.demonstrations import Example
from skilljax.data.tokenizer import Tokenizer
from skilljax.engine.scripted import ScriptedEngine
from skilljax.envs.base import Env, Teacher, TextAgent, UnplayableTask
from skilljax.rollout.plan import EpisodeNode, Plan, Purpose
from skilljax.rollout.runner import Runner
from skilljax.skills import bank as bank_lib
from skilljax.types import Role, Skill, Task, Trajectory

CHUNK = 512  # episodes per plan: bounds memory, changes nothing else


@dataclasses.dataclass(frozen=True, kw_only=True)
class ColdStartSettings:
  """Config section `cold_start`.

  Attributes:
    episodes: demonstrations to play.
    steps: optimiser steps of supervised fine-tuning.
    drill_steps: how many of them at most, at the start, see only reading exercises,
      where a small model learns to look a skill up.
    exercise_steps: how many at most, after those, see only exercises of all kinds.
    mastery: each of these two stages ends as soon as its loss, in nats a token and over
      `fine_tuning.MASTERY_WINDOW` steps, is below this; 0 = never.
    opening_steps: how many, after those, see prompts and first responses.
    drills: exercises to make, of reading and of all kinds.
    drill_share: share of exercises of all kinds, in tokens, in what is seen from the
      openings on.
    previous_token_heads: start from weights where that many heads read the tokens just
      before (`models/head_start.py`).
    induction_head: and where one head looks up what followed the present token before.
    tokenizer_episodes: episodes whose text trains the tokenizer, with that of at most
      as many exercises of each sort.
    vocab_size: of that tokenizer.
    checkpoint_every: optimiser steps between checkpoints; a killed run loses at most as
      many.
    seed: of tasks, skills and batches.
  """

  episodes: int
  steps: int
  drill_steps: int = 0
  exercise_steps: int = 0
  mastery: float = 0.0
  opening_steps: int = 0
  drills: int = 0
  drill_share: float = 0.0
  previous_token_heads: int = 0
  induction_head: bool = False
  tokenizer_episodes: int = 400
  vocab_size: int = 768
  checkpoint_every: int = 100
  seed: int = 0

  def __post_init__(self):
    for name in ("episodes", "steps", "tokenizer_episodes", "checkpoint_every"):
      if self.__dict__[name] < 1:
        raise ValueError(
          f"{name}={self.__dict__[name]} must be >= 1 (config key cold_start.{name})"
        )
    stages = ("drill_steps", "exercise_steps", "opening_steps")
    for name in (*stages, "drills"):
      if self.__dict__[name] < 0:
        raise ValueError(
          f"{name}={self.__dict__[name]} must be >= 0 (config key cold_start.{name})"
        )
    if (total := sum(self.__dict__[name] for name in stages)) >= self.steps:
      raise ValueError(
        f"{' + '.join(stages)} = {total} must be < steps={self.steps}, or no whole "
        "demonstration is seen (config keys cold_start.*)"
      )
    if bool(self.drill_steps) != bool(self.drills):
      raise ValueError(
        f"drill_steps={self.drill_steps} and drills={self.drills} must both be 0 or both "
        "be positive (config keys cold_start.*)"
      )
    if not 0.0 <= self.mastery < float("inf") or (self.mastery and not self.drills):
      raise ValueError(
        f"mastery={self.mastery} must be a finite number of nats >= 0, and 0 without "
        "drills (config key cold_start.mastery)"
      )
    if self.exercise_steps and not self.drills:
      raise ValueError(
        f"exercise_steps={self.exercise_steps} must be 0 without drills "
        "(config key cold_start.exercise_steps)"
      )
    if not 0.0 <= self.drill_share < 1.0 or (self.drill_share and not self.drills):
      raise ValueError(
        f"drill_share={self.drill_share} must be in [0, 1), and 0 without drills "
        "(config key cold_start.drill_share)"
      )
    if self.induction_head and not self.previous_token_heads:
      raise ValueError(
        "induction_head=True needs previous_token_heads >= 1, whose output it reads "
        "(config keys cold_start.*)"
      )


def sample_texts(
  tasks: Sequence[Task],
  *,
  env: Env,
  teacher: Teacher,
  style: PromptStyle,
  seed: int,
) -> list[str]:
  """Texts of scripted episodes, for training a tokenizer before there is one."""
  texts = []
  for index, task in enumerate(tasks):
    agent = teacher.agent(task, seed + index)
    try:
      answer = env.reset(task)
    except UnplayableTask:  # its demonstration will say so
      continue
    skills = style.render_skills(teacher.skills(task, seed + index))
    prompt = style.task_prompt(answer, skills)
    while not answer.ended:
      reply = agent.reply(prompt)
      texts += [prompt, reply]
      answer = env.step(reply.partition("<action>")[2].partition("</action>")[0])
      prompt = style.observation(answer)
    prompt = style.review_prompt(task, answer.text, answer.success)
    texts += [prompt, agent.reply(prompt)]
  return texts


def drill_texts(num: int, *, teacher: Teacher, style: PromptStyle) -> list[str]:
  """Texts of `num` exercises of each sort, for training a tokenizer.

  Raises:
    ValueError: the teacher has none.
  """
  drawn = [
    _draw(teacher, seed, reading_only=reading_only)
    for seed in range(num)
    for reading_only in (True, False)
  ]
  return [
    style.render_skills(skills) + "".join(given + recalled for given, recalled in pieces)
    for skills, pieces in drawn
  ]


def _draw(
  teacher: Teacher, seed: int, *, reading_only: bool
) -> tuple[Sequence[Skill], Sequence[tuple[str, str]]]:
  """One exercise of a teacher that has some."""
  skills, pieces = teacher.drill(seed, reading_only=reading_only)
  if not pieces:
    raise ValueError(
      "drills > 0, but the teacher of this environment has none; set it to 0 "
      "(config key cold_start.drills)"
    )
  return skills, pieces


def demonstrate(
  tasks: Sequence[Task],
  *,
  runner: Runner,
  teacher: Teacher,
  num_slots: int,
  max_len: int,
  seed: int,
  on_progress: Callable[[int], None] = lambda done: None,
) -> list[Trajectory]:
  """Plays one scripted episode with review per task; keeps the whole ones.

  Args:
    tasks: one per demonstration; repeats are fine, each gets its own skills.
    runner: whose engine is replaced by the teacher's agents.
    teacher: skills and agents.
    num_slots: episodes at once.
    max_len: longest episode in tokens, as the policy's engine will have it.
    seed: of skills and agents.
    on_progress: called with the number of finished episodes.
  """
  trajectories: list[Trajectory] = []
  for start in range(0, len(tasks), CHUNK):
    trajectories += _play(
      tasks[start : start + CHUNK],
      runner=runner,
      teacher=teacher,
      num_slots=num_slots,
      max_len=max_len,
      start=start,
      seed=seed,
    )
    on_progress(len(trajectories))
  return trajectories


def _play(
  tasks: Sequence[Task],
  *,
  runner: Runner,
  teacher: Teacher,
  num_slots: int,
  max_len: int,
  start: int,
  seed: int,
) -> list[Trajectory]:
  """The whole demonstrations of one chunk, whose first has the index `start`."""
  index_of = {f"d{index}": index for index in range(start, start + len(tasks))}
  task_of = dict(zip(index_of, tasks, strict=True))
  agents: dict[str, TextAgent] = {}

  def make_agent(name: str) -> TextAgent:
    agents[name] = teacher.agent(task_of[name], seed + index_of[name])
    return agents[name]

  engine = ScriptedEngine(
    make_agent, runner.tokenizer, num_slots, runner.chat.stop_ids[0], max_len=max_len
  )
  nodes = tuple(
    EpisodeNode(
      node_id=name,
      task=task_of[name],
      chain=name,
      key=(Purpose.DEMONSTRATION, index),
      review=True,
    )
    for name, index in index_of.items()
  )
  banks = {
    name: bank_lib.from_skills(teacher.skills(task_of[name], seed + index))
    for name, index in index_of.items()
  }
  rollout = dataclasses.replace(runner, engine=engine).run(Plan(nodes), banks)
  # A host knows the agents of the episodes that it played.
  own = {name: tuple(getattr(agent, "slips", ())) for name, agent in agents.items()}
  slips = {name: turns for part in hosts.gather(own) for name, turns in part.items()}
  return [
    without_slips(trajectory, slips[name])
    for name, trajectory in rollout.trajectories.items()
    if is_whole(trajectory)  # so it was opened, and had an agent
  ]


def is_whole(trajectory: Trajectory) -> bool:
  """False for an environment fault, and for an episode cut by a token limit."""
  cut = not trajectory.turns or any(turn.finish != "stop" for turn in trajectory.turns)
  return not trajectory.fault and not cut


def without_slips(trajectory: Trajectory, slips: Sequence[int]) -> Trajectory:
  """The trajectory with the turns that its player did not mean left out of the loss."""
  mask = trajectory.loss_mask & ~np.isin(trajectory.turn_index, slips)
  return dataclasses.replace(trajectory, loss_mask=mask)


def make_drills(
  num: int,
  *,
  teacher: Teacher,
  style: PromptStyle,
  chat: ChatFormat,
  tokenizer: Tokenizer,
  reading_only: bool,
) -> list[Example]:
  """`num` exercises of a teacher, as examples.

  Raises:
    ValueError: drills are asked for and the teacher has none.
  """
  examples = []
  for seed in range(num):
    skills, pieces = _draw(teacher, seed, reading_only=reading_only)
    examples.append(_drill(style.render_skills(skills), pieces, chat, tokenizer))
  return examples


def _drill(
  block: str,
  pieces: Sequence[tuple[str, str]],
  chat: ChatFormat,
  tokenizer: Tokenizer,
) -> Example:
  """One response that recites the skills; only what must be looked up is trained."""
  transcript = Transcript()
  transcript.add_context(chat.opening("", block))
  for given, recalled in pieces:
    transcript.add_context(tokenizer.encode(given))
    ids = np.asarray(tokenizer.encode(recalled), np.int32)
    zeros = np.zeros(len(ids), np.float32)
    transcript.add_response(ids, zeros, zeros, Role.ACT)
  arrays = transcript.arrays()
  del arrays["sampled_logprobs"]
  return Example(**arrays, edit_kind="")
