"""Several seeds of a recipe: means and differences with intervals over seeds and scopes.

Every seed of a recipe is evaluated on the same tasks, so seeds and clusters are crossed:
the bootstrap draws seeds and clusters independently, each with replacement. With few
seeds such intervals are rough, and with one they say nothing of training.

Must not know about: files, how the records were made.
"""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from skilljax.evaluation.exact import EpisodeRecord
from skilljax.evaluation.paired import (
  Estimate,
  Measure,
  by_arm,
  cluster_of,
  interval,
  is_graded,
  returned,
  succeeded,
)

Run = Sequence[EpisodeRecord]  # one evaluation: the records of one seed
# One seed's values by (pass, task), with the cluster of each.
Values = Mapping[tuple[int, str], tuple[float, str]]


def mean(runs: Sequence[Run], arm: str, measure: Measure = succeeded) -> Estimate:
  """A measure of one arm, pooled over seeds."""
  return crossed_mean([_of_arm(run, arm, measure) for run in runs])


def gain(
  runs: Sequence[Run], arm: str, baseline: str, measure: Measure = succeeded
) -> Estimate:
  """Difference between two arms of the same policies, paired by (seed, pass, task)."""
  pairs = [(_of_arm(run, arm, measure), _of_arm(run, baseline, measure)) for run in runs]
  return crossed_mean([_minus(left, right) for left, right in pairs])


def contrast(
  runs: Sequence[Run],
  others: Sequence[Run],
  arm: str,
  *,
  other_arm: str = "",
  measure: Measure = succeeded,
) -> Estimate:
  """Difference between two recipes: seed n of one against seed n of the other.

  Args:
    runs, others: of the two recipes.
    arm: of `runs`.
    other_arm: of `others`; '' takes the same.
    measure: of an episode.
  Raises:
    ValueError: another number of seeds, or other tasks.
  """
  if len(runs) != len(others):
    raise ValueError(f"cannot pair {len(runs)} seeds with {len(others)}")
  pairs = [
    (_of_arm(run, arm, measure), _of_arm(other, other_arm or arm, measure))
    for run, other in zip(runs, others, strict=True)
  ]
  return crossed_mean([_minus(left, right) for left, right in pairs])


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
  low, high = interval(means, level)
  mean = float(sums.sum() / counts.sum())
  return Estimate(mean, low, high, int(counts.sum()), len(names))


@dataclasses.dataclass(frozen=True)
class Groups:
  """Values of one run in two groups, such as utilities of own edits and of null edits.

  Attributes:
    values: [N] without NaN.
    treated: [N] bool; both kinds must occur.
    clusters: [N], cluster of each value.
  """

  values: Sequence[float]
  treated: Sequence[bool]
  clusters: Sequence[str]


def difference_of_means(
  runs: Sequence[Groups],
  *,
  level: float = 0.95,
  num_samples: int = 2000,
  seed: int = 0,
) -> Estimate:
  """mean(treated) − mean(others) inside each run, averaged over runs.

  The bootstrap draws runs, and inside each drawn run its clusters.

  Args:
    runs: one a seed.
    level, num_samples, seed: as in `crossed_mean`.
  Raises:
    ValueError: no runs, or values of one kind only.
  """
  if not runs:
    raise ValueError("no runs to compare")
  rng = np.random.default_rng(seed)
  drawn = np.stack([_resampled_difference(run, num_samples, rng) for run in runs])
  picks = rng.integers(0, len(runs), (len(runs), num_samples))
  means = drawn[picks, np.arange(num_samples)[None]].mean(0)
  low, high = interval(means, level)
  mean = float(np.mean([_difference(run) for run in runs]))
  count = sum(len(run.values) for run in runs)
  return Estimate(mean, low, high, count, sum(len(set(run.clusters)) for run in runs))


def _difference(run: Groups) -> float:
  values, treated = np.asarray(run.values, np.float64), np.asarray(run.treated, bool)
  return values[treated].mean() - values[~treated].mean()


def _resampled_difference(run: Groups, num: int, rng: np.random.Generator) -> np.ndarray:
  """[num] float64; NaN where a draw of clusters lacks one of the kinds."""
  values, treated = np.asarray(run.values, np.float64), np.asarray(run.treated, bool)
  if treated.all() or not treated.any():
    raise ValueError("a difference of means needs values of both kinds")
  names, member = np.unique(list(run.clusters), return_inverse=True)
  draws = rng.integers(0, len(names), (num, len(names)))
  means = []
  for kind in (treated, ~treated):
    sums = np.bincount(member[kind], values[kind], len(names))[draws].sum(1)
    counts = np.bincount(member[kind], minlength=len(names))[draws].sum(1)
    means.append(np.where(counts > 0, sums / np.maximum(counts, 1), np.nan))
  return means[0] - means[1]


def table(recipes: Mapping[str, Sequence[Run]]) -> str:
  """Plain text: arms and gains over no bank of each recipe; then it against the first.

  A benchmark with a graded score gets a second part, about that.
  """
  lines = _lines(recipes, succeeded)
  if any(is_graded(run) for runs in recipes.values() for run in runs):
    lines += ["", "graded score", *_lines(recipes, returned)]
  return "\n".join(lines)


def _lines(recipes: Mapping[str, Sequence[Run]], measure: Measure) -> list[str]:
  first, *others = recipes
  lines = []
  for label, runs in recipes.items():
    arms = list(by_arm(runs[0]))
    lines.append(f"{label} ({len(runs)} seed{'s' * (len(runs) > 1)})")
    for arm in arms:
      alone = [f"{mean([run], arm, measure).mean:.1%}" for run in runs]
      lines.append(f"  {arm:<28}{mean(runs, arm, measure)}   each {', '.join(alone)}")
    lines += [
      f"  {f'{arm} - no_bank':<28}{gain(runs, arm, 'no_bank', measure)}"
      for arm in arms
      if arm != "no_bank" and "no_bank" in arms
    ]
  for label in others:
    lines.append(f"{label} - {first}")
    lines += _contrasts(recipes[label], recipes[first], first, measure)
  return lines


def _contrasts(
  runs: Sequence[Run], base: Sequence[Run], name: str, measure: Measure
) -> list[str]:
  """Each arm against the same of the baseline recipe, then against its no bank."""
  if len(runs) != len(base):
    return [f"  not compared: {len(runs)} seeds cannot be paired with {len(base)}"]
  arms, others = by_arm(runs[0]), by_arm(base[0])
  pairs = [(arm, arm, arm) for arm in arms if arm in others]
  if "no_bank" in others:
    pairs += [(f"{a} - no_bank of {name}", a, "no_bank") for a in arms if a != "no_bank"]
  if not pairs:
    return [f"  not compared: it has {', '.join(arms)}, {name} {', '.join(others)}"]
  return [
    f"  {title:<28}{contrast(runs, base, arm, other_arm=other, measure=measure)}"
    for title, arm, other in pairs
  ]


def _of_arm(run: Run, arm: str, measure: Measure) -> Values:
  cluster = cluster_of(run)
  rows = by_arm(run).get(arm, [])
  if not rows:
    raise ValueError(f"arm {arm!r} was not played; there are {sorted(by_arm(run))}")
  return {(r.pass_index, r.task): (measure(r), cluster(r)) for r in rows}


def _minus(left: Values, right: Values) -> Values:
  if left.keys() != right.keys():
    raise ValueError("the two evaluations did not play the same tasks")
  return {key: (left[key][0] - right[key][0], left[key][1]) for key in left}
