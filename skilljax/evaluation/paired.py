"""Numbers with intervals from evaluation records: means, differences, tables.

The unit of resampling is a cluster, because what shares much is not independent: a scope
where there are several (one estate has its rules and its bank), else what the benchmark
calls alike (`Task.cluster`), else a task. Source: Miller, "Adding Error Bars to Evals"
(arXiv:2411.00640), whose clustered standard errors these intervals bootstrap.

Must not know about: how the records were made.
"""

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np

from skilljax.evaluation.exact import ARMS, EpisodeRecord

Measure = Callable[[EpisodeRecord], float]


@dataclasses.dataclass(frozen=True)
class Estimate:
  """A mean with its bootstrap interval; `count` episodes in `clusters` clusters."""

  mean: float
  low: float
  high: float
  count: int
  clusters: int

  def __str__(self):
    return f"{self.mean:6.1%} [{self.low:.1%}, {self.high:.1%}]"


def bootstrap_mean(
  values: Sequence[float],
  clusters: Sequence[str],
  *,
  level: float = 0.95,
  num_samples: int = 2000,
  seed: int = 0,
) -> Estimate:
  """Mean with a percentile interval from resampling whole clusters.

  Args:
    values: [N].
    clusters: [N], cluster of each value.
    level: coverage, in (0, 1).
    num_samples: bootstrap samples.
    seed: of the resampling.
  """
  if not len(values):
    return Estimate(float("nan"), float("nan"), float("nan"), 0, 0)
  names = sorted(set(clusters))
  index = {name: i for i, name in enumerate(names)}
  member = np.array([index[c] for c in clusters])
  sums = np.bincount(member, np.asarray(values, np.float64), len(names))
  counts = np.bincount(member, minlength=len(names)).astype(np.float64)
  rng = np.random.default_rng(seed)
  draws = rng.integers(0, len(names), (num_samples, len(names)))
  means = sums[draws].sum(1) / counts[draws].sum(1)
  low, high = interval(means, level)
  return Estimate(float(np.mean(values)), low, high, len(values), len(names))


def interval(means: np.ndarray, level: float) -> tuple[float, float]:
  """The inner `level` of bootstrap means [B]; NaN, a draw without value, is left out."""
  low, high = np.nanquantile(means, [(1 - level) / 2, (1 + level) / 2])
  return float(low), float(high)


def cluster_of(records: Sequence[EpisodeRecord]) -> Callable[[EpisodeRecord], str]:
  """Scopes as clusters where there are several, else the clusters of the tasks."""
  if len({r.scope for r in records}) > 1:
    return lambda record: record.scope
  return lambda record: record.cluster or record.task


def with_clusters(
  records: Iterable[EpisodeRecord], clusters: Mapping[str, str]
) -> tuple[EpisodeRecord, ...]:
  """Records with the cluster of their task, where older code has left it out.

  Args:
    records: of any version.
    clusters: key of a task -> cluster.
  """
  return tuple(
    r if r.cluster else dataclasses.replace(r, cluster=clusters.get(r.task, ""))
    for r in records
  )


def succeeded(record: EpisodeRecord) -> float:
  """1 for a success, else 0; a faulty episode is a failure."""
  return float(record.success and not record.fault)


def returned(record: EpisodeRecord) -> float:
  """The graded score of an episode; 0 for a faulty one."""
  return 0.0 if record.fault else record.episode_return


def is_graded(records: Iterable[EpisodeRecord]) -> bool:
  """True where the score says more than success: some failure earned a part of it."""
  return any(not record.success and returned(record) != 0.0 for record in records)


def mean(records: Iterable[EpisodeRecord], measure: Measure = succeeded) -> Estimate:
  """Mean of a measure over some records, with its interval."""
  rows = list(records)
  cluster = cluster_of(rows)
  return bootstrap_mean([measure(r) for r in rows], [cluster(r) for r in rows])


