"""Advantages: how much better a unit did than its group.

A unit is whatever earns one reward: a (trajectory, role) pair, or a turn. Arrays over
units are flat, [U], in any order; a unit without a reward holds NaN and gets advantage
0. So does a unit that is alone in its group: there is nothing to compare it with.
A role, group or anchor id outside its table gives NaN, so that a wrong id is loud even
under jit.

Purpose: rewards [U] -> advantages [U].
Must not know about: tokens, text, where a reward comes from.
"""

import functools
import types
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp

from skilljax.rl import grouping
from skilljax.types import Role

# Weight of a role's advantages. Edit 0.2 is λ of SkillMaster's run scripts.
ROLE_WEIGHTS: Mapping[int, float] = types.MappingProxyType(
  {Role.ACT: 1.0, Role.EDIT: 0.2, Role.SELECT: 1.0}
)


def group_relative(
  rewards: jax.Array,
  role: jax.Array,
  group_id: jax.Array,
  *,
  num_groups: int,
  use_std: bool = True,
  unbiased: bool = True,
  eps: float = 1e-6,
) -> jax.Array:
  """Compares each unit with its group, all roles together.

  A_i = (r_i − mean_g) / (std_g + ε); without the division if not `use_std`.

  Sources: GRPO (arXiv:2402.03300); without std: Dr. GRPO (arXiv:2503.20783). A group
  of one gets 0, where verl keeps the raw reward.

  Args:
    rewards: [U] float32; NaN where a unit has no reward.
    role: [U] int, not used: every estimator has the same signature.
    group_id: [U] int32 in [0, num_groups).
    num_groups: static.
    use_std: divide by the group's standard deviation.
    unbiased: divide the sum of squares by n − 1, not n.
    eps: added to the standard deviation, in units of reward.
  Returns:
    [U] float32.
  """
  grouping.check_units(rewards, role, group_id)
  return grouping.normalise(
    rewards,
    group_id,
    num_segments=num_groups,
    use_std=use_std,
    unbiased=unbiased,
    eps=eps,
  )


def leave_one_out(
  rewards: jax.Array, role: jax.Array, group_id: jax.Array, *, num_groups: int
) -> jax.Array:
  """Compares each unit with the mean of the others in its group.

  A_i = r_i − Σ_{j≠i} r_j / (n − 1) = n / (n − 1) · (r_i − mean_g)

  Source: RLOO (arXiv:2402.14740).

  Args:
    rewards: [U] float32; NaN where a unit has no reward.
    role: [U] int, not used.
    group_id: [U] int32 in [0, num_groups).
    num_groups: static.
  Returns:
    [U] float32.
  """
  grouping.check_units(rewards, role, group_id)
  centred, count, _ = grouping.centre(rewards, group_id, num_groups)
  scaled = centred * count / jnp.maximum(count - 1.0, 1.0)
  return jnp.where((count < 2) & ~jnp.isnan(centred), 0.0, scaled)


def _role_table(role_weights: Mapping[int, float]) -> jax.Array:
  """[R] weights by role; NaN for a role without one."""
  for role, weight in role_weights.items():
    if weight < 0:
      raise ValueError(
        f"role_weights[{int(role)}] is {weight}, must be >= 0 (config key rl.edit_weight)"
      )
  num_roles = max(int(role) for role in role_weights) + 1
  weights = {int(role): weight for role, weight in role_weights.items()}
  return jnp.array([weights.get(r, jnp.nan) for r in range(num_roles)], jnp.float32)


def _weigh(
  advantages: jax.Array,
  rewards: jax.Array,
  role: jax.Array,
  table: jax.Array,
) -> jax.Array:
  weight = jnp.where(role < 0, jnp.nan, table.at[role].get(mode="fill"))
  return jnp.where(jnp.isnan(rewards), 0.0, advantages * weight)


