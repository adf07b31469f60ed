"""Rewards of the two roles, from statuses and numbers only.

No argument here is text, so no text can raise a reward: the parser and the bank decide
on a status, the environment on success, the probes on utility.

Must not know about: skills, parsers, prompts, arrays.
"""

import dataclasses
import enum


class EditStatus(enum.StrEnum):
  """What became of the review after an episode."""

  ADDED = "added"  # propose, accepted
  UPDATED = "updated"  # update, accepted
  RETIRED = "retired"  # retire, accepted
  KEPT = "kept"  # keep
  UNPARSABLE = "unparsable"  # not one think block and one JSON tool call
  UNFINISHED = "unfinished"  # cut off at the token limit
  UNKNOWN_TOOL = "unknown_tool"  # a tool that does not exist, such as an act command
  MISSING_FIELDS = "missing_fields"  # absent, empty, wrongly typed or extra arguments
  PLACEHOLDER = "placeholder"  # template text in an argument
  TOO_LONG = "too_long"  # beyond the size limits of a skill
  WRONG_CATEGORY = "wrong_category"  # neither the task's own nor 'general'
  NOT_FOUND = "not_found"  # update or retire of an id that the bank does not have
  DUPLICATE = "duplicate"  # equal to an existing skill
  BANK_FULL = "bank_full"  # the bank's limit on skills

  @property
  def makes_candidate(self) -> bool:
    """True where the edit leads to another bank, which has a utility."""
    return self in (EditStatus.ADDED, EditStatus.UPDATED, EditStatus.RETIRED)


@dataclasses.dataclass(frozen=True)
class EditShaping:
  """Reward of an edit turn before utility, by status.

  Defaults follow the defaults of the authors' code, with one repair: an update of a
  skill that does not exist costs 0.5, where the code pays +0.1. A duplicate costs the
  same, so that a keep is always the better way to change nothing.

  Attributes:
    valid: a well-formed call that the bank accepts, keep included.
    others: one for each rejection of `EditStatus`.
  """

  valid: float = 0.1
  unparsable: float = -1.0
  unfinished: float = -1.0
  unknown_tool: float = -0.5
  missing_fields: float = -0.5
  placeholder: float = -1.0
  too_long: float = -0.5
  wrong_category: float = -0.5
  not_found: float = -0.5
  duplicate: float = -0.5
  bank_full: float = 0.0

  def table(self) -> dict[EditStatus, float]:
    """Every status -> its reward."""
    rejections = dataclasses.asdict(self)
    valid = rejections.pop("valid")
    return {status: rejections.get(status.value, valid) for status in EditStatus}


def edit_reward(
  status: EditStatus | str, utility: float, *, shaping: EditShaping | None = None
) -> float:
  """R_edit = shaping(status) + U.

  Source: SkillMaster (arXiv:2605.08693); see `EditShaping` for what differs.

  Args:
    status: what became of the review.
    utility: U of the candidate bank; 0 where the edit makes none. NaN (no probe gave a
      result) makes the reward NaN, and so the advantage 0.
    shaping: None = the defaults.
  Raises:
    ValueError: unknown status, or a utility without a candidate bank.
  """
  status = EditStatus(status)
  if not status.makes_candidate and utility != 0.0:
    raise ValueError(
      f"status {status.value!r} makes no candidate bank, so utility must be 0, "
      f"not {utility}"
    )
  return (shaping or EditShaping()).table()[status] + utility


@dataclasses.dataclass(frozen=True)
class ActShaping:
  """Weights of the task reward.

  Attributes:
    success: for reaching the goal. The paper's code pays 10, but rewards are
      normalised inside the group, so only its ratio to the penalties counts.
    env_return: times the sum of environment rewards (graded tasks); 0 = not used.
    efficiency: times s · (H − L) / H, the share of turns a success saves; 0 = not used.
    invalid_action: cost of each turn that the action parser rejected.
    max_penalty: what invalid actions may cost together; below `success`, so that every
      success beats every failure.
  """

  success: float = 1.0
  env_return: float = 0.0
  efficiency: float = 0.0
  invalid_action: float = 0.1
  max_penalty: float = 0.5

  def __post_init__(self):
    if min(self.invalid_action, self.max_penalty, self.efficiency) < 0:
      raise ValueError(
        f"invalid_action={self.invalid_action}, max_penalty={self.max_penalty} and "
        f"efficiency={self.efficiency} must be >= 0 (config keys rl.act.*)"
      )


def act_reward(
  success: bool,
  num_turns: int,
  max_turns: int,
  num_invalid: int,
  *,
  episode_return: float = 0.0,
  shaping: ActShaping | None = None,
) -> float:
  """R_act = outcome − shaping.

  R = a·s + b·return + e·s·(H − L)/H − min(c · invalid, c_max)

  Source: SkillMaster and GiGPO code (outcome minus 0.1–0.5 of a point per invalid
  action, success worth 10); the cap is ours, because one number stands for the episode.

  Args:
    success: s, the goal was reached.
    num_turns: L, task turns played.
    max_turns: H, step cap.
    num_invalid: turns that the action parser rejected.
    episode_return: sum of environment rewards.
    shaping: None = the defaults.
  Raises:
    ValueError: counts out of order.
  """
  if not 0 <= num_invalid <= num_turns <= max_turns or max_turns < 1:
    raise ValueError(
      f"need 0 <= num_invalid={num_invalid} <= num_turns={num_turns} <= "
      f"max_turns={max_turns} and max_turns >= 1"
    )
  shaping = shaping or ActShaping()
  saved = (max_turns - num_turns) / max_turns
  outcome = float(success) * (shaping.success + shaping.efficiency * saved)
  penalty = min(shaping.invalid_action * num_invalid, shaping.max_penalty)
  return outcome + shaping.env_return * episode_return - penalty
