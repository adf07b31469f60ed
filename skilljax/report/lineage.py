"""The life of each skill, rebuilt by replaying recorded edits on banks.

The replay names every skill (ids are given by the bank, not by the edit) and proves the
record: each step must give the recorded content hash. Must not know about: HTML, files.
"""

import dataclasses
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from skilljax.report.load import EvaluationFiles
from skilljax.skills.bank import EditRejected, SkillBank
from skilljax.types import Edit, Provenance

PAST = {"propose": "proposed", "update": "updated", "retire": "retired"}
EDIT_FIELDS = tuple(field.name for field in dataclasses.fields(Edit))


@dataclasses.dataclass(frozen=True)
class Event:
  """One step in the life of a skill.

  Attributes:
    when: update number, or position in the stream.
    edit: as applied.
    task: key of the task whose episode led to it.
    utility: measured by probes; None where nothing was probed.
    parent, version: bank before and after.
    proven: the replay gave `version`.
  """

  when: int
  edit: Edit
  task: str
  utility: float | None
  parent: str
  version: str
  proven: bool


@dataclasses.dataclass(frozen=True)
class Life:
  """All events of one skill; the last one that is no retirement has its text."""

  skill_id: str
  category: str
  events: tuple[Event, ...]

  @property
  def text(self) -> Edit:
    """The newest wording; of a skill that is only known as retired, that event."""
    worded = [e.edit for e in self.events if e.edit.kind != "retire"]
    return worded[-1] if worded else self.events[-1].edit

  @property
  def retired(self) -> bool:
    """True if the skill is no longer in its bank."""
    return self.events[-1].edit.kind == "retire"


@dataclasses.dataclass(frozen=True)
class Estate:
  """The lives of one bank's skills; `scope` is an estate of household, for example."""

  scope: str
  lives: tuple[Life, ...]

  @property
  def events(self) -> list[Event]:
    """All events, skill by skill."""
    return [event for life in self.lives for event in life.events]

  @property
  def num_events(self) -> int:
    """How many edits changed this bank."""
    return len(self.events)

  @property
  def counts(self) -> Mapping[str, int]:
    """What happened how often, for example {'proposed': 3, 'retired': 1}."""
    found = Counter(event.edit.kind for event in self.events)
    return {past: found[kind] for kind, past in PAST.items() if found[kind]}

  @property
  def first(self) -> int:
    """When the bank changed first."""
    return min(event.when for event in self.events)

  @property
  def last(self) -> int:
    """When the bank changed last."""
    return max(event.when for event in self.events)

  @property
  def proven(self) -> bool:
    """True if every hash was reproduced."""
    return all(event.proven for event in self.events)


def of_commits(rows: Iterable[Mapping[str, Any]]) -> list[Estate]:
  """The lineage of a training run, from commits.jsonl."""
  chains: dict[str, list[Mapping[str, Any]]] = {}
  for row in rows:
    chains.setdefault(str(row.get("chain", "")), []).append(row)
  return [
    Estate(scope, replay([_event(row, "step", "version") for row in chain]))
    for scope, chain in chains.items()
  ]


def of_evaluation(evaluation: EvaluationFiles, arm: str = "evolving") -> list[Estate]:
  """The lineage of an evaluation's arm in its first pass, from edits.jsonl."""
  place = {
    r.task: (r.scope, r.position)
    for r in evaluation.records
    if r.arm == arm and r.pass_index == 0
  }
  chains: dict[str, list[Event]] = {}
  for row in evaluation.edits:
    if row.get("arm") != arm or row.get("pass", 0) != 0:  # older files have no other
      continue
    if row.get("status") not in ("added", "updated", "retired"):
      continue
    scope, position = place.get(row.get("task", ""), ("unknown", 0))
    event = _event({**row, "step": position + 1}, "step", "bank")
    chains.setdefault(scope, []).append(event)
  return [
    Estate(scope, replay(sorted(events, key=lambda e: e.when)))
    for scope, events in chains.items()
  ]


def replay(events: Sequence[Event]) -> tuple[Life, ...]:
  """Applies events in order and groups them by the skill that they changed."""
  bank, round_number = SkillBank(), 0
  lives: dict[tuple[int, str], tuple[str, list[Event]]] = {}
  for event in events:
    after, proven = _step(bank, event)
    if not proven:
      # A scope that the run left and met again starts over with an empty bank.
      fresh, fits = _step(SkillBank(), event)
      if fits:
        bank, after, proven, round_number = SkillBank(), fresh, True, round_number + 1
    event = dataclasses.replace(event, parent=event.parent or bank.version, proven=proven)
    skill_id, category = _changed(bank, after, event.edit)
    _, kept = lives.setdefault((round_number, skill_id), (category, []))
    kept.append(event)
    bank = after
  return tuple(
    Life(skill_id, category, tuple(kept))
    for (_, skill_id), (category, kept) in lives.items()
  )


def _step(bank: SkillBank, event: Event) -> tuple[SkillBank, bool]:
  """The bank after an event, and whether it is the recorded one."""
  try:
    after = bank.apply(event.edit, provenance=Provenance(task=event.task))
  except EditRejected:
    return bank, False
  return after, after.version == event.version


def _changed(before: SkillBank, after: SkillBank, edit: Edit) -> tuple[str, str]:
  """(id, category) of the skill that an edit changed; '?' where it does not apply."""
  if edit.kind == "propose":
    if len(after.skills) > len(before.skills):
      return after.skills[-1].skill_id, edit.category
    return "?", edit.category
  target = before.get(edit.skill_id)
  return edit.skill_id or "?", target.category if target else edit.category


def _event(row: Mapping[str, Any], when: str, version: str) -> Event:
  fields = {k: v for k, v in (row.get("edit") or {}).items() if k in EDIT_FIELDS}
  return Event(
    when=int(row.get(when) or 0),
    edit=Edit(**{"kind": "", **fields}),
    task=str(row.get("task", "")),
    utility=row.get("utility"),
    parent=str(row.get("parent", "")),
    version=str(row.get(version, "")),
    proven=False,
  )
