"""The gate: which edits enter the bank during training.

* `frozen`: none (as the released SkillMaster code trains);
* `accept`: every edit that the bank can take, untested (SkillRL), at most m per update
  and chain;
* `commit`: the best edits of an update whose utility beats the null edits', at most m per
  update and chain. Retiring a skill is an edit like any other and passes the same test.

Must not know about: how utilities were measured, the learner.
"""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from skilljax.rl.utility import beats_null
from skilljax.rollout.probes import Evidence
from skilljax.skills.bank import SkillBank
from skilljax.skills.edits import EditLimits, apply_edit
from skilljax.types import Edit, Provenance

MODES = ("frozen", "accept", "commit")


@dataclasses.dataclass(frozen=True, kw_only=True)
class GateSettings:
  """Config section `gate`.

  Attributes:
    mode: 'frozen', 'accept' or 'commit'.
    max_commits: m, edits that enter one chain's bank per update.
    level: rate at which a content-free edit may pass the test; nothing is committed
      before 1/level − 1 null utilities are known.
    null_window: how many recent null utilities are remembered.
    audits_per_update: skills proposed for retirement and probed, per update.
  """

  mode: str = "commit"
  max_commits: int = 1
  level: float = 0.1
  null_window: int = 64
  audits_per_update: int = 1

  def __post_init__(self):
    if self.mode not in MODES:
      raise ValueError(
        f"mode={self.mode!r} must be one of {MODES} (config key gate.mode)"
      )
    if not 0.0 < self.level < 1.0:
      raise ValueError(f"level={self.level} must be in (0, 1) (config key gate.level)")
    if self.null_window < 1.0 / self.level - 1.0:
      raise ValueError(
        f"null_window={self.null_window} must be >= 1/level - 1 = "
        f"{1.0 / self.level - 1.0:.0f}, or no edit can ever pass "
        "(config key gate.null_window)"
      )
    if self.mode == "accept" and self.audits_per_update:
      raise ValueError(
        f"audits_per_update={self.audits_per_update} with mode='accept' would retire "
        "skills untested; set it to 0 (config key gate.audits_per_update)"
      )
    for name, low in (("max_commits", 1), ("audits_per_update", 0)):
      if self.__dict__[name] < low:
        raise ValueError(
          f"{name}={self.__dict__[name]} must be >= {low} (config key gate.{name})"
        )


@dataclasses.dataclass(frozen=True)
class Proposal:
  """An edit with its evidence, as the gate sees it."""

  chain: str
  edit: Edit
  categories: tuple[str, ...]
  provenance: Provenance
  evidence: Evidence


@dataclasses.dataclass(frozen=True)
class Committed:
  """One line of a bank's history."""

  chain: str
  edit: Edit
  provenance: Provenance
  parent: str
  version: str
  utility: float


def passes(utility: float, nulls: Sequence[float], settings: GateSettings) -> bool:
  """True if a utility beats the recent null edits, and is positive."""
  if len(nulls) < 1.0 / settings.level - 1.0:
    return False
  return bool(
    beats_null(np.float32(utility), np.asarray(nulls, np.float32), level=settings.level)
  )


def commit(
  banks: Mapping[str, SkillBank],
  proposals: Sequence[Proposal],
  *,
  nulls: Sequence[float],
  limits: EditLimits,
  settings: GateSettings,
) -> tuple[dict[str, SkillBank], list[Committed]]:
  """Applies the best proposals that beat the nulls; with 'accept' the first ones.

  Args:
    banks: chain -> bank.
    proposals: of one update, any order; equal utilities keep this order. A utility
      of NaN never passes a test.
    nulls: recent null utilities.
    limits: what a skill may be.
    settings: mode, m, level.
  Returns:
    (banks', what was committed). `banks` itself does not change.
  """
  new_banks = dict(banks)
  history: list[Committed] = []
  if settings.mode == "frozen":
    return new_banks, history
  best = list(proposals)
  if settings.mode == "commit":
    # Without NaN (no probe gave a result), which has no place in an order.
    known = [p for p in proposals if passes(p.evidence.utility, nulls, settings)]
    best = sorted(known, key=lambda p: -p.evidence.utility)
  count: dict[str, int] = {}
  for proposal in best:
    chain = proposal.chain
    if count.get(chain, 0) >= settings.max_commits:
      continue
    parent = new_banks[chain]
    outcome = apply_edit(
      parent,
      proposal.edit,
      categories=proposal.categories,
      limits=limits,
      provenance=dataclasses.replace(proposal.provenance, parent=parent.version),
    )
    # An edit that no longer applies (its twin was committed first) changes nothing.
    if outcome.bank.version == parent.version:
      continue
    new_banks[chain] = outcome.bank
    count[chain] = count.get(chain, 0) + 1
    history.append(
      Committed(
        chain=chain,
        edit=proposal.edit,
        provenance=proposal.provenance,
        parent=parent.version,
        version=outcome.bank.version,
        utility=proposal.evidence.utility,
      )
    )
  return new_banks, history
