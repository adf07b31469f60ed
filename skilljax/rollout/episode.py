"""One episode while it is being played: transcript, turns, outcome.

Must not know about: engines, environment processes, plans beyond its own node.
"""

import dataclasses

from skilljax.agents.chat import Transcript
from skilljax.agents.parse import ParsedEdit, parse_action, parse_edit
from skilljax.engine.base import GenerateResult
from skilljax.rollout.plan import EpisodeNode
from skilljax.types import Edit, Observation, Role, Trajectory, Turn


@dataclasses.dataclass
class Episode:
  """The mutable record behind a `Trajectory`.

  Attributes:
    node: what is played.
    bank_version, policy_version, shown_skills, skill_block: fixed at the start.
    transcript: the tokens so far.
    has_slot: the engine holds a slot for it.
    in_env: the pool holds an environment for it.
    reviewing: the next response is the EDIT turn.
    closed: the last response ended with its own stop token.
    context_full: the context limit ended the episode.
    first_text, last_text: the first and the last observation.
  """

  node: EpisodeNode
  bank_version: str
  policy_version: int
  shown_skills: tuple[str, ...]
  skill_block: str
  transcript: Transcript = dataclasses.field(default_factory=Transcript)
  turns: list[Turn] = dataclasses.field(default_factory=list)
  has_slot: bool = False
  in_env: bool = True
  reviewing: bool = False
  closed: bool = True
  context_full: bool = False
  success: bool = False
  terminated: bool = False
  truncated: bool = False
  episode_return: float = 0.0
  goal: str = ""
  max_turns: int = 0
  first_text: str = ""
  last_text: str = ""
  fault: str = ""
  edit: Edit | None = None
  edit_rejection: str = ""

  def observe(self, observation: Observation):
    """Records the environment's answer to the last turn, or to the reset."""
    if self.max_turns == 0:
      self.goal, self.max_turns = observation.goal, observation.max_turns
      self.first_text = observation.text
    else:
      self.turns[-1] = dataclasses.replace(
        self.turns[-1], observation=observation.text, reward=observation.reward
      )
    self.last_text = observation.text
    self.success = self.success or observation.success
    self.terminated = observation.terminated
    self.truncated = observation.truncated
    self.episode_return += observation.reward

  def add_action(self, result: GenerateResult, text: str, *, code: bool) -> str:
    """Records a task response; returns the command for the environment."""
    parsed = parse_action(text, code=code)
    self._add_turn(result, text, Role.ACT, parsed.action, parsed.rejection)
    return parsed.action

  def add_edit(self, result: GenerateResult, text: str, *, categories: tuple[str, ...]):
    """Records the review response.

    A review that the policy did not end itself edits nothing, even where what there is
    of it can be read: its reward is that of an unfinished one.
    """
    parsed = parse_edit(text, categories)
    if result.finish != "stop" and parsed.edit is not None:
      parsed = ParsedEdit(None, "unfinished")
    self.edit, self.edit_rejection = parsed.edit, parsed.rejection
    kind = "" if parsed.edit is None else parsed.edit.kind
    self._add_turn(result, text, Role.EDIT, kind, parsed.rejection)

  def _add_turn(
    self, result: GenerateResult, text: str, role: Role, action: str, rejection: str
  ):
    start, stop = self.transcript.add_response(
      result.tokens, result.behavior_logprobs, result.sampled_logprobs, role
    )
    self.closed = result.finish == "stop"
    self.context_full = result.finish == "full"
    self.turns.append(
      Turn(
        role=role,
        start=start,
        stop=stop,
        text=text,
        action=action,
        rejection=rejection,
        observation="",
        reward=0.0,
        finish=result.finish,
        policy_version=self.policy_version,
        bank_version=self.bank_version,
      )
    )

  def trajectory(self) -> Trajectory:
    """The finished, immutable record."""
    arrays = self.transcript.arrays()
    cut = self.context_full and not self.terminated
    return Trajectory(
      episode_id=self.node.node_id,
      task=self.node.task,
      group_id=self.node.group_id,
      goal=self.goal,
      turns=tuple(self.turns),
      shown_skills=self.shown_skills,
      skill_block=self.skill_block,
      bank_version=self.bank_version,
      policy_version=self.policy_version,
      success=self.success,
      terminated=self.terminated,
      truncated=self.truncated or cut,
      episode_return=self.episode_return,
      max_turns=self.max_turns,
      edit=self.edit,
      edit_rejection=self.edit_rejection,
      fault=self.fault,
      first_observation=self.first_text,
      **arrays,
    )
