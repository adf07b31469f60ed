"""The second look: what luck chose does not pass it, what works does."""

import dataclasses
import zlib

import numpy as np
import pytest

from skilljax.engine.base import GenerateRequest
from skilljax.envs.household import HouseholdAgent
from skilljax.rollout import confirmation
from skilljax.rollout.commit import GateSettings, Proposal, admitted
from skilljax.rollout.plan import Purpose
from skilljax.rollout.probes import Candidate, Evidence, ProbeSettings, stable_hash
from skilljax.skills.bank import SkillBank
from skilljax.types import Edit, Provenance
from tests.rollout.test_probes import candidate, null, own_slot, score, utilities
from tests.rollout.worlds import SOURCE, make_runner, train_tasks

GATE = GateSettings(confirm=True)
PROBES = ProbeSettings(num_probes=8)


def noisy(sequence, key):
  """A reader whose two runs of a pair explore differently, as a network's do."""
  return HouseholdAgent(seed=zlib.crc32(repr((sequence, key)).encode()))


def noisy_runner():
  return make_runner(noisy, num_slots=64, capacity=64)


def proposals_of(evidence):
  edit = Edit(kind="propose", category="general", title="t", principle="p")
  return [Proposal(e.candidate.task.scope, edit, (), Provenance(), e) for e in evidence]


def confirm(proposals, *, nulls, runner=None, gate=GATE):
  return confirmation.confirm(
    proposals,
    nulls=nulls,
    runner=runner or noisy_runner(),
    source=SOURCE,
    probes=PROBES,
    gate=gate,
    key=(3,),
  )


@pytest.fixture(scope="module")
def looks():
  """First and second look at 90 null edits and 30 right rules, a chain each.

  The noise is that of 90 further null edits, as a run remembers them.
  """
  tasks = [t for f in ("heat", "cool", "clean") for t in train_tasks(30, family=f)]
  nulls = utilities(look([null(t, 1) for t in tasks], key=(9,)))
  edits = [null(t, 0) for t in tasks]
  edits += [candidate(t, own_slot(t), right=True, name=t.key) for t in tasks[::3]]
  first = proposals_of(look(edits, key=(3,)).evidence)
  chosen = [
    dataclasses.replace(p, chain=f"chain {index}")
    for index, p in enumerate(admitted(first, nulls, GATE))
  ]
  kept, report = confirm(chosen, nulls=nulls)
  return chosen, kept, report


def look(candidates, key):
  return score(candidates, runner=noisy_runner(), key=key, num_probes=PROBES.num_probes)


def are_null(proposals):
  return [p.evidence.candidate.name.count("null") for p in proposals]


def test_luck_does_not_pass_twice_and_what_works_does(looks):
  chosen, kept, report = looks
  lucky, still = sum(are_null(chosen)), sum(are_null(kept))
  right, good = len(chosen) - lucky, len(kept) - still
  assert lucky >= 5 and right >= 15  # luck passes the first look
  assert still <= 0.2 * lucky and good >= 0.4 * right
  assert len(report.evidence) == len(chosen)


def test_the_second_utility_of_what_luck_chose_is_that_of_noise(looks):
  chosen, _, report = looks
  assert [f"confirm:{p.evidence.candidate.name}" for p in chosen] == [
    e.candidate.name for e in report.evidence
  ]
  lucky = np.array(are_null(chosen), bool)
  first = np.array([p.evidence.utility for p in chosen])
  again = utilities(report)
  assert first[lucky].mean() > 0.4 and abs(again[lucky].mean()) < 0.25
  assert again[~lucky].mean() > 0.4


def test_the_finalists_are_the_first_m_of_a_chain_and_twins_are_one():
  def of(chain, version, name):
    after = candidate(task, "heat", right=True).after if version else SkillBank()
    item = Candidate(name, task, SkillBank(), after)
    return Proposal(chain, Edit("keep"), (), Provenance(), Evidence(item, (), 1.0))

  (task,) = train_tasks(1, family="heat")
  rows = [of("a", 0, "1"), of("a", 0, "twin"), of("a", 1, "2"), of("b", 1, "3")]

  def names(m):
    return [p.evidence.candidate.name for p in confirmation.finalists(rows, m)]

  assert names(1) == ["1", "3"]
  assert names(2) == names(9) == ["1", "2", "3"]


def test_the_second_look_has_other_tasks_and_keys():
  (task,) = train_tasks(1, family="heat")
  runner = make_runner()
  first = score([candidate(task, "heat", right=True)], num_probes=8)
  proposals = proposals_of(first.evidence)
  kept, report = confirm(proposals, nulls=[0.0] * 9, runner=runner)
  ((evidence,), (proposal,)) = report.evidence, kept
  assert evidence.candidate.name == "confirm:c"
  assert proposal.evidence is evidence and proposal.edit == proposals[0].edit
  tasks = [pair.task for pair in evidence.pairs]
  assert tasks == list(SOURCE.probes(task, 8, PROBES.seed + 1))
  assert set(tasks) != {pair.task for pair in first.evidence[0].pairs}
  requests = [e for e in runner.engine.log if isinstance(e, GenerateRequest)]
  keys = {request.sequence: request.key[:-1] for request in requests}
  expected = [(Purpose.CONFIRM, 3, stable_hash(t.key), 0) for t in tasks]
  assert sorted(keys.values()) == sorted(2 * expected)


def test_nothing_to_confirm():
  kept, report = confirm([], nulls=[0.0] * 9)
  assert kept == [] and report.evidence == () and report.episodes_run == 0
