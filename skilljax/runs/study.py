"""A study: recipes × seeds from shared cold starts, as a list of ordinary commands.

Every table of experiments/LEADERBOARD.md is one study. A step is a command that a user
could type; it is skipped where the same command has left its result, so a study that was
interrupted goes on where it stopped. Baselines get as many interactions as the recipe
they are matched to.

  <folder>/players/<player>/eval_<split>/  reference players, who need no policy
  <folder>/seed<S>/cold/                  cold start, shared by the recipes
  <folder>/seed<S>/<recipe>/              training run
  <folder>/seed<S>/<recipe>/eval_<split>/ evaluation; 'cold' has its own
  <folder>/commands.json                  result -> the command that makes it
  <folder>/tables.txt                     recipes compared over seeds

Must not know about: what a command does.
"""

import dataclasses
import json
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from skilljax import assembly
from skilljax import config as config_lib
from skilljax import settings as settings_lib
from skilljax.config import ConfigError
from skilljax.evaluation import paired
from skilljax.runs import comparison
from skilljax.runs.claim import claims_folder
from skilljax.runs.players import PLAYERS

COLD = "cold"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Study:
  """What is trained and evaluated.

  Attributes:
    config: config file of the cold start; its variants must know `seed`.
    recipes: label -> config file with variant; variants must know `seed` and `updates`.
    seeds: of the cold start and of all recipes.
    splits: of the evaluation.
    passes: times that every task is played per arm.
    matched_to: the recipe whose interactions all others get; '' = each its own updates.
      The others must play no probes, whose number is not known before.
    banks: whether evaluations start from the banks that training left.
    players: reference players beside them, some of `players.PLAYERS`.
  """

  config: str
  recipes: Mapping[str, str]
  seeds: tuple[int, ...]
  splits: tuple[str, ...]
  passes: int = 3
  matched_to: str = ""
  banks: bool = False
  players: tuple[str, ...] = ()

  def __post_init__(self):
    for name in ("recipes", "seeds", "splits"):
      if not self.__dict__[name]:
        raise ConfigError(f"{name} must not be empty (config key {name})")
    for name in ("seeds", "splits", "players"):
      values = self.__dict__[name]
      if len(set(values)) < len(values):
        raise ConfigError(f"{name}={values} must each be named once (config key {name})")
    if COLD in self.recipes:
      raise ConfigError(f"recipes: {COLD!r} is the name of the cold start")
    if self.matched_to and self.matched_to not in self.recipes:
      raise ConfigError(
        f"matched_to={self.matched_to!r} must be one of {sorted(self.recipes)} or '' "
        "(config key matched_to)"
      )
    if unknown := sorted(set(self.players) - set(PLAYERS)):
      raise ConfigError(
        f"players={unknown} must be some of {', '.join(PLAYERS)} (config key players)"
      )
    if self.passes < 1:
      raise ConfigError(f"passes={self.passes} must be >= 1 (config key passes)")


@dataclasses.dataclass(frozen=True)
class Step:
  """One command and the file that it leaves behind when it has succeeded."""

  command: tuple[str, ...]  # module and flags, after `python -m`
  result: Path

  def __str__(self):
    return shlex.join(("python", "-m", *self.command))


def steps(study: Study, folder: Path) -> Iterator[Step]:
  """All steps in order. Lazy: budgets of later steps are read from results of earlier."""
  for player in study.players:
    yield from _evaluations(study, study.config, folder / "players" / player, by=player)
  for seed in study.seeds:
    home = folder / f"seed{seed}"
    cold = home / COLD / "policy"
    config = with_variant(study.config, seed=seed)
    yield Step(
      ("experiments.sft", f"--config={config}", f"--workdir={home / COLD}"),
      cold / "config.json",
    )
    yield from _evaluations(study, config, home / COLD)
    order = sorted(study.recipes, key=lambda label: label != study.matched_to)
    for label in order:
      config = with_variant(study.recipes[label], seed=seed)
      if study.matched_to and label != study.matched_to:
        played = interactions(home / study.matched_to)
        updates = max(1, round(played / episodes_per_update(config)))
        config = with_variant(config, updates=updates)
      run = home / label
      yield Step(
        (
          "experiments.train",
          f"--config={config}",
          f"--policy={cold}",
          f"--workdir={run}",
        ),
        run / "policy" / "config.json",
      )
      yield from _evaluations(study, config, run, banks=study.banks)


def _evaluations(
  study: Study, config: str, run: Path, *, banks: bool = False, by: str = ""
) -> Iterator[Step]:
  """Evaluations of the policy of a run, or by a player, on every split."""
  for split in study.splits:
    flags = [
      f"--config={config}",
      f"--config.eval.split={split}",
      f"--config.eval.passes={study.passes}",
      f"--player={by}" if by else f"--policy={run / 'policy'}",
      f"--workdir={run / f'eval_{split}'}",
    ]
    if banks and any((run / "banks").glob("*.json")):
      flags.append(f"--banks={run / 'banks'}")
    yield Step(("experiments.evaluate", *flags), run / f"eval_{split}" / "summary.json")


