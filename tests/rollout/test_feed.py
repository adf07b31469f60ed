import collections
import dataclasses

import pytest

from skilljax.envs.household import HouseholdSettings, HouseholdSource
from skilljax.rollout.feed import FeedSettings, tasks_at
from tests.rollout.trajectories import make_task

HOUSEHOLD = HouseholdSource(HouseholdSettings(train_estates=24))


@dataclasses.dataclass(frozen=True)
class Benchmark:
  """One scope with `size` tasks."""

  size: int = 10

  def scopes(self, split):
    return ("all",)

  def stream(self, scope, split):
    return tuple(make_task(f"{split}{i}", scope=scope) for i in range(self.size))


def play(num, source=HOUSEHOLD, **settings):
  feed = FeedSettings(**settings)
  return [tasks_at(u, source=source, split="train", settings=feed) for u in range(num)]


def test_a_feed_is_a_function_of_the_update():
  settings = FeedSettings(tasks_per_update=3, seed=4)
  rows = play(9, tasks_per_update=3, seed=4)
  for update in (8, 2, 5):
    assert (
      tasks_at(update, source=HOUSEHOLD, split="train", settings=settings) == rows[update]
    )
  assert play(9, tasks_per_update=3, seed=5) != rows


def test_every_task_is_of_the_train_split():
  tasks = [task for row in play(40) for task in row]
  assert {task.split for task in tasks} == {"train"}
  assert {task.scope for task in tasks} <= set(HOUSEHOLD.scopes("train"))
  for task in tasks[::17]:
    assert task in HOUSEHOLD.stream(task.scope, "train")


def test_a_lane_plays_a_stretch_of_one_estate_in_stream_order():
  rows = play(30, tasks_per_update=4, tasks_per_scope=6)
  for lane in range(4):
    visits = []
    for task in (row[lane] for row in rows):
      if not visits or visits[-1][-1].scope != task.scope:
        visits.append([])
      visits[-1].append(task)
    for visit in visits[1:-1]:
      assert visit == list(HOUSEHOLD.stream(visit[0].scope, "train")[:6])


def test_lanes_change_estates_at_different_updates():
  rows = play(24, tasks_per_update=4, tasks_per_scope=8)
  changes = collections.defaultdict(list)
  for update in range(1, 24):
    for lane in range(4):
      if rows[update][lane].scope != rows[update - 1][lane].scope:
        changes[lane].append(update)
  # Lane l is l · 8/4 = 2l updates ahead.
  assert dict(changes) == {0: [8, 16], 1: [6, 14, 22], 2: [4, 12, 20], 3: [2, 10, 18]}


def test_an_update_never_plays_one_estate_twice():
  for row in play(60, tasks_per_update=8, tasks_per_scope=8):
    assert len({task.scope for task in row}) == 8


def test_all_estates_are_visited():
  # 24 estates, 4 lanes of 2 tasks each: 6 visits a lane, and one for the stagger.
  rows = play(14, tasks_per_update=4, tasks_per_scope=2)
  assert {task.scope for row in rows for task in row} == set(HOUSEHOLD.scopes("train"))


def test_an_epoch_of_one_scope_visits_each_task_once():
  source = Benchmark(10)
  # 4 a update do not divide 10: epochs run on across updates.
  tasks = [task for row in play(15, source, tasks_per_update=4) for task in row]
  epochs = [tasks[i : i + 10] for i in range(0, 60, 10)]
  for epoch in epochs:
    assert {task.name for task in epoch} == {f"train{i}" for i in range(10)}
  assert len({tuple(task.name for task in epoch) for epoch in epochs}) == 6
  # The start of an update does not matter, only its number.
  feed = FeedSettings(tasks_per_update=4)
  again = tasks_at(7, source=source, split="train", settings=feed)
  assert list(again) == tasks[28:32]


def test_more_tasks_than_the_scope_holds():
  (row,) = play(1, Benchmark(3), tasks_per_update=7)
  counts = collections.Counter(task.name for task in row)
  assert sorted(counts.values()) == [2, 2, 3]


@pytest.mark.parametrize("name", ["tasks_per_update", "tasks_per_scope"])
def test_settings_are_checked(name):
  with pytest.raises(
    ValueError, match=rf"{name}=0 must be >= 1 \(config key feed\.{name}"
  ):
    FeedSettings(**{name: 0})