def dual(
  rewards: jax.Array,
  role: jax.Array,
  group_id: jax.Array,
  *,
  num_groups: int,
  role_weights: Mapping[int, float] = ROLE_WEIGHTS,
  use_std: bool = True,
  unbiased: bool = True,
  eps: float = 1e-6,
) -> jax.Array:
  """DualAdv: compares each unit with the units of its own role in its group.

  A_i = λ_role · (r_i − mean_{g,role}) / (std_{g,role} + ε)

  The scale of one role's rewards cannot change another role's advantages.
  Source: SkillMaster (arXiv:2605.08693), DualAdv-GRPO. Its code takes turns as units
  (long episodes weigh more in the baseline); skilljax takes (trajectory, role).

  Args:
    rewards: [U] float32; NaN where a unit has no reward.
    role: [U] int, keys of `role_weights`; anything where the reward is NaN.
    group_id: [U] int32 in [0, num_groups).
    num_groups: static.
    role_weights: role -> λ_role >= 0.
    use_std, unbiased, eps: as in `group_relative`.
  Returns:
    [U] float32.
  Raises:
    ValueError: a negative weight.
  """
  grouping.check_units(rewards, role, group_id)
  table = _role_table(role_weights)
  num_roles = table.shape[0]
  role = role.astype(jnp.int32)
  inside = (role >= 0) & (role < num_roles) & (group_id >= 0) & (group_id < num_groups)
  advantages = grouping.normalise(
    rewards,
    jnp.where(inside, group_id * num_roles + role, -1),
    num_segments=num_groups * num_roles,
    use_std=use_std,
    unbiased=unbiased,
    eps=eps,
  )
  return _weigh(advantages, rewards, role, table)


def joint(
  rewards: jax.Array,
  role: jax.Array,
  group_id: jax.Array,
  *,
  num_groups: int,
  role_weights: Mapping[int, float] = ROLE_WEIGHTS,
  use_std: bool = True,
  unbiased: bool = True,
  eps: float = 1e-6,
) -> jax.Array:
  """The ablation of `dual`: one mean and std over all roles of a group.

  A_i = λ_role · (r_i − mean_g) / (std_g + ε)

  Source: the non-decoupled baseline of SkillMaster (arXiv:2605.08693).
  Arguments, returns and errors as in `dual`.
  """
  grouping.check_units(rewards, role, group_id)
  table = _role_table(role_weights)
  advantages = group_relative(
    rewards,
    role,
    group_id,
    num_groups=num_groups,
    use_std=use_std,
    unbiased=unbiased,
    eps=eps,
  )
  return _weigh(advantages, rewards, role.astype(jnp.int32), table)


def dual_advantages(
  act_rewards: jax.Array,
  edit_rewards: jax.Array,
  group_id: jax.Array,
  *,
  edit_weight: float = 0.2,
  eps: float = 1e-6,
) -> tuple[jax.Array, jax.Array]:
  """Normalises task and skill rewards separately inside each group.

  A_act = (r − mean_g) / (std_g + ε);  A_edit = edit_weight · (same, over edit rewards)

  `dual` for the case of one act and one edit reward per trajectory.
  Source: SkillMaster (arXiv:2605.08693). Deviations: docs/paper_map.md.

  Args:
    act_rewards: [B] float32, episode return. NaN where there is no act turn.
    edit_rewards: [B] float32, utility plus shaping. NaN where there is no edit turn.
    group_id: [B] int32, any values; rows with equal ids form a group.
    edit_weight: relative weight of edit tokens, >= 0.
    eps: added to the standard deviation.
  Returns:
    (act_adv, edit_adv): [B] float32 each; 0 where the input is NaN or the group has
    one member.
  Raises:
    ValueError: edit_weight < 0.
  """
  if edit_weight < 0:
    raise ValueError(
      f"edit_weight is {edit_weight}, must be >= 0 (config key rl.edit_weight)"
    )
  grouping.check_units(act_rewards, group_id)
  grouping.check_units(edit_rewards, group_id)
  num_rows = group_id.shape[0]
  dense = jnp.unique(group_id, return_inverse=True, size=num_rows)[1]
  normalise = functools.partial(
    grouping.normalise,
    segment=dense.astype(jnp.int32),
    num_segments=num_rows,
    use_std=True,
    unbiased=True,
    eps=eps,
  )
  return normalise(act_rewards), edit_weight * normalise(edit_rewards)


# Same signature: (rewards, role, group_id, *, num_groups) -> [U].
ESTIMATORS: Mapping[str, Callable[..., jax.Array]] = types.MappingProxyType(
  {
    "grpo": group_relative,
    "dr_grpo": functools.partial(group_relative, use_std=False),
    "rloo": leave_one_out,
    "dual": dual,
    "joint": joint,
  }
)
