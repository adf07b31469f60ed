"""Who proposes edits besides the policy: a frozen teacher that reads failed episodes.

Every n updates, families that fail often get reviews: one request a failed episode, with
the family's skills, the end of the episode and the review prompt of pretrained models.
The answer is parsed as strictly as the policy's own review, and its edit is judged like
any other.

Must not know about: HTTP, files, the learner, the gate.

Source: SkillRL (arXiv:2602.08234), skill evolution. Deviations: docs/paper_map.md.
"""

import dataclasses
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from skilljax.agents import prompts
from skilljax.agents.endpoint import Answer, EndpointSettings, Messages
from skilljax.agents.parse import parse_edit
from skilljax.rollout.candidates import Advice
from skilljax.skills.bank import GENERAL, SkillBank
from skilljax.skills.guard import clean_text
from skilljax.types import Provenance, Role, Task, Trajectory

NAMES = ("policy", "endpoint")
_OBSERVATION_CHARS, _RESPONSE_CHARS = 900, 220

_SYSTEM = """\
You improve the skills of an agent that plays text environments, one command at a time.
You read one failed episode and the skills that exist, and answer with one tool call."""

Ask = Callable[[int, Sequence[Messages]], Sequence[Answer]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class ProposerSettings:
  """Config section `proposer`; without it the policy proposes, in its reviews.

  Attributes:
    name: 'policy' or 'endpoint'.
    every: n, updates between two rounds of the teacher.
    below: success rate of a family under which its failures are read, in (0, 1].
    max_skills: failed episodes of a scope and family that are read in a round, hence the
      most edits.
    shown_turns: last task turns of an episode that are shown.
    endpoint: of the teacher.
  """

  name: str = "policy"
  every: int = 5
  below: float = 0.4
  max_skills: int = 3
  shown_turns: int = 12
  endpoint: EndpointSettings | None = None

  def __post_init__(self):
    if self.name not in NAMES:
      raise ValueError(
        f"name={self.name!r} must be one of {NAMES} (config key proposer.name)"
      )
    if self.name == "endpoint" and self.endpoint is None:
      raise ValueError("name='endpoint' needs the config section proposer.endpoint")
    if self.name == "policy":
      for field in dataclasses.fields(self)[1:]:
        if self.__dict__[field.name] != field.default:
          raise ValueError(
            f"{field.name} has no effect with name='policy' (config key "
            f"proposer.{field.name})"
          )
    if not 0.0 < self.below <= 1.0:
      raise ValueError(
        f"below={self.below} must be in (0, 1] (config key proposer.below)"
      )
    for name in ("every", "max_skills", "shown_turns"):
      if self.__dict__[name] < 1:
        raise ValueError(
          f"{name}={self.__dict__[name]} must be >= 1 (config key proposer.{name})"
        )


@dataclasses.dataclass(frozen=True)
class Advised:
  """What a proposer says in an update.

  Attributes:
    advice: parsed edits, in order of preference.
    metrics: names of docs/metrics.md; empty when it was not its turn.
  """

  advice: tuple[Advice, ...] = ()
  metrics: Mapping[str, float] = dataclasses.field(default_factory=dict)


# (update, trained episodes, scope -> bank) -> Advised
Proposer = Callable[[int, Sequence[Trajectory], Mapping[str, SkillBank]], Advised]


def silent(
  update: int, trajectories: Sequence[Trajectory], banks: Mapping[str, SkillBank]
) -> Advised:
  """The proposer of runs in which only the policy's own reviews propose."""
  del update, trajectories, banks
  return Advised()


@dataclasses.dataclass(frozen=True)
class TeacherProposer:
  """Asks a frozen teacher about failed episodes (`Proposer`)."""

  ask: Ask
  settings: ProposerSettings

  def __call__(
    self,
    update: int,
    trajectories: Sequence[Trajectory],
    banks: Mapping[str, SkillBank],
  ) -> Advised:
    """The teacher's edits after an update; none if it is not its turn.

    Args:
      update: number of the update, from 0; the turn is at n − 1, 2n − 1, …
      trajectories: trained episodes of the update.
      banks: scope -> bank they were played under.
    """
    if (update + 1) % self.settings.every:
      return Advised()
    failed = failures(trajectories, self.settings)
    asked = [
      review_messages(t, banks[t.task.scope], self.settings.shown_turns) for t in failed
    ]
    answers = self.ask(update, asked)
    found, unusable = [], 0
    for trajectory, answer in zip(failed, answers, strict=True):
      task = trajectory.task
      parsed = parse_edit(answer.text, (task.family, GENERAL))
      if answer.error or parsed.edit is None:
        unusable += 1
      elif parsed.edit.kind != "keep":
        found.append(advice(len(found), task, parsed.edit, trajectory))
    metrics = {
      "skill/teacher_reviews": float(len(failed)),
      "skill/teacher_unusable": float(unusable),
      "skill/teacher_edits": float(len(found)),
    }
    return Advised(tuple(found), metrics)


def advice(index: int, task: Task, edit, trajectory: Trajectory) -> Advice:
  """An edit of the teacher with its provenance."""
  provenance = Provenance(
    origin="teacher",
    task=task.key,
    policy_version=trajectory.policy_version,
    parent=trajectory.bank_version,
    reason=edit.reason,
  )
  return Advice(f"teacher:{index}:{task.key}", task, edit, provenance)


def failures(
  trajectories: Sequence[Trajectory], settings: ProposerSettings
) -> list[Trajectory]:
  """Failed episodes of weak families, at most `max_skills` a scope and family.

  One of each task before a second of any: members of a group fail alike.
  """
  played = Counter(t.task.family for t in trajectories)
  won = Counter(t.task.family for t in trajectories if t.success)
  weak = [
    t
    for t in trajectories
    if not t.success and won[t.task.family] < settings.below * played[t.task.family]
  ]
  seen: Counter[str] = Counter()
  ranked = []
  for trajectory in weak:
    ranked.append((seen[trajectory.task.key], trajectory))
    seen[trajectory.task.key] += 1
  taken: Counter[tuple[str, str]] = Counter()
  chosen = []
  for _, trajectory in sorted(ranked, key=lambda pair: pair[0]):
    place = (trajectory.task.scope, trajectory.task.family)
    if taken[place] < settings.max_skills:
      taken[place] += 1
      chosen.append(trajectory)
  return chosen


def review_messages(
  trajectory: Trajectory, bank: SkillBank, shown_turns: int
) -> list[dict[str, str]]:
  """The request about one episode, with text of policy and environment made harmless."""
  task, style = trajectory.task, prompts.FULL
  skills = style.render_skills(bank.by_category(GENERAL) + bank.by_category(task.family))
  acts = [turn for turn in trajectory.turns if turn.role == Role.ACT]
  first = max(0, len(acts) - shown_turns)
  before = acts[first - 1].observation if first else trajectory.first_observation
  lines = [f"Observation: {_quoted(before, _OBSERVATION_CHARS)}"]
  for turn in acts[first:]:
    said = turn.action or f"{turn.text} (rejected: {turn.rejection})"
    lines.append(f"Command: {_quoted(said, _RESPONSE_CHARS)}")
    lines.append(f"Observation: {_quoted(turn.observation, _OBSERVATION_CHARS)}")
  user = "\n\n".join(
    [
      skills or "There are no skills of this category yet.",
      f"Task: {_quoted(trajectory.goal, _OBSERVATION_CHARS)}",
      f"The last {len(acts) - first} of {len(acts)} turns:",
      "\n".join(lines),
      style.review_prompt(task, "", trajectory.success),
    ]
  )
  return [{"role": "system", "content": _SYSTEM}, {"role": "user", "content": user}]


def _quoted(text: str, max_chars: int) -> str:
  return clean_text(text, max_chars=max_chars).text
