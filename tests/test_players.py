"""Reference players: every task once a pass, the files of an evaluation, refusals."""

import collections
import functools
import json
import pathlib
import subprocess
import sys

import pytest

from skilljax import config
from skilljax.envs import base as envs
from skilljax.envs.household import HouseholdEnv, HouseholdTeacher
from skilljax.envs.pool import EnvPool
from skilljax.evaluation.exact import EpisodeRecord
from skilljax.runs import players, readers
from skilljax.types import Observation
from tests.envs import fake_envs
from tests.test_runs import HOUSEHOLD, settings_of

OVERRIDES = {"eval.num_scopes": 2, "eval.tasks_per_scope": 8, "eval.passes": 2}


def play(repo_root, folder, player, **overrides):
  settings = settings_of(HOUSEHOLD, repo_root, {**OVERRIDES, **overrides})
  return players.run(settings, player, folder)


def records(folder: pathlib.Path) -> list[EpisodeRecord]:
  return [
    EpisodeRecord(**row) for row in json.loads((folder / "records.json").read_text())
  ]


def test_whoever_knows_the_rules_wins_and_whoever_does_not_loses(repo_root, tmp_path):
  rates = {
    player: play(repo_root, tmp_path / player, player)["arms"][player]["success"]["mean"]
    for player in players.PLAYERS
  }
  assert rates["expert"] == 1.0
  assert rates["random"] < 0.2 < rates["demonstrator"] < 0.9


def test_every_task_is_played_once_a_pass_and_written_as_an_evaluation(
  repo_root, tmp_path
):
  summary = play(repo_root, tmp_path, "demonstrator")
  rows = records(tmp_path)
  assert len({(row.pass_index, row.task) for row in rows}) == len(rows) == 32
  assert summary["interactions"] == 32 and summary["num_tasks"] == 16
  assert json.loads((tmp_path / "summary.json").read_text())["table"] == summary["table"]
  assert "eval/household_test/demonstrator/success_16of16" in summary["metrics"]
  assert all(1.0 <= r.score < 2.0 if r.success else r.score == 0.0 for r in rows)
  again = play(repo_root, tmp_path / "again", "demonstrator")
  assert again["metrics"] == summary["metrics"]  # a function of the config alone


def test_passes_draw_anew(repo_root, tmp_path):
  play(repo_root, tmp_path, "demonstrator")
  turns = {
    number: [row.num_turns for row in records(tmp_path) if row.pass_index == number]
    for number in (0, 1)
  }
  assert turns[0] != turns[1]


def test_a_random_player_fills_blanks_with_the_goal():
  player = players.RandomPlayer(0)
  seen = Observation("", admissible=("search[<your query>]",), goal="find me tea")
  assert player.command(seen) == "search[find me tea]"
  later = Observation("", admissible=("click[a]", "click[b]"))
  assert {player.command(later) for _ in range(50)} == {"click[a]", "click[b]"}
  with pytest.raises(ValueError, match="offers no command to choose from"):
    player.command(Observation("nothing here"))


def test_chance_needs_an_environment_that_offers_commands(repo_root, tmp_path):
  settings = settings_of("configs/bfcl.py:debug", repo_root)
  with pytest.raises(config.ConfigError, match=r"'random' .* 'bfcl' takes program text"):
    players.run(settings, "random", tmp_path)


def test_unknown_players_and_absent_ones_are_refused(repo_root, tmp_path, monkeypatch):
  with pytest.raises(config.ConfigError, match=r"player='best' must be one of random, "):
    play(repo_root, tmp_path, "best")

  def absent(self, task):
    raise ValueError("environment 'household' has no expert")

  monkeypatch.setattr(HouseholdTeacher, "expert", absent)
  with pytest.raises(config.ConfigError, match=r"player='expert': .* has no expert"):
    play(repo_root, tmp_path, "expert")


def test_a_task_that_cannot_be_played_is_a_record(repo_root, tmp_path, monkeypatch):
  def broken(self, task):
    raise envs.UnplayableTask("game.tw is damaged; copy it again")

  monkeypatch.setattr(HouseholdEnv, "reset", broken)
  summary = play(repo_root, tmp_path, "random")
  assert summary["faults"] == 32 and len(summary["not_covered"]) == 16
  assert "eval/household_test/random/success_0of16" in summary["metrics"]


