"""Config section `env` for ALFWorld: where the games are and what they state.

Must not know about: the engine, episodes.
"""

import dataclasses
import os
import pathlib
import random

from skilljax.envs.alfworld import games
from skilljax.types import Task

ENV_NAME = "alfworld"
DATA_VARIABLE = "SKILLJAX_DATA"


@dataclasses.dataclass(frozen=True)
class AlfworldSettings:
  """Config section `env` for ALFWorld.

  Attributes:
    data_dir: folder of the games; '' means `$SKILLJAX_DATA/alfworld`.
    cache_dir: folder for unpacked games and translations, about 0.2 GB when every game
      has been played; '' means `~/.cache/skilljax/alfworld` (or below XDG_CACHE_HOME).
    max_turns: step cap H of an episode, >= 1.
    require_complete: a split must have exactly the benchmark's number of games.
    human_goals: probability that a game states one of its crowd-written goals in place
      of the templated one, in [0, 1]; the benchmark's `goal_desc_human_anns_prob`. Which
      game states which is fixed.
  """

  data_dir: str = ""
  cache_dir: str = ""
  max_turns: int = 50
  require_complete: bool = True
  human_goals: float = 0.0

  def __post_init__(self):
    if self.max_turns < 1:
      raise ValueError(
        f"max_turns={self.max_turns} must be >= 1 (config key env.max_turns)"
      )
    if not 0.0 <= self.human_goals <= 1.0:
      raise ValueError(
        f"human_goals={self.human_goals} must be in [0, 1] (config key env.human_goals)"
      )

  def archive(self, split: str) -> games.GameArchive:
    """The games of one split. Errors as `GameArchive`, and if no folder is set."""
    return games.GameArchive(self._data_folder(), self.cache_folder(), split)

  def goal(self, task: Task, game: games.GameInfo | games.GameText) -> str:
    """The goal sentence that a game states, with the full stop that games add.

    Human ones stay as they were written, so most end in '..', as in the benchmark.
    """
    rng = random.Random(f"alfworld/goal/{task.key}")
    if not game.human_goals or rng.random() >= self.human_goals:
      return f"{game.goal}."
    return f"{rng.choice(game.human_goals)}."

  def _data_folder(self) -> pathlib.Path:
    if self.data_dir:
      return pathlib.Path(self.data_dir).expanduser()
    root = os.environ.get(DATA_VARIABLE, "")
    if not root:
      raise FileNotFoundError(
        f"no folder of ALFWorld games: set config key env.data_dir, or the variable "
        f"{DATA_VARIABLE} to the folder that contains alfworld/"
      )
    return pathlib.Path(root).expanduser() / "alfworld"

  def cache_folder(self) -> pathlib.Path:
    """Where derived files go."""
    if self.cache_dir:
      return pathlib.Path(self.cache_dir).expanduser()
    root = os.environ.get("XDG_CACHE_HOME", "") or "~/.cache"
    return pathlib.Path(root).expanduser() / "skilljax" / "alfworld"
