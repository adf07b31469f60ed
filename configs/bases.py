"""What a recipe starts from: the config of a benchmark, by name. No config by itself.

  --config=configs/recipes/rloo.py                              # household
  --config=configs/recipes/rloo.py:base=alfworld_scratch,seed=1

All that stands beside `base=` are variants of that config.
"""

import types
from collections.abc import Callable, Mapping

import ml_collections

from configs import alfworld_scratch, household, webshop_scratch
from skilljax.config import ConfigError, nearest

BASES: Mapping[str, Callable[[str], ml_collections.ConfigDict]] = types.MappingProxyType(
  {
    "household": household.get_config,
    "alfworld_scratch": alfworld_scratch.get_config,
    "webshop_scratch": webshop_scratch.get_config,
  }
)
_KEY = "base="


def with_skills(arg: str) -> ml_collections.ConfigDict:
  """The locked config of SkillMaster on a base.

  Args:
    arg: comma-separated variants of the base, and `base=NAME`; household without one.
  Raises:
    ConfigError: no such base or variant, or a variant without skills.
  """
  c = _load(arg)
  if not c.train.review:
    raise ConfigError(
      f"config variant {arg!r} has no skills, and this recipe changes what becomes of "
      "them: leave grpo and gigpo out"
    )
  return c


def without_skills(arg: str) -> ml_collections.ConfigDict:
  """The locked config of plain GRPO on a base. Arguments and errors as `with_skills`."""
  return _load(f"{arg},grpo")


def estates(c: ml_collections.ConfigDict) -> bool:
  """Whether a base has many scopes with a bank each, and not one for all tasks."""
  return c.env.name == "household"


def _load(arg: str) -> ml_collections.ConfigDict:
  items = [item.strip() for item in arg.split(",")]
  name = "household"
  for item in items:
    if item.startswith(_KEY):
      name = item.removeprefix(_KEY)
  if name not in BASES:
    raise ConfigError(f"config variant base={name!r} is unknown{nearest(name, BASES)}")
  return BASES[name](",".join(item for item in items if not item.startswith(_KEY)))
