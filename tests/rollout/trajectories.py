"""Trajectories made by hand: a few tokens a turn, everything else as asked for."""

import numpy as np

from skilljax.types import Role, Task, Trajectory, Turn


def make_task(name="t0", *, scope="house", family="heat"):
  return Task(env="fake", split="train", scope=scope, family=family, name=name)


def make_trajectory(
  name="e0",
  *,
  task=None,
  group_id=0,
  roles=(Role.ACT, Role.ACT, Role.EDIT),
  rejections=(),
  edit_finish="stop",
  success=False,
  max_turns=4,
  first_token=10,
  context=2,
  response=3,
  **fields,
):
  """Each turn is `context` tokens of context, then `response` sampled ones.

  `rejections` are those of the first turns; the rest have none.
  """
  turns, masks, token_roles, indices = [], [], [], []
  for number, role in enumerate(roles):
    start = number * (context + response) + context
    masks += [False] * context + [True] * response
    token_roles += [Role.NONE] * context + [role] * response
    indices += [-1] * context + [number] * response
    turns.append(
      Turn(
        role=role,
        start=start,
        stop=start + response,
        text="",
        action="",
        rejection=rejections[number] if number < len(rejections) else "",
        observation="",
        reward=0.0,
        finish=edit_finish if role == Role.EDIT else "stop",
        policy_version=0,
        bank_version="",
      )
    )
  size = len(masks)
  tokens = np.arange(first_token, first_token + size, dtype=np.int32)
  mask = np.array(masks, bool)
  values = {
    "goal": "",
    "shown_skills": (),
    "skill_block": "",
    "bank_version": "",
    "policy_version": 0,
    "terminated": True,
    "truncated": False,
    "episode_return": float(success),
    **fields,
  }
  return Trajectory(
    episode_id=name,
    task=task or make_task(),
    group_id=group_id,
    tokens=tokens,
    loss_mask=mask,
    role=np.array(token_roles, np.int8),
    turn_index=np.array(indices, np.int16),
    behavior_logprobs=np.where(mask, -tokens / 100, 0).astype(np.float32),
    sampled_logprobs=np.where(mask, -tokens / 200, 0).astype(np.float32),
    turns=tuple(turns),
    success=success,
    max_turns=max_turns,
    **values,
  )
