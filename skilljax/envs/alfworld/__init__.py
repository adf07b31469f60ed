"""The real ALFWorld text games, at speed.

`games` reads the benchmark's files, `goals` their sentences; `engine` wraps the packaged
engine where it repeats pure functions; `env` and `source` are the two protocols. `agent`
plays, `review` edits skills, `drills` makes exercises, and `teacher` draws from all three
for the cold start.
"""

from skilljax.envs.alfworld.env import AlfworldEnv, why_unavailable
from skilljax.envs.alfworld.settings import AlfworldSettings
from skilljax.envs.alfworld.source import AlfworldSource

__all__ = ["AlfworldEnv", "AlfworldSettings", "AlfworldSource", "why_unavailable"]
