"""HouseholdSource: lists, streams, probes, settings."""

import dataclasses

import pytest

from skilljax.envs import table
from skilljax.envs.household import rules, source, tasks

SOURCE = source.HouseholdSource()


def test_base_builds_it_by_name():
  settings = table.make_settings("household", {"slack": 3})
  assert table.make_source("household", settings).settings.slack == 3


def test_tasks_are_finite_unique_and_of_their_split():
  settings = source.HouseholdSettings(train_estates=30, dev_estates=7, listed_tasks=12)
  scopes = {}
  for split, count in (("train", 30), ("dev", 7), ("test", 50)):
    listed = source.HouseholdSource(settings).tasks(split)
    assert len(listed) == len({task.key for task in listed}) == count * 12
    assert {task.split for task in listed} == {split}
    scopes[split] = {task.scope for task in listed}
    for task in listed:
      index, position = tasks.parse_name(task)
      assert rules.split_of(index) == split
      assert task.scope == f"estate-{index}"
      assert task.family == tasks.family_at(index, position)
    assert listed == source.HouseholdSource(settings).tasks(split)
  assert not scopes["train"] & (scopes["dev"] | scopes["test"])
  assert not scopes["dev"] & scopes["test"]


def test_stream_is_one_estate_in_order():
  stream = SOURCE.stream("estate-19", "test")
  assert stream == SOURCE.stream(19, "test")
  assert [task.name for task in stream] == [f"estate-19/{n}" for n in range(60)]
  with pytest.raises(ValueError, match="'test', not 'train'"):
    SOURCE.stream(19, "train")


def test_probes_are_same_family_train_tasks_without_the_source():
  for index in SOURCE.estates("train")[:20]:
    for position in range(0, 60, 7):
      task = SOURCE.task(index, position, seed=3)
      probes = SOURCE.probes(task, 8, 11)
      assert len(set(probes)) == 8
      assert task not in probes
      assert {(p.family, p.scope, p.split, p.seed) for p in probes} == {
        (task.family, task.scope, "train", 3)
      }
      assert probes == SOURCE.probes(task, 8, 11)
  task = SOURCE.task(0, 0)
  assert len({SOURCE.probes(task, 4, seed) for seed in range(6)}) > 1
  assert task not in SOURCE.probes(task, 9, 0)


def test_probes_outside_of_train_raise_unless_allowed():
  task = SOURCE.task(19, 0)
  with pytest.raises(ValueError, match="allow_eval"):
    SOURCE.probes(task, 2, 0)
  lying = dataclasses.replace(task, split="train")
  allowed = source.HouseholdSource(source.HouseholdSettings(allow_eval=True))
  for some_source in (SOURCE, allowed):
    with pytest.raises(ValueError, match="belongs to split 'test'"):
      some_source.probes(lying, 2, 0)
  probes = allowed.probes(task, 9, 0)
  assert {probe.split for probe in probes} == {"test"}


def test_probes_of_every_family_stay_in_the_estate():
  task = SOURCE.task(0, 0)
  mixed = SOURCE.probes(task, 40, 0, every_family=True)
  assert task not in mixed and len(set(mixed)) == 40
  assert {probe.family for probe in mixed} == set(SOURCE.families)
  assert {probe.scope for probe in mixed} == {task.scope}
  with pytest.raises(ValueError, match=r"num=60 .*\[0, 59\], the other tasks"):
    SOURCE.probes(task, 60, 0, every_family=True)


def test_too_many_probes_raise():
  with pytest.raises(ValueError, match=r"num=10 .*\[0, 9\]"):
    SOURCE.probes(SOURCE.task(0, 0), 10, 0)


@pytest.mark.parametrize(
  "values",
  [
    {"slack": -1},
    {"tasks_per_estate": 20},
    {"listed_tasks": 61},
    {"dev_estates": 0},
    {"test_estates": 10**8},
  ],
)
def test_settings_out_of_range_name_the_key(values):
  (key,) = values
  with pytest.raises(ValueError, match=rf"{key}=.*env\.{key}"):
    source.HouseholdSettings(**values)
