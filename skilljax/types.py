"""The records that every room shares: tasks, turns, trajectories, skills, edits.

Purpose: one frozen vocabulary (docs/architecture.md, section Names).
Must not know about: JAX, tokenizers, environments, files.
"""

import dataclasses
import enum

import numpy as np


class Role(enum.IntEnum):
  """Who a token belongs to. Every trained token has a role and a group id."""

  NONE = 0  # context: prompts and observations, never trained
  ACT = 1  # a task turn: think, then one action
  EDIT = 2  # the skill review after an episode
  SELECT = 3  # choosing which skills to open


@dataclasses.dataclass(frozen=True)
class Task:
  """One thing an environment can be asked to play.

  Attributes:
    env: environment name, for example 'household'.
    split: 'train', 'dev', 'test', or a benchmark's own split name.
    scope: bank scope. Tasks of one scope share one skill bank (one estate of
      `household`; all of ALFWorld).
    family: task family; the retrieval category.
    name: unique inside (env, split) and enough to rebuild the task.
    seed: environment seed.
    cluster: tasks of one cluster are alike (one product to buy, one room and goal), so
      intervals do not count them as independent; '' is a task of its own.
  """

  env: str
  split: str
  scope: str
  family: str
  name: str
  seed: int = 0
  cluster: str = ""

  @property
  def key(self) -> str:
    """A stable identifier, unique over environments, splits and seeds."""
    return f"{self.env}/{self.split}/{self.name}#{self.seed}"


@dataclasses.dataclass(frozen=True)
class Observation:
  """What an environment answers to `reset` and `step`.

  Attributes:
    text: what the policy reads.
    reward: of this step; the sum over an episode is its return.
    terminated: the environment ended the episode.
    truncated: the step cap ended the episode.
    success: the goal holds now.
    admissible: commands that would have an effect; empty if not offered.
    goal: the goal sentence; set on reset.
    max_turns: step cap H of the episode; set on reset.
  """

  text: str
  reward: float = 0.0
  terminated: bool = False
  truncated: bool = False
  success: bool = False
  admissible: tuple[str, ...] = ()
  goal: str = ""
  max_turns: int = 0

  @property
  def ended(self) -> bool:
    """True when no further step is allowed."""
    return self.terminated or self.truncated


@dataclasses.dataclass(frozen=True)
class Fault:
  """An environment that hung, died or raised, in place of an observation."""

  task: Task
  reason: str


@dataclasses.dataclass(frozen=True)
class Provenance:
  """Where a skill comes from. Never part of the content hash.

  Attributes:
    origin: 'seed', 'policy', 'teacher' or 'import'.
    task: key of the task whose episode led to the edit.
    policy_version: update count of the policy that wrote it; -1 if none.
    parent: content hash of the bank that the edit was applied to.
    reason: the evidence or reason given with the edit.
  """

  origin: str = "seed"
  task: str = ""
  policy_version: int = -1
  parent: str = ""
  reason: str = ""


@dataclasses.dataclass(frozen=True)
class Skill:
  """One entry of the bank. Equality and hashes look at content only."""

  skill_id: str  # short and stable inside a bank: 's1', 's2', …; never reused
  category: str  # a task family, or 'general'
  title: str
  principle: str
  when_to_apply: str
  provenance: Provenance = dataclasses.field(default_factory=Provenance, compare=False)


@dataclasses.dataclass(frozen=True)
class Edit:
  """One parsed skill-review decision.

  Attributes:
    kind: 'propose', 'update', 'keep' or 'retire'.
    category: for 'propose'.
    title, principle, when_to_apply: for 'propose' and 'update'.
    skill_id: target of 'update' and 'retire'.
    reason: evidence (propose) or reason (all others).
  """

  kind: str
  category: str = ""
  title: str = ""
  principle: str = ""
  when_to_apply: str = ""
  skill_id: str = ""
  reason: str = ""


@dataclasses.dataclass(frozen=True)
class Turn:
  """One model response and what the world said to it.

  Attributes:
    role: what the response was for.
    start, stop: the response is `trajectory.tokens[start:stop]`.
    text: the response, derived from the ids.
    action: the parsed action (ACT); '' when the parser rejected the response.
    rejection: why the parser rejected it; '' when it did not.
    observation: the environment's answer; '' for an EDIT turn.
    reward: environment reward of this turn.
    finish: 'stop' (the policy ended it), 'length' (token limit) or 'full'
      (context limit).
    policy_version: update count of the sampling policy.
    bank_version: content hash of the bank in the prompt.
  """

  role: Role
  start: int
  stop: int
  text: str
  action: str
  rejection: str
  observation: str
  reward: float
  finish: str
  policy_version: int
  bank_version: str


def episode_score(success: bool, num_turns: int, max_turns: int) -> float:
  """Success plus step efficiency, s + s·(H − L)/H, in {0} ∪ [1, 2)."""
  return 1.0 + (max_turns - num_turns) / max_turns if success else 0.0


@dataclasses.dataclass(frozen=True, eq=False)
class Trajectory:
  """All turns of one episode; the token ids are the only record of text.

  Shapes: T tokens. Position t of a per-token array belongs to `tokens[t]`, so
  `behavior_logprobs[t]` is log π(tokens[t] | tokens[:t]); context tokens hold 0.

  Attributes:
    episode_id: unique inside a rollout plan.
    task: what was played.
    group_id: rows with equal ids form a group.
    goal: the goal sentence.
    tokens: [T] int32.
    loss_mask: [T] bool, True where the policy sampled the token.
    role: [T] int8, `Role`.
    turn_index: [T] int16, index into `turns`; -1 for context.
    behavior_logprobs: [T] float32, full softmax at the sampling temperature.
    sampled_logprobs: [T] float32, after top-k and top-p renormalisation.
    turns: in order; the EDIT turn, if any, is the last one.
    shown_skills: ids of the skills in the prompt, in prompt order.
    skill_block: the rendered skill section exactly as the policy read it.
    bank_version: content hash of the bank the episode was played under.
    policy_version: update count of the sampling policy.
    success, terminated, truncated: outcome.
    episode_return: sum of environment rewards.
    max_turns: step cap H.
    edit: the parsed review decision; None without review or when rejected.
    edit_rejection: why the review was rejected; '' when it was not.
    fault: why the environment failed; '' when it did not. Faulty episodes are
      reported and never trained on.
    first_observation: what the environment said on reset, raw.
  """

  episode_id: str
  task: Task
  group_id: int
  goal: str
  tokens: np.ndarray
  loss_mask: np.ndarray
  role: np.ndarray
  turn_index: np.ndarray
  behavior_logprobs: np.ndarray
  sampled_logprobs: np.ndarray
  turns: tuple[Turn, ...]
  shown_skills: tuple[str, ...]
  skill_block: str
  bank_version: str
  policy_version: int
  success: bool
  terminated: bool
  truncated: bool
  episode_return: float
  max_turns: int
  edit: Edit | None = None
  edit_rejection: str = ""
  fault: str = ""
  first_observation: str = ""

  @property
  def num_act_turns(self) -> int:
    """L, the number of task turns."""
    return sum(turn.role == Role.ACT for turn in self.turns)

  @property
  def score(self) -> float:
    """See `episode_score`."""
    return episode_score(self.success, self.num_act_turns, self.max_turns)
