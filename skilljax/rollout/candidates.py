"""Which banks an update probes: edits of policy and teacher, null edits and audits.

A null edit adds content-free advice: its utility is sampling noise. An audit proposes to
retire one skill. Both are candidates like any other.

Must not know about: utilities, the learner.
"""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from skilljax.envs.base import Teacher
from skilljax.rollout.commit import Proposal
from skilljax.rollout.probes import Candidate, Evidence
from skilljax.rollout.runner import Rollout
from skilljax.skills.bank import GENERAL, SkillBank
from skilljax.skills.edits import EditLimits, apply_edit, proposal
from skilljax.types import Edit, Provenance, Task, Trajectory

CHANGES = ("added", "updated", "retired")


def policy_name(trajectory: Trajectory) -> str:
  """Name of the candidate that an episode's review made."""
  return f"edit:{trajectory.episode_id}"


@dataclasses.dataclass(frozen=True)
class Advice:
  """An edit that did not come from a review of the policy: a teacher's."""

  name: str
  task: Task
  edit: Edit
  provenance: Provenance


@dataclasses.dataclass(frozen=True)
class Candidates:
  """All candidates of an update, and how to commit those that may be.

  Attributes:
    policy: one per review that changed the bank, the policy's or a teacher's.
    nulls: content-free edits.
    audits: retirements.
    edits: candidate name -> (edit, chain, provenance), for policy edits and audits.
  """

  policy: tuple[Candidate, ...]
  nulls: tuple[Candidate, ...]
  audits: tuple[Candidate, ...]
  edits: Mapping[str, tuple[Edit, str, Provenance]]

  @property
  def all(self) -> tuple[Candidate, ...]:
    """In the order in which they are probed."""
    return self.policy + self.nulls + self.audits

  def proposals(self, evidence: Sequence[Evidence]) -> list[Proposal]:
    """What the gate may commit: everything except nulls, with its evidence."""
    rows = []
    for item in evidence:
      if item.candidate.name not in self.edits:
        continue
      edit, chain, provenance = self.edits[item.candidate.name]
      categories = (item.candidate.task.family, GENERAL)
      rows.append(Proposal(chain, edit, categories, provenance, item))
    return rows


def collect_candidates(
  rollout: Rollout,
  banks: Mapping[str, SkillBank],
  tasks: Sequence[Task],
  *,
  teacher: Teacher,
  limits: EditLimits,
  num_nulls: int,
  num_audits: int,
  update: int,
  advice: Sequence[Advice] = (),
) -> Candidates:
  """Builds the candidates of an update.

  Args:
    rollout: of the update, with the outcomes of its reviews.
    banks: scope -> bank that the episodes were played under.
    tasks: of the update.
    teacher: writes the content-free skills.
    limits: what a skill may be.
    num_nulls, num_audits: at most one of each per task of the update.
    update: rotates the tasks that get nulls and audits.
    advice: edits of others, as untrusted as the policy's.
  """
  edits: dict[str, tuple[Edit, str, Provenance]] = {}
  policy = []
  for trajectory in rollout.trajectories.values():
    outcome = rollout.edits.get(trajectory.episode_id)
    if trajectory.fault or outcome is None or outcome.status not in CHANGES:
      continue
    name, task = policy_name(trajectory), trajectory.task
    policy.append(Candidate(name, task, banks[task.scope], outcome.bank))
    edits[name] = (
      outcome.edit,
      task.scope,
      Provenance(
        origin="policy",
        task=task.key,
        policy_version=trajectory.policy_version,
        parent=banks[task.scope].version,
        reason=outcome.edit.reason,
      ),
    )
  for item in advice:
    before = banks[item.task.scope]
    outcome = apply_edit(
      before,
      item.edit,
      categories=(item.task.family, GENERAL),
      limits=limits,
      provenance=item.provenance,
    )
    if outcome.status in CHANGES:
      policy.append(Candidate(item.name, item.task, before, outcome.bank))
      edits[item.name] = (outcome.edit, item.task.scope, item.provenance)
  order = [tasks[(update + i) % len(tasks)] for i in range(len(tasks))]
  nulls = [
    null_candidate(task, banks[task.scope], index, teacher=teacher, limits=limits)
    for index, task in enumerate(order[:num_nulls])
  ]
  audits = []
  for task in [t for t in order if auditable(banks[t.scope], t)][:num_audits]:
    candidate, edit = audit(task, banks[task.scope], update)
    audits.append(candidate)
    provenance = Provenance("policy", task.key, update, candidate.before.version, "audit")
    edits[candidate.name] = (edit, task.scope, provenance)
  return Candidates(tuple(policy), tuple(nulls), tuple(audits), edits)


def null_candidate(
  task: Task, bank: SkillBank, index: int, *, teacher: Teacher, limits: EditLimits
) -> Candidate:
  """The bank plus one piece of content-free advice."""
  skill = teacher.null_skill(task, index)
  edit = proposal(skill, reason="null")
  # A full bank must not make its nulls trivially zero: they price noise, nothing else.
  roomy = dataclasses.replace(
    limits,
    max_skills=limits.max_skills + 1,
    max_skills_per_category=limits.max_skills_per_category + 1,
  )
  outcome = apply_edit(
    bank,
    edit,
    categories=(task.family, GENERAL),
    limits=roomy,
    provenance=Provenance(origin="teacher", task=task.key),
  )
  return Candidate(f"null:{index}:{task.key}", task, bank, outcome.bank)


def auditable(bank: SkillBank, task: Task) -> bool:
  """True if the bank holds a skill that the task's prompt may show."""
  return any(skill.category in (task.family, GENERAL) for skill in bank.skills)


def audit(task: Task, bank: SkillBank, update: int) -> tuple[Candidate, Edit]:
  """The bank without one of the skills that the task's prompt may show."""
  pool = [s for s in bank.skills if s.category in (task.family, GENERAL)]
  skill = pool[int(np.random.default_rng([update, len(pool)]).integers(len(pool)))]
  edit = Edit(kind="retire", skill_id=skill.skill_id, reason="audit")
  after = bank.apply(edit, provenance=Provenance(task=task.key))
  return Candidate(f"audit:{task.key}", task, bank, after), edit
