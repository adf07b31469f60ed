"""Expert episodes for the cold start, stored as a TFDS dataset.

An example is one trajectory: token ids, what is trained, whose turn it was, and how it
was made (which skills the prompt held, what the review decided). Files are array_record,
so neither building nor reading needs TensorFlow.

Must not know about: which expert played, learners.
"""

import collections
import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds

from skilljax.types import Role, Trajectory


class Demonstrations(tfds.core.GeneratorBasedBuilder):
  """TFDS builder over trajectories in memory; see `build` and `load`."""

  VERSION = tfds.core.Version("1.0.0")
  RELEASE_NOTES: ClassVar = {
    "1.0.0": "Tokens, masks, roles and how each episode was made."
  }

  def __init__(self, *, trajectories: Sequence[Trajectory] = (), **kwargs: Any):
    self._trajectories = trajectories
    super().__init__(**kwargs)

  def _info(self) -> tfds.core.DatasetInfo:
    per_token = {
      "tokens": np.int32,
      "loss_mask": np.bool_,
      "role": np.int8,
      "turn_index": np.int16,
    }
    text = tfds.features.Text()
    return self.dataset_info_from_configs(
      description="Scripted episodes with correct, missing and misleading skills.",
      features=tfds.features.FeaturesDict(
        {
          **{
            name: tfds.features.Tensor(shape=(None,), dtype=dtype)
            for name, dtype in per_token.items()
          },
          "task": text,
          "family": text,
          "skill_block": text,
          "edit_kind": text,
          "success": np.bool_,
        }
      ),
    )

  def _split_generators(self, dl_manager: Any) -> dict[str, Iterator]:
    return {"train": self._generate_examples()}

  def _generate_examples(self) -> Iterator[tuple[int, dict[str, Any]]]:
    for index, trajectory in enumerate(self._trajectories):
      yield index, example_of(trajectory)


def example_of(trajectory: Trajectory) -> dict[str, Any]:
  """The stored form of one trajectory."""
  return {
    "tokens": trajectory.tokens,
    "loss_mask": trajectory.loss_mask,
    "role": trajectory.role,
    "turn_index": trajectory.turn_index,
    "task": trajectory.task.key,
    "family": trajectory.task.family,
    "skill_block": trajectory.skill_block,
    "edit_kind": "" if trajectory.edit is None else trajectory.edit.kind,
    "success": trajectory.success,
  }


def build(
  folder: str | Path, trajectories: Sequence[Trajectory]
) -> tfds.core.DatasetInfo:
  """Writes a dataset; an existing one of the same version is left as it is.

  Raises:
    ValueError: no trajectories, or one whose environment failed.
  """
  if not trajectories:
    raise ValueError("trajectories: a dataset needs at least one episode")
  faulty = [t.episode_id for t in trajectories if t.fault]
  if faulty:
    raise ValueError(f"trajectories: {faulty[:3]} ended in an environment fault")
  builder = Demonstrations(
    trajectories=trajectories, data_dir=str(folder), file_format="array_record"
  )
  tfds.disable_progress_bar()  # its bars fill a log file with control characters
  builder.download_and_prepare()
  return builder.info


@dataclasses.dataclass(frozen=True, eq=False)
class Example:
  """One stored episode, as the supervised learner sees it.

  Attributes:
    tokens: [T] int32.
    loss_mask: [T] bool.
    role: [T] int8.
    turn_index: [T] int16, -1 for context.
    behavior_logprobs: [T] float32, zeros: demonstrations have no sampler.
    edit_kind: 'propose', 'update', 'keep' or ''.
  """

  tokens: np.ndarray
  loss_mask: np.ndarray
  role: np.ndarray
  turn_index: np.ndarray
  behavior_logprobs: np.ndarray
  edit_kind: str

  def opening(self) -> "Example":
    """The example up to the end of its first response."""
    stop = int(np.flatnonzero(self.turn_index == 0)[-1]) + 1
    return Example(
      tokens=self.tokens[:stop],
      loss_mask=self.loss_mask[:stop],
      role=self.role[:stop],
      turn_index=self.turn_index[:stop],
      behavior_logprobs=self.behavior_logprobs[:stop],
      edit_kind="",
    )


def load(folder: str | Path) -> list[Example]:
  """Reads every example of a dataset that `build` wrote.

  Raises:
    FileNotFoundError: no dataset there; names the folder and the command.
  """
  version = Path(folder) / "demonstrations" / str(Demonstrations.VERSION)
  if not version.is_dir():
    raise FileNotFoundError(
      f"no demonstrations at {version}; build them with experiments/sft.py"
    )
  source = tfds.builder_from_directory(str(version)).as_data_source(split="train")
  return [
    Example(
      tokens=row["tokens"],
      loss_mask=row["loss_mask"],
      role=row["role"],
      turn_index=row["turn_index"],
      behavior_logprobs=np.zeros(len(row["tokens"]), np.float32),
      edit_kind=row["edit_kind"].decode(),
    )
    for row in source
  ]


def balance_reviews(examples: Iterable[Example], seed: int) -> list[Example]:
  """Trains equally many reviews of each kind; all episodes keep their task turns.

  Reviews of over-represented kinds lose their loss mask, chosen by `seed`. So do all
  reviews without a kind: they were rejected, or cut off, and are nothing to imitate.
  """
  rows = list(examples)
  kinds = collections.defaultdict(list)
  for index, row in enumerate(rows):
    kinds[row.edit_kind].append(index)
  dropped = kinds.pop("", [])
  quota = min((len(members) for members in kinds.values()), default=0)
  rng = np.random.default_rng(seed)
  for members in kinds.values():
    dropped.extend(rng.permutation(members)[quota:])
  for index in dropped:
    row = rows[index]
    mask = row.loss_mask & (row.role != Role.EDIT)
    rows[index] = dataclasses.replace(row, loss_mask=mask)
  return rows
