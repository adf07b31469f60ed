"""From episodes and evidence to one advantage per trained token.

Rewards are made per role, normalised by an estimator over (role, group), and spread over
the tokens of that role. A new role or estimator changes a table, not this code. GiGPO
adds a number of its own to each task turn.

Must not know about: how episodes were played, packing, the learner.
"""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from skilljax.rl import advantages as advantages_lib
from skilljax.rl.rewards import (
  ActShaping,
  EditShaping,
  EditStatus,
  act_reward,
  edit_reward,
)
from skilljax.rollout import anchors
from skilljax.skills.edits import EditOutcome
from skilljax.types import Role, Trajectory

# Parser and bank rejections that have a reward of their own; the rest is unparsable.
_STATUS = {
  "unknown_tool": EditStatus.UNKNOWN_TOOL,
  "environment_tool": EditStatus.UNKNOWN_TOOL,
  "action_in_review": EditStatus.UNKNOWN_TOOL,
  "missing_field": EditStatus.MISSING_FIELDS,
  "extra_field": EditStatus.MISSING_FIELDS,
  "wrong_type": EditStatus.MISSING_FIELDS,
  "empty_field": EditStatus.MISSING_FIELDS,
  "empty": EditStatus.MISSING_FIELDS,
  "malformed": EditStatus.MISSING_FIELDS,
  "placeholder": EditStatus.PLACEHOLDER,
  "unclean": EditStatus.PLACEHOLDER,
  "too_long": EditStatus.TOO_LONG,
  "wrong_category": EditStatus.WRONG_CATEGORY,
  "not_found": EditStatus.NOT_FOUND,
  "duplicate": EditStatus.DUPLICATE,
  "bank_full": EditStatus.BANK_FULL,
  "added": EditStatus.ADDED,
  "updated": EditStatus.UPDATED,
  "retired": EditStatus.RETIRED,
  "kept": EditStatus.KEPT,
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class CreditSettings:
  """Rewards and advantages; config section `rl`.

  Attributes:
    advantage: an estimator of `skilljax.rl.advantages.ESTIMATORS`.
    edit_weight: λ, weight of the review's advantages; only 'dual' and 'joint' use it.
    gigpo: adds GiGPO's turn advantages to those of the estimator; None = none.
    act: shaping of the task reward.
    edit: shaping of the review reward.
  """

  advantage: str = "dual"
  edit_weight: float | None = None
  gigpo: anchors.GigpoSettings | None = None
  act: ActShaping = dataclasses.field(default_factory=ActShaping)
  edit: EditShaping = dataclasses.field(default_factory=EditShaping)

  def __post_init__(self):
    known = sorted(advantages_lib.ESTIMATORS)
    if self.advantage not in known:
      raise ValueError(
        f"advantage={self.advantage!r} must be one of {known} (config key rl.advantage)"
      )
    weighted = self.advantage in ("dual", "joint")
    if self.edit_weight is not None and not weighted:
      raise ValueError(
        f"edit_weight={self.edit_weight} has no effect with advantage={self.advantage!r};"
        " set it to None or choose 'dual' or 'joint' (config key rl.edit_weight)"
      )
    if self.edit_weight is not None and self.edit_weight < 0:
      raise ValueError(
        f"edit_weight={self.edit_weight} must be >= 0 (config key rl.edit_weight)"
      )


@dataclasses.dataclass(frozen=True)
class Credit:
  """What an update learns from.

  Attributes:
    rewards: [N, 2] float32, (act, edit) per trajectory; NaN where there is none.
    advantages: [N, 2] float32.
    per_token: N arrays [T_n] float32.
    statuses: N review statuses; None without review.
    per_turn: N arrays [S_n] float32, the turn's own part ω · A_S; None without GiGPO.
  """

  rewards: np.ndarray
  advantages: np.ndarray
  per_token: tuple[np.ndarray, ...]
  statuses: tuple[EditStatus | None, ...]
  per_turn: tuple[np.ndarray, ...] | None = None


def edit_status(trajectory: Trajectory, outcome: EditOutcome | None) -> EditStatus | None:
  """What became of a trajectory's review; None when it had none."""
  if not trajectory.turns or trajectory.turns[-1].role != Role.EDIT:
    return None
  if trajectory.turns[-1].finish != "stop":
    return EditStatus.UNFINISHED
  code = trajectory.edit_rejection if outcome is None else outcome.status
  return _STATUS.get(code, EditStatus.UNPARSABLE)


def assign(
  trajectories: Sequence[Trajectory],
  edits: Mapping[str, EditOutcome],
  utilities: Mapping[str, float],
  settings: CreditSettings,
) -> Credit:
  """Rewards, advantages and their spread over tokens.

  Args:
    trajectories: N >= 0 of an update; faulty ones must have been taken out.
    edits: episode id -> outcome of its review, where one was parsed.
    utilities: episode id -> U, for edits that made a candidate bank.
    settings: estimator, weights, shaping.
  """
  statuses = tuple(edit_status(t, edits.get(t.episode_id)) for t in trajectories)
  rewards = np.full((len(trajectories), 2), np.nan, np.float32)
  for row, (trajectory, status) in enumerate(zip(trajectories, statuses, strict=True)):
    rejected = sum(t.role == Role.ACT and bool(t.rejection) for t in trajectory.turns)
    rewards[row, 0] = act_reward(
      trajectory.success,
      trajectory.num_act_turns,
      trajectory.max_turns,
      rejected,
      episode_return=trajectory.episode_return,
      shaping=settings.act,
    )
    if status is not None:
      value = utilities.get(trajectory.episode_id, 0.0) if status.makes_candidate else 0.0
      rewards[row, 1] = edit_reward(status, value, shaping=settings.edit)
  values = _estimate(rewards, [t.group_id for t in trajectories], settings)
  per_turn = None
  if settings.gigpo is not None:
    per_turn = tuple(
      anchors.turn_advantages(trajectories, shaping=settings.act, settings=settings.gigpo)
    )
  return Credit(
    rewards=rewards,
    advantages=values,
    per_token=tuple(
      spread(trajectory, values[row], None if per_turn is None else per_turn[row])
      for row, trajectory in enumerate(trajectories)
    ),
    statuses=statuses,
    per_turn=per_turn,
  )


def _estimate(
  rewards: np.ndarray, group_ids: Sequence[int], settings: CreditSettings
) -> np.ndarray:
  """Units are (trajectory, role): the estimator sees one flat list of them."""
  num = len(group_ids)
  if not num:  # every environment of the update failed
    return np.zeros((0, 2), np.float32)
  _, groups = np.unique(np.asarray(group_ids), return_inverse=True)
  options = {}
  if settings.edit_weight is not None:
    options["role_weights"] = {Role.ACT: 1.0, Role.EDIT: settings.edit_weight}
  flat = advantages_lib.ESTIMATORS[settings.advantage](
    rewards.T.reshape(-1),
    np.repeat(np.array([Role.ACT, Role.EDIT], np.int32), num),
    np.tile(groups.astype(np.int32), 2),
    num_groups=int(groups.max()) + 1,
    **options,
  )
  return np.asarray(flat).reshape(2, num).T


def spread(
  trajectory: Trajectory, advantages: np.ndarray, per_turn: np.ndarray | None = None
) -> np.ndarray:
  """[T] float32: each trained token gets its role's advantage and its turn's own part."""
  act, edit = advantages
  role = trajectory.role
  values = np.where(role == Role.ACT, act, np.where(role == Role.EDIT, edit, 0.0))
  if per_turn is not None:
    values = values + np.append(per_turn, 0.0)[trajectory.turn_index]  # −1 is context
  return np.where(trajectory.loss_mask, values, 0.0).astype(np.float32)
