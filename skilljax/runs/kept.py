"""What a killed cold start leaves behind, and whether a later one may go on from it.

A dataset is kept where `dataset.json` vouches for it; fine-tuning goes on from its last
checkpoint. Both say which config they were made with, and nothing is continued with
another.

Must not know about: how either is made.
"""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from skilljax import assembly, checkpoint, fine_tuning, hosts
from skilljax.config import ConfigError, Section, flatten, plain
from skilljax.data.tokenizer import Tokenizer
from skilljax.learner import Learner, TrainState
from skilljax.settings import Settings

DATASET = "dataset.json"
# Config keys and sections that decide what is demonstrated, and what is learned from it.
DATA_KEYS = (
  *("env", "agent", "skills", "train.split", "engine.max_len", "cold_start.episodes"),
  *("cold_start.tokenizer_episodes", "cold_start.vocab_size", "cold_start.drills"),
  "cold_start.seed",
)
_KEYS = (*DATA_KEYS, "seed", "model", "cold_start", "sft", "numerics", "lora")
# Where files lie and how often some are written changes no result.
_FREE_KEYS = (
  *("env.data_dir", "env.cache_dir", "cold_start.checkpoint_every", "numerics.remat"),
)


def write(folder: Path, made_with: Mapping[str, Any]) -> None:
  """Vouches for the dataset of a folder."""
  text = json.dumps({"made_with": dict(made_with)}, indent=2, sort_keys=True) + "\n"
  checkpoint.write_atomically(str(folder / DATASET), text.encode())


def is_there(folder: Path, made_with: Mapping[str, Any]) -> bool:
  """Whether a dataset is there; a ConfigError if it was made with something else."""

  def differing() -> list[str] | None:
    if not (folder / DATASET).exists():
      return None
    record = json.loads((folder / DATASET).read_text())
    return differences(record.get("made_with", {}), made_with)

  changed = hosts.from_first(differing)
  if changed:
    raise ConfigError(
      f"the demonstrations in {folder} were made with other values of "
      f"{', '.join(changed)}; restore them, or start in an empty --workdir"
    )
  return changed is not None


def decisive(config: Section, names: Sequence[str]) -> dict[str, Any]:
  """The keys of a config that are, or are below, one of `names`; plain data."""
  return {
    key: value
    for key, value in flatten(plain(config)).items()
    if key not in _FREE_KEYS and any(f"{key}.".startswith(f"{n}.") for n in names)
  }


def differences(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> list[str]:
  """The keys, sorted, that two records do not have in common with equal values."""
  return sorted(k for k in ours.keys() | theirs.keys() if ours.get(k) != theirs.get(k))


def host_state(
  settings: Settings, tokenizer: Tokenizer, at: fine_tuning.Position
) -> dict[str, Any]:
  """The host half of a checkpoint; `restore` reads it back exactly."""
  return {
    "position": {**dataclasses.asdict(at), "losses": list(at.losses)},
    "tokenizer": tokenizer.fingerprint,
    "config": plain(settings.resolved),
    "stamp": checkpoint.run_stamp(),
  }


def restore(
  checkpointer: checkpoint.Checkpointer,
  settings: Settings,
  begin: assembly.Policy,
  learner: Learner,
) -> tuple[TrainState, fine_tuning.Position] | None:
  """Where the last checkpoint stood; None if there is none.

  Raises:
    ConfigError: it was made with another config or another tokenizer.
  """
  step = checkpointer.latest_step()
  if step is None:
    return None
  state, host = checkpointer.restore(learner.init(begin.params), step)
  ours, theirs = settings.resolved, host["config"]
  changed = differences(decisive(ours, _KEYS), decisive(theirs, _KEYS))
  if host["tokenizer"] != begin.tokenizer.fingerprint:
    changed.append("tokenizer")
  if changed:
    raise ConfigError(
      f"the checkpoint {checkpointer.folder}/{step} was made with other values of "
      f"{', '.join(changed)}; restore them, or start in an empty --workdir"
    )
  losses = tuple(host["position"]["losses"])
  return state, fine_tuning.Position(**{**host["position"], "losses": losses})
