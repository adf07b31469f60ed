"""Supervised fine-tuning: stages of packed batches, and where among them a run stands.

Each step takes one micro-batch of packed rows; epochs are reshuffled and repacked. What
comes next is a function of the seed and a `Position`, so a run that was interrupted goes
on with the batches that it would have seen.

Must not know about: environments, text, files.
"""

import dataclasses
import itertools
from collections.abc import Callable, Iterator, Sequence

import jax
import numpy as np

from skilljax import hosts
from skilljax.data.demonstrations import Example
from skilljax.data.packing import pack
from skilljax.learner import Learner, LearnerSettings, Params, TrainState
from skilljax.rl.batch import TokenBatch

MASTERY_WINDOW = 10  # steps over which the loss of a stage is averaged


@dataclasses.dataclass(frozen=True)
class Position:
  """Where fine-tuning stands between two steps; plain numbers, for a checkpoint.

  Attributes:
    step: optimiser steps so far.
    stage: number of the stage that they led to.
    begun: step at which that stage began.
    epoch, batch: of the stage's data, what comes next.
    losses: the last of the stage, at most `MASTERY_WINDOW`, nats a token.
  """

  step: int = 0
  stage: int = 0
  begun: int = 0
  epoch: int = 0
  batch: int = 0
  losses: tuple[float, ...] = ()


def check_fit(kind: str, examples: Sequence[Example], row_len: int) -> None:
  """Raises a ValueError unless each example has its place in a row of tokens."""
  longest = max((len(example.tokens) for example in examples), default=0)
  if longest > row_len:
    raise ValueError(
      f"a {kind} has {longest} tokens, and row_len={row_len} (config key sft.row_len) "
      "must hold it; raise it, or lower env.max_observation_chars or engine.max_len"
    )


def fine_tune(
  params: Params,
  examples: Sequence[Example],
  *,
  learner: Learner,
  steps: int,
  drill_steps: int = 0,
  exercise_steps: int = 0,
  mastery: float = 0.0,
  opening_steps: int = 0,
  drills: Sequence[Example] = (),
  exercises: Sequence[Example] = (),
  drill_share: float = 0.0,
  seed: int,
  resume: tuple[TrainState, Position] | None = None,
  on_step: Callable[[int, dict[str, float]], None] = lambda step, metrics: None,
  on_state: Callable[[TrainState, Position], None] = lambda state, position: None,
) -> Params:
  """Supervised fine-tuning on masked tokens.

  Args:
    params: the initial policy; not changed.
    examples: demonstrations.
    learner: optimiser and shapes; its `decay_steps` should equal `steps`.
    steps: optimiser steps.
    drill_steps: how many of them at most, first, see drills only.
    exercise_steps: how many at most, after those, see exercises only.
    mastery: loss below which these two stages end early; 0 = never.
    opening_steps: how many, after those, see openings in place of demonstrations.
    drills: from `make_drills`, reading only.
    exercises: from `make_drills`, of all kinds.
    drill_share: share of exercises in the tokens from the openings on, in [0, 1).
    seed: of the order of examples.
    resume: what `on_state` was given once, to go on from there with the same arguments;
      its arrays are donated.
    on_step: called after each step with (step, metrics).
    on_state: called after that with what a checkpoint needs; the next step donates the
      arrays.
  Raises:
    ValueError: steps, or a share, of exercises that are not there; an example that no
      row can hold.
  """
  if (drill_steps and not drills) or ((exercise_steps or drill_share) and not exercises):
    raise ValueError(
      f"drill_steps={drill_steps}, exercise_steps={exercise_steps} and "
      f"drill_share={drill_share} need exercises (config keys cold_start.*)"
    )
  check_fit("demonstration", examples, learner.settings.row_len)
  check_fit("exercise", [*drills, *exercises], learner.settings.row_len)
  openings = [e.opening() for e in examples] if opening_steps else []
  stages = (
    _Stage(drills, (), 0.0, drill_steps, mastery),
    _Stage(exercises, (), 0.0, exercise_steps, mastery),
    _Stage(openings, exercises, drill_share, opening_steps, 0.0),
    _Stage(examples, exercises, drill_share, steps, 0.0),
  )
  state, at = resume or (learner.init(params), Position())
  for number, stage in enumerate(stages):
    if number < at.stage or not stage.most:
      continue
    if number > at.stage:
      at = Position(step=at.step, stage=number, begun=at.step)
    end = min(at.begun + stage.most, steps)
    for epoch, index, batch, num in stage.batches(learner.settings, (seed, number), at):
      if at.step >= end or _mean_of_last(at.losses) < stage.goal:
        break
      with hosts.waiting(hosts.LEARNING):
        state, metrics = learner.imitate(state, batch, num_sequences=num)
      losses = (*at.losses, metrics["nll"])[-MASTERY_WINDOW:]
      at = Position(at.step + 1, number, at.begun, epoch, index + 1, losses)
      on_step(at.step, metrics)
      on_state(state, at)
  return jax.block_until_ready(state.params)


