import numpy as np
import pytest

from skilljax.evaluation import paired, seeds
from tests.evaluation.test_paired import record


def run(no_bank, evolving):
  """Records of one seed: outcomes by scope -> [won, …], for two arms."""
  return [
    record(f"{scope}/{i}", won, arm=arm, scope=scope)
    for arm, outcomes in (("no_bank", no_bank), ("evolving", evolving))
    for scope, wins in outcomes.items()
    for i, won in enumerate(wins)
  ]


ONE = run({"a": [0, 0], "b": [1, 0]}, {"a": [1, 1], "b": [1, 0]})
TWO = run({"a": [0, 0], "b": [0, 0]}, {"a": [1, 0], "b": [1, 1]})


def test_means_and_gains_by_hand():
  assert seeds.mean([ONE, TWO], "no_bank").mean == pytest.approx(1 / 8)
  assert seeds.mean([ONE, TWO], "evolving").mean == pytest.approx(6 / 8)
  assert seeds.gain([ONE, TWO], "evolving", "no_bank").mean == pytest.approx(5 / 8)
  assert seeds.contrast([ONE], [TWO], "no_bank").mean == pytest.approx(1 / 4)
  assert seeds.contrast([TWO, ONE], [ONE, TWO], "evolving").mean == 0.0
  crossed = seeds.contrast([ONE], [TWO], "evolving", other_arm="no_bank")
  assert crossed.mean == pytest.approx(3 / 4)
  estimate = seeds.mean([ONE, TWO], "evolving")
  assert (estimate.count, estimate.clusters) == (8, 2)


def test_one_seed_has_the_interval_of_its_clusters():
  rng = np.random.default_rng(0)
  values = {
    (0, f"{c}/{i}"): (float(rng.random() < 0.3 + c / 40), str(c))
    for c in range(20)
    for i in range(5)
  }
  crossed = seeds.crossed_mean([values])
  plain = paired.bootstrap_mean(*zip(*values.values(), strict=True))
  assert crossed.mean == pytest.approx(plain.mean)
  assert crossed.low == pytest.approx(plain.low, abs=0.02)
  assert crossed.high == pytest.approx(plain.high, abs=0.02)


def test_seeds_that_differ_widen_the_interval():
  def seed(rate):
    return {(0, str(i)): (float(i % 10 < 10 * rate), str(i)) for i in range(200)}

  same = seeds.crossed_mean([seed(0.5)] * 3)
  apart = seeds.crossed_mean([seed(0.2), seed(0.5), seed(0.8)])
  assert same.mean == apart.mean == pytest.approx(0.5)
  assert apart.low < 0.32 < same.low
  assert apart.high > 0.68 > same.high


def test_equal_recipes_differ_by_nothing_however_their_scopes_differ():
  # Unpaired, scopes of 0 % and 100 % would give a wide interval.
  same = run({"a": [0, 0], "b": [1, 1]}, {"a": [0, 0], "b": [1, 1]})
  for estimate in (
    seeds.gain([same, same], "evolving", "no_bank"),
    seeds.contrast([same, same], [same, same], "evolving"),
  ):
    assert (estimate.low, estimate.mean, estimate.high) == (0.0, 0.0, 0.0)


def groups(own, null, clusters):
  treated = [True] * len(own) + [False] * len(null)
  return seeds.Groups([*own, *null], treated, clusters)


def test_own_edits_against_nulls_by_hand():
  alone = seeds.difference_of_means([groups([0.4, 0.2], [0.0, 0.1], "xxxx")])
  assert alone.mean == alone.low == alone.high == pytest.approx(0.25)
  # Draws of clusters without one of the kinds are left out.
  apart = seeds.difference_of_means([groups([0.4, 0.2], [0.0, 0.1], "xxyz")])
  assert apart.mean == pytest.approx(0.25)
  assert (apart.low, apart.high) == (pytest.approx(0.2), pytest.approx(0.3))


def test_runs_count_alike_and_are_resampled():
  # Pooled, the first run's many own edits would outweigh the second's.
  long, short = groups([0.1] * 90, [0.0], "x" * 91), groups([0.5], [0.0] * 9, "x" * 10)
  both = seeds.difference_of_means([long, short])
  assert both.mean == pytest.approx(0.3)
  assert (both.low, both.high) == (pytest.approx(0.1), pytest.approx(0.5))


@pytest.mark.parametrize("sizes", [(2, 0), (0, 2)])
def test_a_difference_of_one_kind_raises(sizes):
  own, null = ([0.1] * n for n in sizes)
  with pytest.raises(ValueError, match="both kinds"):
    seeds.difference_of_means([groups(own, null, "ab")])
  with pytest.raises(ValueError, match="no runs"):
    seeds.difference_of_means([])


def test_what_cannot_be_paired_raises():
  with pytest.raises(ValueError, match="same tasks"):
    seeds.contrast([ONE], [ONE[:-2] + run({}, {"c": [1]})], "evolving")
  with pytest.raises(ValueError, match="pair 1 seeds with 2"):
    seeds.contrast([ONE], [ONE, TWO], "evolving")
  with pytest.raises(ValueError, match=r"'frozen' was not played.*evolving"):
    seeds.mean([ONE], "frozen")
  with pytest.raises(ValueError, match="no values"):
    seeds.crossed_mean([{}])


def test_the_table_says_what_it_cannot_compare():
  text = seeds.table({"cold": [ONE], "trained": [ONE, TWO]})
  assert "not compared: 2 seeds cannot be paired with 1" in text


def test_the_table_names_recipes_arms_and_differences():
  text = seeds.table({"cold": [TWO, TWO], "trained": [ONE, TWO]})
  lines = text.splitlines()
  assert lines[0] == "cold (2 seeds)"
  assert "each 25.0%, 0.0%" in text  # of the trained policies without a bank
  assert any(line.startswith("  evolving - no_bank") for line in lines)
  at = lines.index("trained - cold")
  assert [line.split()[:2] for line in lines[at + 1 : at + 3]] == [
    ["no_bank", "12.5%"],
    ["evolving", "0.0%"],
  ]
  assert lines[at + 3].split()[:6] == ["evolving", "-", "no_bank", "of", "cold", "75.0%"]
  assert len(lines) == at + 4


def test_a_graded_benchmark_gets_a_second_part():
  graded = [record("a/0", 0, graded=0.5), record("a/1", 1)]
  text = seeds.table({"cold": [graded], "trained": [graded]})
  success, score = text.split("graded score")
  assert "50.0%" in success and "75.0%" in score
  assert "graded" not in seeds.table({"cold": [ONE]})
