"""Counterfactual utility of a bank edit, and the test it must pass to be committed.

Purpose: paired probe scores under two banks -> one number; that number against the
numbers of content-free edits.
Must not know about: skills, text, how probes are run.
"""

import math

import chex
import jax
import jax.numpy as jnp


def probe_score(success: jax.Array, length: jax.Array, cap: jax.Array) -> jax.Array:
  """Scores probe episodes by success plus step efficiency: s + s · (H − L) / H.

  Source: SkillMaster (arXiv:2605.08693). Range {0} ∪ [1, 2).

  Args:
    success: [J] bool or 0/1.
    length: [J] int, L >= 1 task turns.
    cap: [J] int, step cap H >= L.
  Returns:
    [J] float32.
  """
  chex.assert_equal_shape([success, length, cap])
  success, length, cap = (jnp.asarray(x, jnp.float32) for x in (success, length, cap))
  return success * (1.0 + (cap - length) / cap)


def utility(before: jax.Array, after: jax.Array, *, alpha: float = 0.3) -> jax.Array:
  """Measures what an edit changed on paired probes.

  δ_j = after_j − before_j;  U = mean_j δ_j + α · (#{δ_j > 0} − #{δ_j < 0}) / K

  Source: SkillMaster (arXiv:2605.08693), Eq. 3: unclipped, so that an edit without any
  effect has expectation 0. A pair in which either run failed (NaN) is left out of K.

  Args:
    before: [..., J] float32, probe scores under the bank B; NaN = no result.
    after: [..., J] float32, scores of the same probes under B′.
    alpha: weight of wins against losses, >= 0.
  Returns:
    [...] float32; NaN where no pair is left.
  Raises:
    ValueError: alpha < 0.
  """
  if alpha < 0:
    raise ValueError(f"alpha is {alpha}, must be >= 0 (config key probes.alpha)")
  chex.assert_equal_shape([before, after])
  chex.assert_type([before, after], float)
  delta = jnp.asarray(after) - jnp.asarray(before)
  contribution = delta + alpha * jnp.sign(delta)
  return jnp.nanmean(contribution, axis=-1)


def clipped_utility(
  before: jax.Array,
  after: jax.Array,
  *,
  alpha: float = 0.2,
  size_growth: float = 0.0,
  size_penalty: float = 0.0,
) -> jax.Array:
  """The released variant: max(0, U) − c · max(0, growth).

  Source: the authors' code of SkillMaster. The clip rewards editing as such: an edit
  without effect earns 0.07–0.22 on average. Kept as a named variant.

  Args:
    before, after: as in `utility`.
    alpha: weight of wins against losses, >= 0.
    size_growth: skills that the edit adds.
    size_penalty: c >= 0, per added skill.
  Returns:
    [...] float32; NaN where no pair is left.
  Raises:
    ValueError: alpha or size_penalty < 0.
  """
  if size_penalty < 0:
    raise ValueError(
      f"size_penalty is {size_penalty}, must be >= 0 (config key probes.size_penalty)"
    )
  clipped = jnp.maximum(utility(before, after, alpha=alpha), 0.0)
  return clipped - size_penalty * max(0.0, size_growth)


def null_quantile(null_utilities: jax.Array, *, level: float = 0.1) -> jax.Array:
  """The utility that a content-free edit exceeds with probability at most `level`.

  The k-th smallest of M null utilities, k = ⌈(1 − level)(M + 1)⌉. If the candidate
  were one more null edit, all M + 1 ranks would be equally likely, so it would exceed
  this value with probability at most level, for any distribution. Equivalent to the
  p-value (1 + #{null >= U}) / (M + 1) <= level.

  Source: split conformal prediction (Vovk et al.), the permutation test's p-value.

  Args:
    null_utilities: [M] float32, without NaN.
    level: allowed rate of false commits, in (0, 1).
  Returns:
    [] float32.
  Raises:
    ValueError: level outside (0, 1), or M < 1/level − 1: then no edit can ever pass.
  """
  if not 0.0 < level < 1.0:
    raise ValueError(f"level is {level}, must be in (0, 1) (config key gate.level)")
  chex.assert_rank(null_utilities, 1)
  chex.assert_type(null_utilities, float)
  num_null = null_utilities.shape[0]
  # 1e-9 because for example 0.29 · 100 is 28.999… in binary.
  allowed = math.floor(level * (num_null + 1) + 1e-9)
  if allowed < 1:
    raise ValueError(
      f"{num_null} null utilities cannot support level={level}: need at least "
      f"{math.ceil(1.0 / level - 1e-9) - 1}; raise gate.level or the number of "
      "null edits (config keys)"
    )
  return jnp.sort(null_utilities)[num_null - allowed]


def beats_null(
  candidate: jax.Array,
  null_utilities: jax.Array,
  *,
  level: float = 0.1,
  margin: float = 0.0,
) -> jax.Array:
  """The commit gate: is a candidate's utility more than noise, and positive?

  Holds for each candidate on its own; testing n candidates at `level` lets n · level
  null edits through on average.

  Args:
    candidate: [...] float32 utilities; NaN never passes.
    null_utilities: [M] float32, from the same probes protocol.
    level: as in `null_quantile`.
    margin: the utility must exceed this too; 0 keeps an edit out that is merely less
      harmful than the null edits.
  Returns:
    [...] bool.
  Raises:
    ValueError: as in `null_quantile`.
  """
  threshold = jnp.maximum(null_quantile(null_utilities, level=level), margin)
  return jnp.asarray(candidate) > threshold
