"""What flags may set beside what a config names. No config by itself."""

import dataclasses

import ml_collections

from skilljax.envs import table
from skilljax.evaluation.exact import EvalSettings
from skilljax.settings import PoolSettings


def fill(c: ml_collections.ConfigDict) -> ml_collections.ConfigDict:
  """Adds the keys of `env`, `pool` and `eval` that an unlocked config leaves out.

  They have their defaults. Without this a flag such as `--config.env.human_goals=1.0`
  would be refused: flags know the keys of a config, not those of its sections.
  """
  settings = {
    "env": table.settings_type(c.env.name),
    "pool": PoolSettings,
    "eval": EvalSettings,
  }
  for section, kind in settings.items():
    for field in dataclasses.fields(kind):
      if field.name not in c[section] and field.default is not dataclasses.MISSING:
        c[section][field.name] = field.default
  return c
