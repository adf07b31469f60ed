"""Environments side by side: inline, or one worker process each.

`pool` is the seam; `inline` and `workers` are its two backends; `process` speaks with one
child, `guard` ends children whose parent was killed, `records` and `episode` are what
they pass around.
"""

from skilljax.envs.pool.pool import EnvPool, check_arguments

__all__ = ["EnvPool", "check_arguments"]
