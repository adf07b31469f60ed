"""Words for numbers: what the verdict may and may not claim."""

import json

import pytest

from skilljax.report import headline
from skilljax.report.load import load_evaluation


@pytest.fixture
def evaluation(tmp_path, synthetic):
  """Builds an evaluation whose evolving arm differs by a given interval."""

  def make(label: str, low: float, high: float):
    folder = synthetic["evaluation"](tmp_path / label)
    summary = json.loads((folder / "summary.json").read_text())
    summary["differences"]["evolving - no_bank"] |= {
      "mean": (low + high) / 2,
      "low": low,
      "high": high,
    }
    (folder / "summary.json").write_text(json.dumps(summary))
    return load_evaluation(label, folder)

  return make


@pytest.mark.parametrize(
  ("low", "high", "claim"),
  [
    (0.02, 0.1, "help: +6.0 pt (+2.0 to +10.0)"),
    (-0.1, -0.02, "skills hurt: −6.0 pt (−10.0 to −2.0)"),
    (-0.02, 0.1, "does not show whether the skills help"),
  ],
)
def test_verdict_follows_the_interval(evaluation, low, high, claim):
  assert claim in headline.verdict([evaluation("one", low, high)])[1]


def test_only_clear_differences_are_marked(evaluation):
  clear, unclear = evaluation("a", 0.02, 0.1), evaluation("b", -0.02, 0.1)
  rows = dict(headline.table([clear, unclear]).rows)
  assert rows["a"][-1].clear and not rows["b"][-1].clear
  assert not rows["b − a"][0].clear  # the same records: a difference of zero


def test_stages_with_other_tasks_are_not_compared(evaluation):
  one, other = evaluation("one", 0.0, 0.1), evaluation("other", 0.0, 0.1)
  short = type(other)(**{**vars(other), "records": other.records[:-1]})
  assert headline.between_stages(one, short, "evolving").value == "other tasks"
