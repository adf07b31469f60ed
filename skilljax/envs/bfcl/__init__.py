"""BFCL v4 multi-turn: conversations with a user, tools and a state.

`data` reads the package's files, `tools` parses and executes calls, `judge` is the
package's own verdict; `env` and `source` are the two protocols.
"""

from skilljax.envs.bfcl.env import BfclEnv, why_unavailable
from skilljax.envs.bfcl.source import (
  DONE,
  BfclSettings,
  BfclSource,
  make_bfcl_teacher,
)

__all__ = [
  "DONE",
  "BfclEnv",
  "BfclSettings",
  "BfclSource",
  "make_bfcl_teacher",
  "why_unavailable",
]
