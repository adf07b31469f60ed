"""AppWorld, for those who have its data.

`engine` runs the packaged benchmark in a process with an interpreter of its own, of which
`child` is the other end; `env` and `source` are the two protocols.
"""

from skilljax.envs.appworld.env import AppworldEnv
from skilljax.envs.appworld.source import (
  AppworldSettings,
  AppworldSource,
  AppworldTeacher,
)

__all__ = ["AppworldEnv", "AppworldSettings", "AppworldSource", "AppworldTeacher"]
