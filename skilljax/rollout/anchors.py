"""GiGPO in the loop: one more advantage for each task turn.

A turn's anchor is what the environment last said before it, as raw text. Turns of a task
group with equal anchors are compared by the discounted reward that followed them. The
result is added to the episode's advantage, whichever estimator made that one.

Must not know about: prompts, tokens, how the episode's advantage was made.

Source: GiGPO (arXiv:2505.10978) and its reference code. Deviations: docs/paper_map.md.
"""

import dataclasses
import functools
from collections.abc import Sequence

import jax
import numpy as np

from skilljax.rl import gigpo
from skilljax.rl.rewards import ActShaping
from skilljax.types import Role, Trajectory


@dataclasses.dataclass(frozen=True, kw_only=True)
class GigpoSettings:
  """Config section `rl.gigpo`.

  Attributes:
    omega: ω, weight of the turn's advantage beside the episode's, >= 0.
    gamma: γ, discount of a turn, in [0, 1].
    use_std: divide by the anchor's standard deviation: mode mean_std_norm (ALFWorld
      script); False is mean_norm (WebShop script).
  """

  omega: float = 1.0
  gamma: float = 0.95
  use_std: bool = True

  def __post_init__(self):
    if not self.omega >= 0.0:
      raise ValueError(f"omega={self.omega} must be >= 0 (config key rl.gigpo.omega)")
    if not 0.0 <= self.gamma <= 1.0:
      raise ValueError(
        f"gamma={self.gamma} must be in [0, 1] (config key rl.gigpo.gamma)"
      )


def turn_advantages(
  trajectories: Sequence[Trajectory], *, shaping: ActShaping, settings: GigpoSettings
) -> list[np.ndarray]:
  """ω · A_S of each turn.

  R_t = Σ_{k≥t} γ^{k−t} r_k − c · [t was rejected];  A_S = (R_t − mean_a) / (std_a + ε)

  The outcome is paid at the last task turn, `shaping.env_return` where it was earned. A
  rejected action costs only its own turn, as in the reference code.

  Args:
    trajectories: N >= 0 of an update, any order.
    shaping: what success, environment rewards and rejected actions are worth.
    settings: ω, γ, mode.
  Returns:
    N arrays [S_n] float32, S_n turns; 0 for turns that are not task turns, for an anchor
    that occurs once, and where all returns of an anchor are equal.
  """
  results = [np.zeros(len(t.turns), np.float32) for t in trajectories]
  places, rewards, costs, anchors = [], [], [], []
  for row, trajectory in enumerate(trajectories):
    acts = [i for i, turn in enumerate(trajectory.turns) if turn.role == Role.ACT]
    for index in acts:
      turn, last = trajectory.turns[index], index == acts[-1]
      places.append((row, index, last))
      rewards.append(
        shaping.env_return * turn.reward + last * _outcome(trajectory, shaping)
      )
      costs.append(shaping.invalid_action * bool(turn.rejection))
      anchors.append((trajectory.group_id, seen_before(trajectory, index)))
  if not places:
    return results
  ids = {anchor: number for number, anchor in enumerate(dict.fromkeys(anchors))}
  groups = {
    group: number for number, group in enumerate(dict.fromkeys(g for g, _ in ids))
  }
  discounts = [0.0 if last else settings.gamma for _, _, last in places]
  size = _bucket(len(places))
  values = _anchor_values(
    _padded(rewards, size, np.float32),
    _padded(discounts, size, np.float32),
    _padded(costs, size, np.float32),
    _padded([ids[anchor] for anchor in anchors], size, np.int32),
    _padded([groups[group] for group, _ in anchors], size, np.int32),
    num_groups=_bucket(len(groups)),
    use_std=settings.use_std,
  )
  for (row, index, _), value in zip(places, np.asarray(values), strict=False):
    results[row][index] = settings.omega * value
  return results


def seen_before(trajectory: Trajectory, index: int) -> str:
  """The raw observation that turn `index` answered."""
  if index == 0:
    return trajectory.first_observation
  return trajectory.turns[index - 1].observation


def _outcome(trajectory: Trajectory, shaping: ActShaping) -> float:
  saved = (trajectory.max_turns - trajectory.num_act_turns) / trajectory.max_turns
  return float(trajectory.success) * (shaping.success + shaping.efficiency * saved)


@functools.partial(jax.jit, static_argnames=("num_groups", "use_std"))
def _anchor_values(rewards, discounts, costs, anchors, groups, *, num_groups, use_std):
  """[U] A_S; rows of padding (group −1) take no part."""
  return gigpo.anchor_relative(
    gigpo.discounted_returns(rewards, discounts) - costs,
    anchors,
    groups,
    num_groups=num_groups,
    num_anchors=rewards.shape[0],
    use_std=use_std,
  )


def _bucket(count: int) -> int:
  """The next power of two: updates differ in turns, and must not compile again."""
  return 1 << (count - 1).bit_length()


def _padded(values: Sequence[float], size: int, dtype: type) -> np.ndarray:
  fill = -1 if dtype is np.int32 else 0
  return np.array([*values, *[fill] * (size - len(values))], dtype)
