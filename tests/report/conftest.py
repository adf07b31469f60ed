"""Small run and evaluation folders, written as the runs write them."""

import json
from pathlib import Path

import pytest

from skilljax.skills import store
from skilljax.skills.bank import SkillBank
from skilljax.types import Edit, Provenance

HOSTILE = (
  "</script><script>alert(1)</script><img src=x onerror=alert(2)>"
  "\"'&lt;<!-- {{ 7*7 }} \u2028\ud800"
)


def dump_lines(path: Path, rows) -> None:
  path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def propose(title: str, principle: str = "") -> dict[str, str]:
  return {
    "kind": "propose",
    "category": "heat",
    "title": title,
    "principle": principle or f"The principle of {title}.",
    "when_to_apply": f"Whenever {title} matters.",
    "reason": "seen here.",
  }


def commit_rows(chain: str, edits, first: SkillBank | None = None):
  """(step, edit) pairs as rows of commits.jsonl, with true hashes, and the last bank."""
  bank, rows = first or SkillBank(), []
  for step, edit in edits:
    after = bank.apply(Edit(**edit), provenance=Provenance(origin="policy", task="t"))
    rows.append(
      {
        "step": step,
        "chain": chain,
        "edit": edit,
        "task": f"household/train/{chain}/{step}#0",
        "policy_version": step - 1,
        "parent": bank.version,
        "version": after.version,
        "utility": 0.25 * step,
      }
    )
    bank = after
  return rows, bank


def edit_row(step: int, kind: str, utility: float | None, **more):
  return {
    "step": step,
    "name": f"{kind}:{step}",
    "kind": kind,
    "task": f"household/train/estate-1/{step}#0",
    "family": "heat",
    "before": "a" * 16,
    "after": "b" * 16,
    "utility": utility,
    "pairs": [
      {
        "task": "household/train/estate-1/77#0",
        "before": [False, 10, 0.0],
        "after": [True, 7, 1.3],
        "ran": True,
      }
    ],
    **more,
  }


def episode_row(step: int, name: str, text: str = "take apple 1"):
  return {
    "step": step,
    "episode": name,
    "task": "household/train/estate-1/3#0",
    "goal": "heat the apple.",
    "success": True,
    "turns": 1,
    "max_turns": 9,
    "bank_version": "c" * 16,
    "rewards": [1.0, None],
    "pieces": [
      {
        "text": "You see an apple.",
        "role": "none",
        "trained": False,
        "advantage": 0.0,
        "tokens": 5,
      },
      {"text": text, "role": "act", "trained": True, "advantage": 0.731, "tokens": 3},
    ],
  }


def write_run(folder: Path, *, text: str = "Use the oven") -> Path:
  """A run of two updates with one skill proposed, updated and retired."""
  folder.mkdir()
  edit = propose(text, principle=f"{text}: foods go in the oven.")
  update = {**edit, "kind": "update", "skill_id": "s1", "principle": "Use the stove."}
  retire = {"kind": "retire", "skill_id": "s1", "reason": "audit"}
  commits, bank = commit_rows("estate-1", [(1, edit), (2, update), (2, retire)])
  (folder / "config.json").write_text(
    json.dumps(
      {
        "env": {"name": "household"},
        "feed": {"tasks_per_update": 8},
        "train": {"group_size": 4, "review": True, "num_updates": 2},
        "note": text,
      }
    )
  )
  dump_lines(
    folder / "metrics.jsonl",
    [
      {
        "step": step,
        "rollout/success": 0.3 * step,
        "rollout/interactions": 70.0 * step,
        "skill/utility_mean": 0.2,
        "skill/null_utility_mean": 0.0,
        "skill/null_utility_std": 0.1,
      }
      for step in (1, 2)
    ],
  )
  dump_lines(folder / "perf.jsonl", [{"step": 1, "perf/rss_bytes": 2.0**30}])
  dump_lines(
    folder / "edits.jsonl",
    [
      edit_row(
        1,
        "policy",
        0.43,
        edit=edit,
        status="added",
        source_success=False,
        task=commits[0]["task"],
      ),
      edit_row(1, "null", -0.125),
      edit_row(2, "audit", None),
    ],
  )
  dump_lines(folder / "commits.jsonl", commits)
  dump_lines(
    folder / "episodes.jsonl", [episode_row(1, "g0.0", text), episode_row(2, "g0.1")]
  )
  (folder / "banks").mkdir()
  store.save_bank(folder / "banks" / "estate-1.json", bank)
  return folder


def estimate(mean: float, low: float, high: float):
  return {"mean": mean, "low": low, "high": high, "count": 6, "clusters": 2}


def record(arm: str, scope: str, position: int, success: bool, family: str = "heat"):
  return {
    "arm": arm,
    "pass_index": 0,
    "scope": scope,
    "position": position,
    "task": f"household/test/{scope}/{position}#0",
    "family": family,
    "success": success,
    "score": 1.5 * success,
    "num_turns": 5,
    "bank_size": 0,
    "episode_return": float(success),
    "fault": "",
  }


def write_evaluation(
  folder: Path, *, evolving: float = 0.75, text: str = "Use the oven"
) -> Path:
  """Two streams of three tasks; the evolving arm wins from the second position on."""
  folder.mkdir()
  scopes = ("estate-8", "estate-9")
  records = [
    record(arm, scope, position, arm == "evolving" and position > 0)
    for arm in ("no_bank", "evolving")
    for scope in scopes
    for position in range(3)
  ]
  (folder / "records.json").write_text(json.dumps(records))
  summary = {
    "name": "household_test",
    "policy": "runs/rl/policy",
    "stamp": {"git_commit": "0123abcd", "versions": {"jax": "0.10.2"}},
    "num_tasks": 6,
    "interactions": 12,
    "faults": 0,
    "arms": {
      "no_bank": {"success": estimate(0.125, 0.05, 0.2)},
      "evolving": {"success": estimate(evolving, 0.6, 0.9)},
    },
    "differences": {"evolving - no_bank": estimate(evolving - 0.125, 0.4, 0.8)},
  }
  (folder / "summary.json").write_text(json.dumps(summary))
  rows, bank = commit_rows("estate-8", [(1, propose(text)), (2, propose("Second"))])
  dump_lines(
    folder / "edits.jsonl",
    [
      {
        "arm": "evolving",
        "node": f"estate-8:{i}",
        "task": f"household/test/estate-8/{i}#0",
        "edit": row["edit"],
        "status": "added",
        "bank": row["version"],
      }
      for i, row in enumerate(rows)
    ],
  )
  (folder / "banks" / "evolving").mkdir(parents=True)
  store.save_bank(folder / "banks" / "evolving" / "estate-8.json", bank)
  return folder


@pytest.fixture(scope="session")
def synthetic():
  """The builders of this file, for tests."""
  return {
    "run": write_run,
    "evaluation": write_evaluation,
    "commits": commit_rows,
    "propose": propose,
    "edit": edit_row,
    "hostile": HOSTILE,
  }
