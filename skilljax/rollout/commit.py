"""The gate: which edits enter the bank during training.

* `frozen`: none (as the released SkillMaster code trains);
* `accept`: every edit that the bank can take, untested (SkillRL), at most m per update
  and chain;
* `commit`: the best edits of an update whose utility beats the null edits', at most m per
  update and chain. Retiring a skill is an edit like any other and passes the same test.

The best of n noisy edits looks good by luck: n · level null edits pass the test of an
update. With `gate.confirm` those that would enter are probed once more, on other tasks
(`train.py`), and must pass again; then `level` bounds what luck lets in per update.

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
    confirm: what would enter is probed again on other tasks and must pass again; at most
      2·K·repeats·m more episodes an update and chain.
  """

  mode: str = "commit"
  max_commits: int = 1
  level: float = 0.1
  null_window: int = 64
  audits_per_update: int = 1
  confirm: bool = False

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
    if self.confirm and self.mode != "commit":
      raise ValueError(
        f"confirm=True needs mode='commit', mode={self.mode!r} tests nothing "
        "(config key gate.confirm)"
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


def admitted(
  proposals: Sequence[Proposal], nulls: Sequence[float], settings: GateSettings
) -> list[Proposal]:
  """The proposals that the gate lets through, in the order in which they enter.

  Args:
    proposals: of one update, any order; equal utilities keep this order. A utility
      of NaN (no probe gave a result) never passes a test.
    nulls: recent null utilities.
    settings: 'commit' takes those that beat the nulls, best first; 'accept' all, as they
      come; 'frozen' none.
  """
  if settings.mode == "frozen":
    return []
  if settings.mode == "accept":
    return list(proposals)
  known = [p for p in proposals if passes(p.evidence.utility, nulls, settings)]
  return sorted(known, key=lambda p: -p.evidence.utility)


def commit(
  banks: Mapping[str, SkillBank],
  proposals: Sequence[Proposal],
  *,
  limits: EditLimits,
  settings: GateSettings,
) -> tuple[dict[str, SkillBank], list[Committed]]:
  """Applies proposals in their order, until a chain has m of them.

  Args:
    banks: chain -> bank.
    proposals: what the gate has admitted.
    limits: what a skill may be.
    settings: m.
  Returns:
    (banks', what was committed). `banks` itself does not change.
  """
  new_banks = dict(banks)
  history: list[Committed] = []
  count: dict[str, int] = {}
  for proposal in proposals:
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
