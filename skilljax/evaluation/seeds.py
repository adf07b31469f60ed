"""Several seeds of a recipe: means and differences with intervals over seeds and scopes.

Every seed of a recipe is evaluated on the same tasks, so seeds and clusters are crossed:
the bootstrap draws seeds and clusters independently, each with replacement. With few
seeds such intervals are rough, and with one they say nothing of training.

Must not know about: files, how the records were made.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from skilljax.evaluation.exact import EpisodeRecord
from skilljax.evaluation.paired import Estimate, by_arm, cluster_of

Run = Sequence[EpisodeRecord]  # one evaluation: the records of one seed
# One seed's values by (pass, task), with the cluster of each.
Values = Mapping[tuple[int, str], tuple[float, str]]


def success(runs: Sequence[Run], arm: str) -> Estimate:
  """Success of one arm, pooled over seeds."""
  return crossed_mean([_of_arm(run, arm) for run in runs])


def gain(runs: Sequence[Run], arm: str, baseline: str) -> Estimate:
  """Difference between two arms of the same policies, paired by (seed, pass, task)."""
  pairs = [(_of_arm(run, arm), _of_arm(run, baseline)) for run in runs]
  return crossed_mean([_minus(left, right) for left, right in pairs])


def contrast(runs: Sequence[Run], others: Sequence[Run], arm: str) -> Estimate:
  """Difference between two recipes in one arm: seed n of one against seed n of the other.

  Raises:
    ValueError: another number of seeds, or other tasks.
  """
  if len(runs) != len(others):
    raise ValueError(f"cannot pair {len(runs)} seeds with {len(others)}")
  pairs = zip(runs, others, strict=True)
  return crossed_mean([_minus(_of_arm(a, arm), _of_arm(b, arm)) for a, b in pairs])


def crossed_mean(
  seeds: Sequence[Values],
  *,
  level: float = 0.95,
  num_samples: int = 2000,
  seed: int = 0,
) -> Estimate:
  """Mean with a percentile interval from resampling seeds and clusters.

  Args:
    seeds: values of each seed.
    level: coverage, in (0, 1).
    num_samples: bootstrap samples.
    seed: of the resampling.
  Raises:
    ValueError: no values.
  """
  names = sorted({cluster for values in seeds for _, cluster in values.values()})
  if not names:
    raise ValueError("no values to compare")
  column = {name: i for i, name in enumerate(names)}
  sums, counts = np.zeros((2, len(seeds), len(names)))
  for row, values in enumerate(seeds):
    for value, cluster in values.values():
      sums[row, column[cluster]] += value
      counts[row, column[cluster]] += 1
  rng = np.random.default_rng(seed)
  rows = rng.integers(0, len(seeds), (num_samples, len(seeds), 1))
  columns = rng.integers(0, len(names), (num_samples, 1, len(names)))
  drawn = counts[rows, columns].sum((1, 2))
  means = (sums[rows, columns].sum((1, 2)) / np.maximum(drawn, 1))[drawn > 0]
  low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
  return Estimate(
    float(sums.sum() / counts.sum()),
    float(low),
    float(high),
    int(counts.sum()),
    len(names),
  )


def difference_of_means(
  values: Sequence[float],
  treated: Sequence[bool],
  clusters: Sequence[str],
  *,
  level: float = 0.95,
  num_samples: int = 2000,
  seed: int = 0,
) -> Estimate:
  """mean(treated) − mean(others), resampling whole clusters: own edits against nulls.

  Args:
    values: [N] without NaN.
    treated: [N]; both kinds must occur.
    clusters: [N], cluster of each value.
    level, num_samples, seed: as in `crossed_mean`.
  Raises:
    ValueError: only one kind.
  """
  treated = np.asarray(treated, bool)
  if treated.all() or not treated.any():
    raise ValueError("a difference of means needs values of both kinds")
  names, member = np.unique(np.asarray(clusters), return_inverse=True)
  size, values = len(names), np.asarray(values, np.float64)
  sums = [np.bincount(member[k], values[k], size) for k in (treated, ~treated)]
  counts = [np.bincount(member[k], minlength=size) for k in (treated, ~treated)]
  draws = np.random.default_rng(seed).integers(0, size, (num_samples, size))
  drawn = [count[draws].sum(1) for count in counts]
  both = (drawn[0] > 0) & (drawn[1] > 0)
  mean = [s[draws].sum(1)[both] / n[both] for s, n in zip(sums, drawn, strict=True)]
  low, high = np.quantile(mean[0] - mean[1], [(1 - level) / 2, (1 + level) / 2])
  exact = values[treated].mean() - values[~treated].mean()
  return Estimate(float(exact), float(low), float(high), len(values), size)


def table(recipes: Mapping[str, Sequence[Run]]) -> str:
  """Plain text: arms and gains over no bank of each recipe; then it against the first."""
  first, *others = recipes
  lines = []
  for label, runs in recipes.items():
    arms = list(by_arm(runs[0]))
    lines.append(f"{label} ({len(runs)} seed{'s' * (len(runs) > 1)})")
    for arm in arms:
      alone = [f"{success([run], arm).mean:.1%}" for run in runs]
      lines.append(f"  {arm:<28}{success(runs, arm)}   each {', '.join(alone)}")
    lines += [
      f"  {f'{arm} - no_bank':<28}{gain(runs, arm, 'no_bank')}"
      for arm in arms
      if arm != "no_bank" and "no_bank" in arms
    ]
  for label in others:
    runs, base = recipes[label], recipes[first]
    shared = [arm for arm in by_arm(runs[0]) if arm in by_arm(base[0])]
    if len(runs) == len(base) and shared:
      lines.append(f"{label} - {first}")
      lines += [f"  {arm:<28}{contrast(runs, base, arm)}" for arm in shared]
  return "\n".join(lines)


def _of_arm(run: Run, arm: str) -> Values:
  cluster = cluster_of(run)
  rows = by_arm(run).get(arm, [])
  if not rows:
    raise ValueError(f"arm {arm!r} was not played; there are {sorted(by_arm(run))}")
  return {(r.pass_index, r.task): (float(r.success), cluster(r)) for r in rows}


def _minus(left: Values, right: Values) -> Values:
  if left.keys() != right.keys():
    raise ValueError("the two evaluations did not play the same tasks")
  return {key: (left[key][0] - right[key][0], left[key][1]) for key in left}