def with_variant(config: str, **values: int) -> str:
  """Adds variants to a config path: 'x.py:debug' and seed=1 give 'x.py:debug,seed=1'."""
  path, _, arg = config.partition(":")
  variants = [arg, *(f"{name}={value}" for name, value in values.items())]
  return f"{path}:{','.join(filter(None, variants))}"


def read_settings(config: str) -> settings_lib.Settings:
  """The settings of a config path with its variants. Errors as the commands'."""
  return settings_lib.read_settings(config_lib.load(config))


def episodes_per_update(config: str) -> int:
  """N·G, the interactions of an update without probes."""
  settings = read_settings(config)
  return settings.feed.tasks_per_update * settings.train.group_size


def check(study: Study) -> None:
  """Reads every config and the data of every split, before anything expensive.

  Raises:
    ConfigError: a config is bad, a split unknown, its data absent or damaged, or a
      matched recipe plays probes.
  """
  seed = study.seeds[0]
  settings = read_settings(with_variant(study.config, seed=seed))
  for split in study.splits:
    assembly.open_source(settings, split, key="splits")
  for label, config in study.recipes.items():
    recipe = read_settings(with_variant(config, seed=seed, updates=1))
    if recipe.env_name != settings.env_name:
      raise ConfigError(
        f"recipes.{label}={config!r} plays {recipe.env_name!r}, the cold start of "
        f"{study.config!r} {settings.env_name!r}; one study has one environment"
      )
    if study.matched_to not in ("", label) and recipe.probes is not None:
      raise ConfigError(
        f"recipes.{label}={config!r} plays probes, so its interactions cannot be set to "
        f"those of {study.matched_to!r}; match the others to it, or set matched_to=''"
      )


def interactions(run: Path) -> int:
  """Episodes that a training run played, probes included.

  Raises:
    ValueError: the run has no metrics.
  """
  path = run / "metrics.jsonl"
  rows = path.read_text().splitlines() if path.exists() else []
  if not rows:
    raise ValueError(f"{path} has no rows: train the matched recipe first")
  return int(json.loads(rows[-1])["rollout/interactions"])


@dataclasses.dataclass(frozen=True)
class Ledger:
  """Which command made which result of a study."""

  folder: Path

  def has(self, step: Step) -> bool:
    """Whether a step's result is there.

    Raises:
      ConfigError: it is there, and another command made it.
    """
    if not step.result.exists():
      return False
    made_by = self._read().get(self._short(step.result))
    if made_by != self._short(step):
      raise ConfigError(
        f"{step.result} was made by {made_by or 'nobody knows what'}, not by "
        f"{self._short(step)}; take another --workdir, or remove {step.result.parent}"
      )
    return True

  def note(self, step: Step) -> None:
    """Called before a step begins: a killed one goes on with the same command only."""
    commands = {**self._read(), self._short(step.result): self._short(step)}
    path = self.folder / "commands.json"
    path.with_suffix(".tmp").write_text(json.dumps(commands, indent=2))
    path.with_suffix(".tmp").replace(path)

  def _read(self) -> dict[str, str]:
    path = self.folder / "commands.json"
    return json.loads(path.read_text()) if path.exists() else {}

  def _short(self, text: object) -> str:
    """Without the folder's own place, so that a study can be moved."""
    return str(text).replace(f"{self.folder}/", "")


def next_step(study: Study, folder: str | Path) -> Step | None:
  """The first step that is not done; None if all are. Errors as `run`."""
  check(study)
  ledger = Ledger(Path(folder))
  return next((s for s in steps(study, Path(folder)) if not ledger.has(s)), None)


@claims_folder
def run(
  study: Study,
  folder: str | Path,
  *,
  call: Callable[[Step], None] | None = None,
) -> str:
  """Does what is not done yet; returns the tables, which it also writes.

  Args:
    study: what to do.
    folder: of the study.
    call: runs one step; None starts a process that prints to this terminal.
  Raises:
    ConfigError: see `check`; or a result is there that another command made.
    subprocess.CalledProcessError: a command failed; what was finished stays.
  """
  folder = Path(folder)
  check(study)
  folder.mkdir(parents=True, exist_ok=True)
  ledger = Ledger(folder)
  for step in steps(study, folder):
    if not ledger.has(step):
      print(step, flush=True)
      ledger.note(step)
      (call or _call)(step)
  text = tables(study, folder)
  (folder / "tables.txt").write_text(text)
  return text


def _call(step: Step) -> None:
  subprocess.run([sys.executable, "-m", *step.command], check=True)


def tables(study: Study, folder: Path) -> str:
  """For each split: the players, then the cold start and every recipe, over all seeds."""
  parts = []
  for split in study.splits:
    evaluations = {
      label: [folder / f"seed{seed}" / label / f"eval_{split}" for seed in study.seeds]
      for label in (COLD, *study.recipes)
    }
    parts.append(f"== {split}\n")
    if study.players:
      places = [folder / "players" / name / f"eval_{split}" for name in study.players]
      records = comparison.read_together(places)
      parts[-1] += f"{paired.table(records)}\n\n"
    parts[-1] += f"{comparison.compare(evaluations)}\n"
  return "\n".join(parts)
