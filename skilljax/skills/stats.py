"""Use statistics of skills: a side table beside the bank, never inside it.

Purpose: count how skills fare, keyed by the content hash of each skill, so that numbers
follow a skill through forks and banks and never change a bank's version.
Must not know about: files, rollouts, JAX.
"""

import dataclasses
import math
from collections.abc import Iterable, Mapping
from typing import Any

from skilljax.skills.records import skill_hash
from skilljax.types import Skill

FORMAT_VERSION = 1


@dataclasses.dataclass(frozen=True)
class SkillStats:
  """Numbers of one skill.

  Attributes:
    shown: prompts it stood in, probes included.
    episodes: finished episodes it was shown in, probes excluded.
    successes: of those episodes.
    utilities: how many utilities were measured for edits that wrote it.
    mean_utility: their mean; 0.0 where `utilities` is 0.
    last_used: update count when it was last shown; -1 if never.
  """

  shown: int = 0
  episodes: int = 0
  successes: int = 0
  utilities: int = 0
  mean_utility: float = 0.0
  last_used: int = -1

  @property
  def success_rate(self) -> float:
    """Successes over episodes; NaN without episodes."""
    return self.successes / self.episodes if self.episodes else math.nan


@dataclasses.dataclass(frozen=True)
class Stats:
  """An immutable table: every method returns a new one.

  Attributes:
    rows: content hash (`records.skill_hash`) to numbers. Treat as read-only.
  """

  rows: Mapping[str, SkillStats] = dataclasses.field(default_factory=dict)

  def of(self, skill: Skill) -> SkillStats:
    """Numbers of a skill; zeros for one never seen."""
    return self.rows.get(skill_hash(skill), SkillStats())

  def record_shown(self, skills: Iterable[Skill], *, update: int) -> "Stats":
    """Counts one prompt that held these skills at this update count."""
    changes = {}
    for skill in skills:
      row = self.of(skill)
      changes[skill_hash(skill)] = dataclasses.replace(
        row, shown=row.shown + 1, last_used=max(row.last_used, update)
      )
    return Stats({**self.rows, **changes})

  def record_episode(self, skills: Iterable[Skill], *, success: bool) -> "Stats":
    """Counts one finished episode for the skills that were shown in it."""
    changes = {}
    for skill in skills:
      row = self.of(skill)
      changes[skill_hash(skill)] = dataclasses.replace(
        row, episodes=row.episodes + 1, successes=row.successes + bool(success)
      )
    return Stats({**self.rows, **changes})

  def record_utility(self, skill: Skill, utility: float) -> "Stats":
    """Adds one measured utility to the mean.

    Raises:
      ValueError: utility is not finite.
    """
    if not math.isfinite(utility):
      raise ValueError(f"utility={utility} must be finite")
    row = self.of(skill)
    count = row.utilities + 1
    mean = row.mean_utility + (utility - row.mean_utility) / count
    changed = dataclasses.replace(row, utilities=count, mean_utility=mean)
    return Stats({**self.rows, skill_hash(skill): changed})

  def to_record(self) -> dict[str, Any]:
    """A JSON object; `stats_from_record` reads it back exactly."""
    rows = {key: dataclasses.asdict(row) for key, row in sorted(self.rows.items())}
    return {"format_version": FORMAT_VERSION, "rows": rows}


def stats_from_record(record: Mapping[str, Any]) -> Stats:
  """Inverse of `Stats.to_record`.

  Raises:
    ValueError: another format version, or rows that are not statistics.
  """
  if record.get("format_version") != FORMAT_VERSION:
    raise ValueError(
      f"format_version={record.get('format_version')!r} of the statistics must be"
      f" {FORMAT_VERSION}"
    )
  try:
    return Stats({str(key): SkillStats(**row) for key, row in record["rows"].items()})
  except (KeyError, TypeError, AttributeError) as err:
    raise ValueError(f"rows of the statistics are damaged: {err}") from err
