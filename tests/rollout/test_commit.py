import dataclasses

import numpy as np
import pytest

from skilljax.rollout.candidates import Candidates, audit
from skilljax.rollout.commit import GateSettings, Proposal, admitted, commit, passes
from skilljax.rollout.probes import Candidate, Evidence, ProbeSettings, score_candidates
from skilljax.skills.bank import GENERAL, SkillBank
from skilljax.skills.edits import EditLimits
from skilljax.types import Edit, Provenance
from tests.rollout.test_probes import null, own_slot, with_rule
from tests.rollout.trajectories import make_task
from tests.rollout.worlds import SOURCE, make_runner, train_tasks

NULLS = (0.0,) * 9
LIMITS = EditLimits()


def propose(name, chain="house", utility=1.0, text=None):
  edit = Edit(
    kind="propose",
    category="heat",
    title=f"title {text or name}",
    principle=f"principle {text or name}",
    when_to_apply="always",
    reason=name,
  )
  return Proposal(chain, edit, ("heat", GENERAL), Provenance("policy", name), of(utility))


def of(utility):
  return Evidence(Candidate("c", make_task(), SkillBank(), SkillBank()), (), utility)


def run(proposals, banks=None, nulls=NULLS, **settings):
  return decide(
    banks or {"house": SkillBank(), "barn": SkillBank()},
    proposals,
    nulls,
    GateSettings(**settings),
  )


def decide(banks, proposals, nulls, gate):
  passed = admitted(proposals, nulls, gate)
  return commit(banks, passed, limits=LIMITS, settings=gate)


def titles(bank):
  return [skill.title.removeprefix("title ") for skill in bank.skills]


def test_the_best_of_each_chain_enters():
  old = {"house": SkillBank(), "barn": SkillBank()}
  rows = [
    propose("a", utility=0.2),
    propose("b", utility=0.9),
    propose("c", utility=0.5),
    propose("d", "barn", utility=0.1),
    propose("e", "barn", utility=-0.3),
  ]
  banks, history = run(rows, old)
  assert titles(banks["house"]) == ["b"] and titles(banks["barn"]) == ["d"]
  assert [(c.chain, c.edit.reason, c.utility) for c in history] == [
    ("house", "b", 0.9),
    ("barn", "d", 0.1),
  ]
  assert old["house"].skills == old["barn"].skills == ()
  (line, _) = history
  assert (line.parent, line.version) == (SkillBank().version, banks["house"].version)
  assert banks["house"].skills[0].provenance.task == "b"


def test_m_edits_of_a_chain_stand_on_each_other():
  rows = [propose(name, utility=u) for name, u in (("a", 0.1), ("b", 0.3), ("c", 0.2))]
  banks, history = run(rows, max_commits=2)
  assert titles(banks["house"]) == ["b", "c"]
  assert history[1].parent == history[0].version != history[1].version
  assert banks["house"].skills[1].provenance.parent == history[0].version
  assert titles(run(rows, max_commits=9)[0]["house"]) == ["b", "c", "a"]


def test_equal_utilities_keep_their_order():
  assert titles(run([propose("a"), propose("b")])[0]["house"]) == ["a"]
  assert titles(run([propose("b"), propose("a")])[0]["house"]) == ["b"]


def test_a_twin_is_no_second_commit():
  rows = [propose("a"), propose("a2", text="a"), propose("c", utility=0.5)]
  banks, history = run(rows, max_commits=2)
  assert titles(banks["house"]) == ["a", "c"]
  assert [line.edit.reason for line in history] == ["a", "c"]


def test_an_unknown_utility_never_passes_and_disturbs_no_order():
  rows = [
    propose("a", utility=1.0),
    propose("n", utility=np.nan),
    propose("b", utility=2.0),
  ]
  for order in ([0, 1, 2], [1, 0, 2], [2, 1, 0], [1, 2, 0]):
    banks, _ = run([rows[i] for i in order])
    assert titles(banks["house"]) == ["b"]
  assert run(rows[1:2])[1] == []


def test_frozen_commits_nothing():
  old = {"house": SkillBank()}
  banks, history = run([propose("a", utility=9.0)], old, mode="frozen")
  assert banks == old and history == []


def test_the_level_decides_how_many_nulls_must_be_beaten():
  # 19 nulls 0.00 … 0.18, level 0.1: of 20 ranks the best ⌊0.1 · 20⌋ = 2 pass, so a
  # candidate must exceed the second largest null, 0.17.
  nulls = [i / 100 for i in range(19)]
  gate = GateSettings(level=0.1)
  assert not passes(0.165, nulls, gate) and passes(0.175, nulls, gate)
  # Level 0.05: ⌊0.05 · 20⌋ = 1, all of them must be beaten.
  strict = GateSettings(level=0.05)
  assert not passes(0.175, nulls, strict) and passes(0.185, nulls, strict)


def test_nothing_passes_before_enough_nulls_are_known():
  gate = GateSettings(level=0.1)
  assert not passes(99.0, NULLS[:8], gate) and passes(99.0, NULLS, gate)
  assert run([propose("a")], nulls=NULLS[:8])[1] == []


