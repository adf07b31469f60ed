import dataclasses
import math

import numpy as np
import pytest

from skilljax.evaluation.exact import EpisodeRecord
from skilljax.evaluation.paired import (
  Estimate,
  bootstrap_mean,
  by_arm,
  difference,
  is_graded,
  mean,
  metrics,
  returned,
  table,
  whole_clusters,
)


def record(
  task,
  won,
  *,
  arm="no_bank",
  scope="a",
  pass_index=0,
  family="heat",
  graded=None,
  fault="",
  cluster="",
):
  return EpisodeRecord(
    arm=arm,
    pass_index=pass_index,
    scope=scope,
    position=0,
    task=task,
    family=family,
    success=bool(won),
    score=1.5 * won,
    num_turns=4 + 2 * won,
    bank_size=0,
    episode_return=float(won) if graded is None else graded,
    fault=fault,
    cluster=cluster,
  )


def test_the_interval_of_two_clusters_by_hand():
  # Clusters {1, 1} and {0}. Draws of two clusters: mean 1 (1/4), 2/3 (1/2), 0 (1/4).
  estimate = bootstrap_mean([1, 1, 0], ["x", "x", "y"], num_samples=4000)
  assert (estimate.mean, estimate.low, estimate.high) == (pytest.approx(2 / 3), 0.0, 1.0)
  assert (estimate.count, estimate.clusters) == (3, 2)
  # The inner 40 % of the draws lie between the quantiles 0.3 and 0.7: all are 2/3.
  inner = bootstrap_mean([1, 1, 0], ["x", "x", "y"], level=0.4, num_samples=4000)
  assert inner.low == inner.high == pytest.approx(2 / 3)


def test_one_cluster_has_no_interval():
  estimate = bootstrap_mean([1, 0, 1, 0], ["x"] * 4)
  assert estimate == Estimate(0.5, 0.5, 0.5, 4, 1)


