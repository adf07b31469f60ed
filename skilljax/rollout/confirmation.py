"""A second look at the edits that would enter a bank: other probe tasks, other keys.

The gate takes the best of many noisy utilities, so what it takes looks better than it is
(the winner's curse). The few that would enter are scored again, as null edits are, and
must beat them again. Their second utility chose nothing: it is an honest estimate.

Must not know about: the learner, how banks change.
"""

import dataclasses
from collections.abc import Sequence

from skilljax.envs.base import TaskSource
from skilljax.rollout.commit import GateSettings, Proposal, admitted
from skilljax.rollout.plan import Purpose
from skilljax.rollout.probes import ProbeReport, ProbeSettings, score_candidates
from skilljax.rollout.runner import Runner


def finalists(proposals: Sequence[Proposal], max_commits: int) -> list[Proposal]:
  """The first `max_commits` proposals of each chain; twins (equal banks) are one."""
  chosen: list[Proposal] = []
  banks: dict[str, set[str]] = {}
  for proposal in proposals:
    versions = banks.setdefault(proposal.chain, set())
    version = proposal.evidence.candidate.after.version
    if len(versions) < max_commits and version not in versions:
      versions.add(version)
      chosen.append(proposal)
  return chosen


def confirm(
  proposals: Sequence[Proposal],
  *,
  nulls: Sequence[float],
  runner: Runner,
  source: TaskSource,
  probes: ProbeSettings,
  gate: GateSettings,
  key: tuple[int, ...],
  temperature: float = 1.0,
) -> tuple[list[Proposal], ProbeReport]:
  """Probes the finalists again and returns those that pass again.

  Args:
    proposals: admitted by the gate, in their order. Only the first `gate.max_commits` of
      a chain are looked at: going on to the next after a failure would be luck again.
    nulls: null utilities of the same number of probes.
    runner, source, key, temperature: as in `score_candidates`.
    probes: settings of the first look; the second draws its tasks with seed + 1.
    gate: level and m.
  Returns:
    (proposals with their second evidence, best first; the report of the second look,
    whose candidates are named `confirm:<name>`).
  """
  chosen = finalists(proposals, gate.max_commits)
  candidates = [p.evidence.candidate for p in chosen]
  report = score_candidates(
    [dataclasses.replace(c, name=f"confirm:{c.name}") for c in candidates],
    runner=runner,
    source=source,
    settings=dataclasses.replace(probes, seed=probes.seed + 1),
    key=key,
    temperature=temperature,
    purpose=Purpose.CONFIRM,
  )
  again = [
    dataclasses.replace(proposal, evidence=evidence)
    for proposal, evidence in zip(chosen, report.evidence, strict=True)
  ]
  return admitted(again, nulls, gate), report