def test_less_harmful_than_noise_is_not_good():
  gate = GateSettings(level=0.1)
  nulls = [-1.0] * 20
  assert not passes(-0.5, nulls, gate) and not passes(0.0, nulls, gate)
  assert passes(0.01, nulls, gate)


def test_retiring_and_changing_the_same_skill_is_one_commit():
  banks, _ = run([propose("a")])
  retire = dataclasses.replace(
    propose("r"), edit=Edit(kind="retire", skill_id="s1", reason="r"), evidence=of(2.0)
  )
  change = Edit("update", "", "new", "new text", "always", "s1", "u")
  update = dataclasses.replace(propose("u"), edit=change, evidence=of(1.0))
  after, history = run([update, retire], banks, max_commits=2)
  assert after["house"].skills == ()
  assert [line.edit.kind for line in history] == ["retire"]


@pytest.mark.parametrize(
  ("settings", "message"),
  [
    ({"mode": "open"}, r"mode='open' .*gate\.mode"),
    ({"level": 0.0}, r"level=0.0 .*gate\.level"),
    ({"level": 1.0}, r"level=1.0 .*gate\.level"),
    ({"level": 0.01, "null_window": 64}, r"null_window=64 must be >= 1/level - 1 = 99"),
    ({"max_commits": 0}, r"max_commits=0 .*gate\.max_commits"),
    ({"confirm": True, "mode": "frozen"}, r"confirm=True .*gate\.confirm"),
    ({"audits_per_update": -1}, r"audits_per_update=-1 .*gate\.audits"),
  ],
)
def test_settings_are_checked(settings, message):
  with pytest.raises(ValueError, match=message):
    GateSettings(**settings)


# Ground truth: the reading agent, real probes, real nulls.


def score(candidates):
  return score_candidates(
    candidates,
    runner=make_runner(num_slots=64, capacity=64),
    source=SOURCE,
    settings=ProbeSettings(num_probes=6),
    key=(1,),
  ).evidence


def edit_of(candidate):
  """The edit that leads from a candidate's first bank to its second."""
  (skill,) = [s for s in candidate.after.skills if s not in candidate.before.skills]
  return Edit(
    "propose", skill.category, skill.title, skill.principle, skill.when_to_apply
  )


def test_right_edits_enter_wrong_and_null_ones_do_not():
  tasks = train_tasks(10, family="heat") + train_tasks(
    10, family="look_in_light", first=10
  )
  right, wrong, nulls = [], [], []
  for index, task in enumerate(tasks):
    slot = own_slot(task)
    for rows, is_right in ((right, True), (wrong, False)):
      after = with_rule(task, slot, right=is_right)
      rows.append(Candidate(f"{is_right}:{index}", task, SkillBank(), after))
    nulls.append(null(task, index))
  evidence = {item.candidate.name: item for item in score(right + wrong + nulls)}
  noise = [evidence[c.name].utility for c in nulls]
  edits = {
    c.name: (edit_of(c), c.task.scope, Provenance()) for c in right + wrong + nulls
  }
  everything = Candidates((*right, *wrong, *nulls), (), (), edits)
  banks, history = decide(
    {task.scope: SkillBank() for task in tasks},
    everything.proposals(list(evidence.values())),
    noise,
    GateSettings(max_commits=3),
  )
  truths = {edit_of(c).principle for c in right}
  stated = [skill.principle for bank in banks.values() for skill in bank.skills]
  # A wrong rule that happens to save a turn in six probes is noise; it must stay rare.
  assert sum(text not in truths for text in stated) <= 1
  assert sum(text in truths for text in stated) >= 12
  assert not any("stay calm" in text or "take care" in text for text in stated)
  assert all(line.utility > 0 for line in history)


def test_a_wrong_skill_is_retired_and_a_right_one_is_not():
  tasks = train_tasks(16, family="cool")
  audits, edits = [], {}
  for index, task in enumerate(tasks):
    bank = with_rule(task, "cool", right=index % 2 == 0)
    candidate, edit = audit(task, bank, update=index)
    audits.append(candidate)
    edits[candidate.name] = (edit, task.scope, Provenance())
  banks = {c.task.scope: c.before for c in audits}
  proposals = Candidates((), (), tuple(audits), edits).proposals(score(audits))
  assert len(proposals) == 16
  new_banks, history = decide(banks, proposals, NULLS, GateSettings())
  kept = [len(new_banks[task.scope].skills) for task in tasks]
  assert kept[::2] == [1] * 8
  assert kept[1::2].count(0) >= 5
  assert {line.edit.kind for line in history} == {"retire"}


def test_accept_takes_every_edit_that_the_bank_can_take_in_their_order():
  rows = [
    propose("a", utility=float("nan")),
    propose("twin", text="a", utility=float("nan")),
    propose("b", utility=-0.5),
    propose("c", utility=9.0),
    propose("d", "barn", utility=float("nan")),
  ]
  banks, history = run(rows, nulls=(), mode="accept", max_commits=2, audits_per_update=0)
  assert titles(banks["house"]) == ["a", "b"] and titles(banks["barn"]) == ["d"]
  assert [item.provenance.task for item in history] == ["a", "b", "d"]
  with pytest.raises(ValueError, match=r"would retire skills untested.*audits_per_upd"):
    GateSettings(mode="accept")
