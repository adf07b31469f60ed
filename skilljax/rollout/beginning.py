"""With which bank a training scope begins: an empty, a given or a teacher's one.

Policies that start from nothing meet full banks late, and may forget how to read before;
the recipes that start from a distilled bank begin all scopes so. The teacher's skills
enter as edits, so that the history of a bank is whole.

Must not know about: episodes, utilities, the learner.
"""

import types
import zlib
from collections.abc import Mapping, Sequence

from skilljax.envs.base import Teacher
from skilljax.rollout.commit import Committed
from skilljax.skills.bank import SkillBank
from skilljax.skills.edits import EditLimits, apply_edit, proposal
from skilljax.types import Provenance, Task

SCALE = 2**32


def begin_banks(
  tasks: Sequence[Task],
  banks: Mapping[str, SkillBank],
  *,
  teacher: Teacher,
  share: float,
  seed: int,
  limits: EditLimits,
  initial: Mapping[str, SkillBank] = types.MappingProxyType({}),
) -> tuple[dict[str, SkillBank], list[Committed]]:
  """The bank of each task's scope: the present one, or a beginning.

  Args:
    tasks: of an update.
    banks: scope -> bank, of scopes that are being played.
    teacher: draws the skills: right, missing and misleading ones, as in demonstrations.
    share: of scopes that begin with them, in [0, 1]; which ones follows from their name.
    seed: of the choice and of the skills.
    limits: what a skill may be.
    initial: scope -> bank that it begins with, drawn by nobody.
  Returns:
    (scope -> bank, the edits that made the new ones).
  """
  begun: dict[str, SkillBank] = {}
  history: list[Committed] = []
  for task in tasks:
    scope = task.scope
    if scope in begun:
      continue
    begun[scope] = banks.get(scope, initial.get(scope, SkillBank()))
    draw = zlib.crc32(f"begin/{seed}/{scope}".encode()) / SCALE
    if scope not in banks and draw < share:
      begun[scope], made = _taught(task, teacher, seed, limits)
      history += made
  return begun, history


def _taught(
  task: Task, teacher: Teacher, seed: int, limits: EditLimits
) -> tuple[SkillBank, list[Committed]]:
  """The teacher's skills for the scope of a task, proposed one by one."""
  bank, history = SkillBank(), []
  for skill in teacher.skills(task, seed):
    edit = proposal(skill, reason="teacher")
    provenance = Provenance(origin="teacher", task=task.key, parent=bank.version)
    outcome = apply_edit(
      bank, edit, categories=(skill.category,), limits=limits, provenance=provenance
    )
    if not outcome.accepted:
      continue
    history.append(
      Committed(
        chain=task.scope,
        edit=edit,
        provenance=provenance,
        parent=bank.version,
        version=outcome.bank.version,
        utility=float("nan"),
      )
    )
    bank = outcome.bank
  return bank, history
