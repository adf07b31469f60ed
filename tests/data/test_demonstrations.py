import collections
import subprocess
import sys

import numpy as np
import pytest

from skilljax.data.demonstrations import (
  Example,
  balance_reviews,
  build,
  example_of,
  load,
)
from skilljax.types import Edit, Role
from tests.rollout.trajectories import make_task, make_trajectory

KINDS = ("propose", "propose", "propose", "update", "keep", "keep", "")


def episodes():
  return [
    make_trajectory(
      f"d{i}",
      task=make_task(f"t{i}", family="cool"),
      roles=(Role.ACT,) * (1 + i % 3) + (Role.EDIT,),
      first_token=100 * i,
      skill_block="<skills>\n[s1] größe: 5 °C.\n</skills>" if i % 2 else "",
      success=bool(i % 2),
      edit=Edit(kind) if kind else None,
    )
    for i, kind in enumerate(KINDS)
  ]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  path = tmp_path_factory.mktemp("data")
  info = build(path, episodes())
  assert info.splits["train"].num_examples == len(KINDS)
  return path


def by_first_token(rows):
  return sorted(rows, key=lambda row: int(row.tokens[0]))


def test_a_dataset_gives_back_what_went_in(folder):
  examples = by_first_token(load(folder))
  assert len(examples) == len(KINDS)
  for example, trajectory in zip(examples, episodes(), strict=True):
    for name in ("tokens", "loss_mask", "role", "turn_index"):
      stored, original = vars(example)[name], vars(trajectory)[name]
      assert stored.dtype == original.dtype, name
      np.testing.assert_array_equal(stored, original)
    assert not example.behavior_logprobs.any()
    assert example.behavior_logprobs.shape == example.tokens.shape
  assert tuple(example.edit_kind for example in examples) == KINDS


def test_an_example_says_how_it_was_made():
  trajectory = episodes()[1]
  example = example_of(trajectory)
  assert example["task"] == "fake/train/t1#0" and example["family"] == "cool"
  assert example["skill_block"] == trajectory.skill_block
  assert (example["edit_kind"], example["success"]) == ("propose", True)
  np.testing.assert_array_equal(example["turn_index"], trajectory.turn_index)


def test_text_survives_storage(folder):
  # Read without `load`, as somebody with TFDS alone would.
  code = (
    "import sys, tensorflow_datasets as tfds\n"
    "source = tfds.builder_from_directory(sys.argv[1]).as_data_source(split='train')\n"
    "print(sorted(row['skill_block'].decode() for row in source)[-1])\n"
  )
  path = folder / "demonstrations" / "1.0.0"
  done = subprocess.run(
    [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True
  )
  assert done.stdout == "<skills>\n[s1] größe: 5 °C.\n</skills>\n"


def test_neither_tensorflow_nor_torch_is_imported(tmp_path, repo_root):
  code = (
    "import sys\n"
    "from skilljax.data import demonstrations\n"
    "from tests.rollout.trajectories import make_trajectory\n"
    "demonstrations.build(sys.argv[1], [make_trajectory()])\n"
    "assert len(demonstrations.load(sys.argv[1])) == 1\n"
    "print(sorted({'tensorflow', 'torch'} & set(sys.modules)))\n"
  )
  done = subprocess.run(
    [sys.executable, "-c", code, str(tmp_path)],
    capture_output=True,
    text=True,
    cwd=repo_root,
    check=True,
  )
  assert done.stdout.splitlines()[-1] == "[]"


def test_a_dataset_is_not_written_twice(folder):
  build(folder, episodes()[:2])
  assert len(load(folder)) == len(KINDS)


def test_bad_episodes_are_refused(tmp_path):
  with pytest.raises(ValueError, match="at least one episode"):
    build(tmp_path, [])
  with pytest.raises(ValueError, match=r"\['e7'\] ended in an environment fault"):
    build(tmp_path, [make_trajectory(), make_trajectory("e7", fault="gone")])
  assert list(tmp_path.iterdir()) == []


def test_a_missing_dataset_names_folder_and_command(tmp_path):
  with pytest.raises(FileNotFoundError, match=r"demonstrations.*experiments/sft\.py"):
    load(tmp_path)


def examples():
  return [
    Example(
      tokens=t.tokens,
      loss_mask=t.loss_mask,
      role=t.role,
      turn_index=t.turn_index,
      behavior_logprobs=t.behavior_logprobs,
      edit_kind=t.edit.kind if t.edit else "",
    )
    for t in episodes()
  ]


def test_an_opening_ends_with_the_first_response():
  for example in examples():
    opening = example.opening()
    # 2 tokens of context, 3 sampled ones; see `make_trajectory`.
    assert opening.loss_mask.tolist() == [False, False, True, True, True]
    assert opening.role.tolist() == [0, 0, 1, 1, 1] and opening.edit_kind == ""
    assert opening.turn_index.tolist() == [-1, -1, 0, 0, 0]
    np.testing.assert_array_equal(opening.tokens, example.tokens[:5])
    assert len(opening.behavior_logprobs) == 5


def trained(rows):
  """edit kind -> episodes whose review is trained."""
  return collections.Counter(
    row.edit_kind for row in rows if (row.loss_mask & (row.role == Role.EDIT)).any()
  )


def test_reviews_are_balanced_and_task_turns_stay():
  balanced = balance_reviews(examples(), seed=0)
  assert trained(examples()) == {"propose": 3, "update": 1, "keep": 2, "": 1}
  # One update, so one of each; what was rejected is not imitated at all.
  assert trained(balanced) == {"propose": 1, "update": 1, "keep": 1}
  for before, after in zip(examples(), balanced, strict=True):
    act = before.role == Role.ACT
    np.testing.assert_array_equal(after.loss_mask[act], before.loss_mask[act])
    assert after.loss_mask[act].all()
    np.testing.assert_array_equal(after.tokens, before.tokens)


def test_a_review_is_kept_or_dropped_as_a_whole():
  for row in balance_reviews(examples(), seed=0):
    review = row.role == Role.EDIT
    assert row.loss_mask[review].all() or not row.loss_mask[review].any()


def test_the_seed_decides_which_stay():
  kept = {
    tuple(bool(row.loss_mask[-1]) for row in balance_reviews(examples(), seed))
    for seed in range(20)
  }
  # 3 proposals and 2 keeps to choose from.
  assert len(kept) == 6
  left, right = (balance_reviews(examples(), 3) for _ in range(2))
  assert [r.loss_mask.tolist() for r in left] == [r.loss_mask.tolist() for r in right]


def test_without_reviews_nothing_changes():
  rows = [example for example in examples() if not example.edit_kind]
  assert [len(balance_reviews(rows[:0], 0)), len(balance_reviews(rows, 0))] == [0, 1]