def by_arm(records: Iterable[EpisodeRecord]) -> Mapping[str, list[EpisodeRecord]]:
  """Records grouped by arm, in order of first appearance."""
  groups: dict[str, list[EpisodeRecord]] = {}
  for record in records:
    groups.setdefault(record.arm, []).append(record)
  return groups


def difference(
  records: Sequence[EpisodeRecord],
  arm: str,
  baseline: str,
  *,
  measure: Measure = succeeded,
  level: float = 0.95,
) -> Estimate:
  """Paired difference between two arms: same pass, same task.

  Raises:
    ValueError: the arms did not play the same tasks.
  """
  groups = by_arm(records)
  left = {(r.pass_index, r.task): r for r in groups.get(arm, [])}
  right = {(r.pass_index, r.task): r for r in groups.get(baseline, [])}
  if not left or left.keys() != right.keys():
    raise ValueError(f"arms {arm!r} and {baseline!r} did not play the same tasks")
  cluster = cluster_of(records)
  keys = sorted(left)
  return bootstrap_mean(
    [measure(left[k]) - measure(right[k]) for k in keys],
    [cluster(left[k]) for k in keys],
    level=level,
  )


def whole_clusters(records: Sequence[EpisodeRecord]) -> float | None:
  """Share of clusters of which a pass solved every task, mean over passes.

  AppWorld's scenario goal completion. None where no cluster has several tasks.
  """
  won: dict[tuple[int, str], list[bool]] = {}
  for record in records:
    key = (record.pass_index, record.cluster or record.task)
    won.setdefault(key, []).append(bool(succeeded(record)))
  if all(len(tasks) == 1 for tasks in won.values()):
    return None
  return float(np.mean([all(tasks) for tasks in won.values()]))


def metrics(
  records: Sequence[EpisodeRecord], *, name: str, num_tasks: int
) -> dict[str, float]:
  """Metric rows, the coverage in the name.

  They are `eval/<name>/bank_<arm>/…`, of reference players `eval/<name>/<player>/…`.

  Args:
    records: of one evaluation.
    name: environment and split, for example 'alfworld_unseen'.
    num_tasks: tasks of the split that each pass should cover.
  """
  rows: dict[str, float] = {}
  for arm, group in by_arm(records).items():
    # Of the worst pass: the name must not promise what one of them missed.
    passes = {r.pass_index: set() for r in group}
    for record in group:
      if not record.fault:
        passes[record.pass_index].add(record.task)
    covered = min(len(tasks) for tasks in passes.values())
    label = f"bank_{arm.removesuffix('_bank')}" if arm in ARMS else arm
    prefix = f"eval/{name}/{label}"
    rows[f"{prefix}/success_{covered}of{num_tasks}"] = mean(group).mean
    rows[f"{prefix}/return_{covered}of{num_tasks}"] = mean(group, returned).mean
    rows[f"{prefix}/turns"] = float(np.mean([r.num_turns for r in group]))
    if (share := whole_clusters(group)) is not None:
      rows[f"{prefix}/whole_clusters"] = share
  return rows


def table(records: Sequence[EpisodeRecord]) -> str:
  """A plain-text table: arms × (all, the graded score if any, families with counts)."""
  families = sorted({r.family for r in records})
  columns = {"all": succeeded, **({"return": returned} if is_graded(records) else {})}
  head = [*(f" {name:>23}" for name in columns), *(f" {f:>16}" for f in families)]
  lines = [f"{'arm':<12} " + "".join(head)]
  for arm, group in by_arm(records).items():
    cells = [f" {mean(group, measure)!s:>23}" for measure in columns.values()]
    for family in families:
      part = [r for r in group if r.family == family]
      rate = np.mean([r.success for r in part]) if part else float("nan")
      cells.append(f" {f'{rate:.1%} of {len(part)}':>16}")
    lines.append(f"{arm:<12} " + "".join(cells))
  return "\n".join(lines)