def _mean_of_last(losses: Sequence[float]) -> float:
  """Over `MASTERY_WINDOW` losses; inf before there are so many."""
  return float(np.mean(losses)) if len(losses) >= MASTERY_WINDOW else float("inf")


@dataclasses.dataclass(frozen=True)
class _Stage:
  """What is seen in one stage.

  Attributes:
    examples: all of them once an epoch.
    exercises: from which others are drawn to make up a share of the tokens.
    share: of exercises.
    most: steps at most.
    goal: mean loss below which the stage ends early.
  """

  examples: Sequence[Example]
  exercises: Sequence[Example]
  share: float
  most: int
  goal: float

  def batches(
    self, settings: LearnerSettings, seed: tuple[int, ...], at: Position
  ) -> Iterator[tuple[int, int, TokenBatch, int]]:
    """Yields (epoch, index in it, micro-batch, sequences) for ever, from a position on.

    Every epoch has other exercises among its examples.
    """
    for epoch in itertools.count(at.epoch):
      mixed = _mix(self.examples, self.exercises, self.share, (*seed, epoch))
      numbered = enumerate(_epoch(mixed, settings, (*seed, epoch)))
      first = at.batch if epoch == at.epoch else 0
      for index, (batch, num) in itertools.islice(numbered, first, None):
        yield epoch, index, batch, num


def _mix(
  examples: Sequence[Example],
  exercises: Sequence[Example],
  share: float,
  seed: tuple[int, ...],
) -> list[Example]:
  """All examples, and as many random exercises as make up `share` of the tokens."""
  if not share:
    return list(examples)
  tokens = sum(len(e.tokens) for e in examples)
  length = np.mean([len(e.tokens) for e in exercises])
  num = round(share / (1.0 - share) * tokens / length)
  chosen = np.random.default_rng(list(seed)).integers(len(exercises), size=num)
  return [*examples, *(exercises[int(i)] for i in chosen)]


def _epoch(
  examples: Sequence[Example], settings: LearnerSettings, seed: tuple[int, ...]
) -> Iterator[tuple[TokenBatch, int]]:
  """Yields single micro-batches of one epoch.

  Examples are shuffled, cut into blocks, and each block is packed on its own, so that
  batches mix lengths.
  """
  order = np.random.default_rng(list(seed)).permutation(len(examples))
  mean = np.mean([len(e.tokens) for e in examples])
  per_batch = max(1, int(settings.rows_per_batch * (settings.row_len // max(mean, 1))))
  block = per_batch * 8
  for start in range(0, len(order), block):
    members = [examples[int(i)] for i in order[start : start + block]]
    zeros = [np.zeros(len(m.tokens), np.float32) for m in members]
    packed = pack(
      members,
      zeros,
      row_len=settings.row_len,
      rows_per_batch=settings.rows_per_batch,
    )
    for m in np.random.default_rng([*seed, start]).permutation(packed.tokens.shape[0]):
      part = jax.tree.map(lambda leaf, m=m: leaf[m : m + 1], packed)
      yield part, len(members)