def test_clusters_widen_the_interval():
  # 16 values in 4 clusters that agree inside: 4 independent numbers, not 16.
  values = np.repeat([1.0, 1.0, 0.0, 0.0], 4)
  alone = bootstrap_mean(values, [str(i) for i in range(16)])
  grouped = bootstrap_mean(values, [str(i // 4) for i in range(16)])
  assert alone.mean == grouped.mean == 0.5
  # Standard deviations of the mean: 0.5/√16 and 0.5/√4; ±1.96 of them.
  assert alone.high - alone.low == pytest.approx(2 * 1.96 * 0.125, abs=0.08)
  assert grouped.high - grouped.low >= 0.9
  assert bootstrap_mean(values, ["z"] * 16, seed=1).low == 0.5


def test_the_interval_is_reproducible_and_depends_on_its_seed():
  values, names = (
    np.random.default_rng(0).normal(size=20),
    [f"c{i:02}" for i in range(20)],
  )
  first = bootstrap_mean(values, names)
  assert first == bootstrap_mean(values, names)
  assert first != bootstrap_mean(values, names, seed=1)
  shuffled = bootstrap_mean(values[::-1], names[::-1])
  assert (shuffled.low, shuffled.high) == pytest.approx((first.low, first.high))


def test_nothing_gives_nan():
  estimate = bootstrap_mean([], [])
  assert math.isnan(estimate.mean) and (estimate.count, estimate.clusters) == (0, 0)
  assert "nan" in str(estimate)


def test_scopes_are_the_clusters_where_there_are_several():
  rows = [record(f"t{i}", i % 2) for i in range(6)]
  assert mean(rows).clusters == 6
  rows += [record(f"u{i}", 1, scope="b") for i in range(3)]
  estimate = mean(rows)
  assert (estimate.clusters, estimate.count) == (2, 9)
  assert estimate.mean == pytest.approx(6 / 9)
  assert str(estimate) == " 66.7% [50.0%, 100.0%]"


def test_tasks_that_are_alike_are_one_cluster():
  rows = [record(f"t{i}", i < 2, cluster="xxyy"[i]) for i in range(4)]
  assert mean(rows) == Estimate(0.5, 0.0, 1.0, 4, 2)
  rows += [record("t4", 1)]  # a task of its own
  assert mean(rows).clusters == 3
  rows += [record("u", 1, scope="b")]  # scopes hold whole clusters
  assert mean(rows).clusters == 2
  arms = rows[:4] + [dataclasses.replace(r, arm="frozen", success=True) for r in rows[:4]]
  assert difference(arms, "frozen", "no_bank") == Estimate(0.5, 0.0, 1.0, 4, 2)


def test_a_cluster_is_whole_where_a_pass_solves_all_of_it():
  rows = [record(f"t{i}", i != 3, cluster="xxyy"[i]) for i in range(4)]
  assert whole_clusters(rows) == 0.5
  # A second pass wins the other half of y: no pass won all of it.
  rows += [record(f"t{i}", i != 2, cluster="xxyy"[i], pass_index=1) for i in range(4)]
  assert whole_clusters(rows) == 0.5
  rows[1] = record("t1", 1, cluster="x", fault="gone")
  assert whole_clusters(rows) == 0.25
  assert metrics(rows, name="n", num_tasks=4)["eval/n/bank_no/whole_clusters"] == 0.25


def test_tasks_of_their_own_have_no_whole_clusters():
  rows = [record(f"t{i}", 1, pass_index=p) for i in range(3) for p in range(2)]
  assert whole_clusters(rows) is None
  assert not any("whole" in name for name in metrics(rows, name="n", num_tasks=3))


def test_passes_of_a_task_are_one_cluster():
  rows = [record("t", i, pass_index=i) for i in range(2)]
  assert mean(rows) == Estimate(0.5, 0.5, 0.5, 2, 1)


def test_a_fault_counts_as_a_failure():
  rows = [record("t", 1), record("u", 0, fault="gone")]
  assert mean(rows).mean == 0.5


def two_arms(wins, others, scopes="aabb"):
  rows = [record(f"t{i}", w, arm="frozen", scope=scopes[i]) for i, w in enumerate(wins)]
  # The other arm in another order: pairs are found by task.
  return rows + [
    record(f"t{i}", others[i], scope=scopes[i]) for i in reversed(range(len(others)))
  ]


def test_the_paired_difference_by_hand():
  # Pairs: 1, 0 in scope a; 1, 1 in scope b. Means of two draws: 1/2, 3/4 or 1.
  gap = difference(two_arms([1, 1, 1, 1], [0, 1, 0, 0]), "frozen", "no_bank")
  assert gap == Estimate(0.75, 0.5, 1.0, 4, 2)
  back = difference(two_arms([1, 1, 1, 1], [0, 1, 0, 0]), "no_bank", "frozen")
  assert (back.mean, back.low, back.high) == (-0.75, -1.0, -0.5)


def test_pairing_removes_what_both_arms_share():
  # Tasks are hard or easy, the arms agree on all but none: no spread is left.
  gap = difference(two_arms([1, 0, 1, 0], [1, 0, 1, 0]), "frozen", "no_bank")
  assert gap == Estimate(0.0, 0.0, 0.0, 4, 2)


def test_arms_that_played_different_tasks_are_not_compared():
  rows = two_arms([1, 1, 1, 1], [0, 1, 0, 0])
  for some in (rows[:-1], rows[1:], rows[:4]):
    with pytest.raises(ValueError, match="'frozen' and 'no_bank' did not play the same"):
      difference(some, "frozen", "no_bank")
  moved = [*rows[:-1], record("t0", 0, pass_index=1)]
  with pytest.raises(ValueError, match="did not play the same tasks"):
    difference(moved, "frozen", "no_bank")


def test_arms_keep_their_order():
  rows = [record("t", 1, arm=arm) for arm in ("frozen", "no_bank", "frozen")]
  assert [(arm, len(group)) for arm, group in by_arm(rows).items()] == [
    ("frozen", 2),
    ("no_bank", 1),
  ]


def test_metric_names_carry_the_coverage():
  rows = [
    *(record(f"t{i}", i < 3, arm="evolving") for i in range(4)),
    *(record(f"t{i}", i < 1, fault="gone" if i == 3 else "") for i in range(4)),
  ]
  assert metrics(rows, name="fake_test", num_tasks=4) == {
    "eval/fake_test/bank_evolving/success_4of4": 0.75,
    "eval/fake_test/bank_evolving/return_4of4": 0.75,
    "eval/fake_test/bank_evolving/turns": 5.5,
    "eval/fake_test/bank_no/success_3of4": 0.25,
    "eval/fake_test/bank_no/return_3of4": 0.25,
    "eval/fake_test/bank_no/turns": 4.5,
  }
  # Fewer tasks than the split holds.
  assert "eval/x/bank_no/success_3of140" in metrics(rows, name="x", num_tasks=140)


def test_coverage_is_that_of_the_worst_pass():
  rows = [
    record(f"t{i}", 1, pass_index=p, fault="gone" if (i, p) == (2, 1) else "")
    for i in range(3)
    for p in range(2)
  ]
  assert "eval/x/bank_no/success_2of3" in metrics(rows, name="x", num_tasks=3)


def test_the_table_names_arms_families_and_counts():
  rows = [
    record("t0", 1, arm="frozen"),
    record("t1", 0, arm="frozen"),
    record("t2", 1, arm="frozen", family="cool"),
    record("t0", 0),
  ]
  head, frozen, none = table(rows).splitlines()
  assert head.split() == ["arm", "all", "cool", "heat"]
  assert frozen.split()[:2] == ["frozen", "66.7%"]
  assert frozen.endswith(f"{'100.0% of 1':>16} {'50.0% of 2':>16}")
  assert none.endswith(f"{'nan% of 0':>16} {'0.0% of 1':>16}")
  assert len({len(line) for line in (head, frozen, none)}) == 1


def test_a_graded_score_stands_beside_success():
  rows = [
    record("t0", 0, graded=0.5),
    record("t1", 1),
    record("t2", 0, graded=0.75, fault="gone"),  # what a fault earned does not count
    record("t3", 0),
  ]
  assert is_graded(rows) and not is_graded([record("t1", 1), record("t3", 0)])
  assert mean(rows, returned).mean == pytest.approx(1.5 / 4)
  assert mean(rows).mean == pytest.approx(1 / 4)
  head, line = table(rows).splitlines()
  assert "return" in head and "37.5%" in line and "25.0%" in line
  assert "return" not in table([record("t1", 1)])
  better = [record(f"t{i}", 0, arm="evolving", graded=1.0) for i in range(4)]
  assert difference(
    rows + better, "evolving", "no_bank", measure=returned
  ).mean == pytest.approx(1 - 1.5 / 4)