def fragile_pool(settings):
  """Two processes, in which an environment may hang."""
  make = functools.partial(fake_envs.FragileHousehold, settings.env)
  return EnvPool(make, num_workers=2, envs_per_worker=1, step_timeout_s=2.0)


def test_an_episode_that_breaks_is_a_record_and_the_others_go_on(
  repo_root, tmp_path, monkeypatch
):
  monkeypatch.setattr(players.assembly, "make_pool", fragile_pool)
  summary = play(repo_root, tmp_path, "random", **{"eval.passes": 1})
  rows = records(tmp_path)
  assert len(rows) == 16 and summary["faults"] == 6
  reasons = collections.defaultdict(set)
  for row in rows:
    reasons[int(row.task.partition("#")[0].rpartition("/")[2])].add(row.fault)
  (gone,), (empty,), (hung,) = (reasons.pop(number) for number in (1, 2, 3))
  assert "the engine is gone" in gone and "offers no command" in empty
  assert "step took more than 2.0 s" in hung
  assert set.union(*reasons.values()) == {""}
  assert all(row.num_turns == 1 for row in rows if "gone" in row.fault)
  assert "eval/household_test/random/success_10of16" in summary["metrics"]


def test_a_player_who_is_lost_costs_its_episode(repo_root, tmp_path, monkeypatch):
  made = []

  def expert(self, task):
    made.append(task)
    if len(made) == 3:
      raise ValueError("no plan for this one")
    return HouseholdTeacher(self.settings).agent(task, 0)

  monkeypatch.setattr(HouseholdTeacher, "expert", expert)
  summary = play(repo_root, tmp_path, "expert")
  assert summary["faults"] == 1
  assert summary["not_covered"] == {made[2].key: "ValueError: no plan for this one"}


def test_a_killed_run_keeps_its_finished_passes(repo_root, tmp_path, monkeypatch):
  straight = play(repo_root, tmp_path / "straight", "demonstrator")
  folder, played = tmp_path / "killed", []
  step = HouseholdEnv.step

  def killed(self, action):
    if len(played) == 16:
      raise KeyboardInterrupt
    seen = step(self, action)
    played.extend([seen] * seen.ended)
    return seen

  with monkeypatch.context() as patch:
    patch.setattr(HouseholdEnv, "step", killed)
    with pytest.raises(KeyboardInterrupt):
      play(repo_root, folder, "demonstrator")
  assert not (folder / "summary.json").exists()
  with pytest.raises(config.ConfigError, match=r"1 finished passes .*: player differ"):
    play(repo_root, folder, "random")
  first = []
  monkeypatch.setattr(
    HouseholdEnv,
    "reset",
    lambda self, task, reset=HouseholdEnv.reset: first.append(task) or reset(self, task),
  )
  again = play(repo_root, folder, "demonstrator")
  assert len(first) == 16  # the second pass alone
  assert again["metrics"] == straight["metrics"]
  assert records(folder) == records(tmp_path / "straight")
  assert not (folder / "passes").exists()


def test_the_scripted_reader_gains_by_the_skills_it_writes(repo_root, tmp_path):
  overrides = {"eval.num_scopes": 3, "eval.tasks_per_scope": 6, "eval.warmup_tasks": 12}
  settings = settings_of(HOUSEHOLD, repo_root, overrides)
  summary = readers.run(settings, tmp_path / "reader")
  rates = {arm: row["success"]["mean"] for arm, row in summary["arms"].items()}
  assert set(rates) == {"no_bank", "frozen", "evolving"}
  assert rates["frozen"] > 0.8 and rates["frozen"] - rates["no_bank"] > 0.2
  rows = records(tmp_path / "reader")
  assert len(rows) == 3 * 18 and {row.fault for row in rows} == {""}
  assert (tmp_path / "reader" / "edits.jsonl").read_text()
  with pytest.raises(config.ConfigError, match=r"'household' only, not 'bfcl'"):
    readers.run(settings_of("configs/bfcl.py:debug", repo_root), tmp_path / "other")


@pytest.mark.parametrize("given", [(), ("--policy=p", "--player=expert")])
def test_the_command_takes_a_policy_or_a_player(repo_root, tmp_path, given):
  command = ["-m", "experiments.evaluate", f"--config={HOUSEHOLD}", *given]
  done = subprocess.run(
    [sys.executable, *command, f"--workdir={tmp_path}"],
    cwd=repo_root,
    capture_output=True,
    text=True,
    check=False,
  )
  assert done.returncode and "Exactly one of (policy, player)" in done.stderr
