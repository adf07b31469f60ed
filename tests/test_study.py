"""Studies: ordinary commands, in order, each once, budgets matched."""

import json
import pathlib

import pytest

from skilljax import config
from skilljax.runs import study
from skilljax.settings import read_settings
from tests.evaluation.test_seeds import ONE
from tests.test_comparison import evaluation

FOLDER = pathlib.Path(__file__).parents[1] / "configs" / "studies"


CONFIG = "configs/household.py"


@pytest.fixture(autouse=True)
def at_the_root(repo_root, monkeypatch):
  """Where commands are typed: paths of configs are relative to it."""
  monkeypatch.chdir(repo_root)


def make(**changes):
  values = {
    "config": CONFIG,
    "recipes": {"grpo": f"{CONFIG}:grpo", "skillmaster": CONFIG},
    "seeds": (0, 7),
    "splits": ("test",),
    "passes": 2,
    "matched_to": "skillmaster",
    "banks": True,
  }
  return study.Study(**{**values, **changes})


class Fake:
  """Stands in for the processes: leaves the files that the commands would leave."""

  def __init__(self):
    self.commands = []

  def __call__(self, step):
    self.commands.append(str(step))
    folder = step.result.parent
    if step.command[0].endswith("evaluate"):
      evaluation(folder, ONE)
    else:
      folder.mkdir(parents=True)
    if step.command[0].endswith("train"):
      row = {"step": 30, "rollout/interactions": 320.0}
      (folder.parent / "metrics.jsonl").write_text(json.dumps(row) + "\n")
      if "grpo" not in str(step):
        (folder.parent / "banks").mkdir()
        (folder.parent / "banks" / "one.json").touch()
    step.result.touch()


def test_a_study_is_a_list_of_commands(tmp_path):
  fake = Fake()
  text = study.run(make(), tmp_path, call=fake)
  home = tmp_path / "seed0"
  assert fake.commands[:6] == [
    f"python -m experiments.sft --config={CONFIG}:seed=0 --workdir={home}/cold",
    f"python -m experiments.evaluate --config={CONFIG}:seed=0 --config.eval.split=test "
    f"--config.eval.passes=2 --policy={home}/cold/policy "
    f"--workdir={home}/cold/eval_test",
    f"python -m experiments.train --config={CONFIG}:seed=0 --policy={home}/cold/policy "
    f"--workdir={home}/skillmaster",
    f"python -m experiments.evaluate --config={CONFIG}:seed=0 --config.eval.split=test "
    f"--config.eval.passes=2 --policy={home}/skillmaster/policy "
    f"--workdir={home}/skillmaster/eval_test --banks={home}/skillmaster/banks",
    # 320 interactions of the matched recipe are 5 updates of 64 episodes.
    f"python -m experiments.train --config={CONFIG}:grpo,seed=0,updates=5 "
    f"--policy={home}/cold/policy --workdir={home}/grpo",
    f"python -m experiments.evaluate --config={CONFIG}:grpo,seed=0,updates=5 "
    f"--config.eval.split=test --config.eval.passes=2 --policy={home}/grpo/policy "
    f"--workdir={home}/grpo/eval_test",
  ]
  assert len(fake.commands) == 12 and "seed=7" in fake.commands[6]
  assert "== test" in text and "skillmaster (2 seeds)" in text
  assert (tmp_path / "tables.txt").read_text() == text


@pytest.mark.parametrize(
  ("name", "values"),
  [("seeds", (0, 0)), ("splits", ("test", "test")), ("players", ("random", "random"))],
)
def test_nothing_is_named_twice(name, values):
  with pytest.raises(config.ConfigError, match=rf"{name}=.* once \(config key {name}\)"):
    make(**{name: values})


def test_a_study_has_one_environment():
  recipes = {"grpo": f"{CONFIG}:grpo", "skillmaster": "configs/alfworld_scratch.py"}
  with pytest.raises(config.ConfigError, match=r"recipes.skillmaster.*'alfworld', the c"):
    study.check(make(recipes=recipes))


def test_what_is_done_is_not_done_again(tmp_path):
  first, second = Fake(), Fake()

  def stop_at_the_third(step):
    if len(first.commands) == 2:
      raise KeyboardInterrupt
    first(step)

  with pytest.raises(KeyboardInterrupt):
    study.run(make(), tmp_path, call=stop_at_the_third)
  assert "experiments.train" in str(study.next_step(make(), tmp_path))
  study.run(make(), tmp_path, call=second)
  assert len(first.commands) + len(second.commands) == 12
  assert not set(first.commands) & set(second.commands)
  assert study.next_step(make(), tmp_path) is None


def test_reference_players_stand_beside_the_recipes(tmp_path):
  fake = Fake()
  plan = make(players=("random", "expert"), seeds=(0,))
  text = study.run(plan, tmp_path, call=fake)
  assert fake.commands[:2] == [
    f"python -m experiments.evaluate --config={CONFIG} --config.eval.split=test "
    f"--config.eval.passes=2 --player={player} "
    f"--workdir={tmp_path}/players/{player}/eval_test"
    for player in ("random", "expert")
  ]
  assert len(fake.commands) == 2 + 6
  players, recipes = text.split("\n\n")[:2]
  assert players.startswith("== test\narm ") and "cold (1 seed)" in recipes


def test_unmatched_recipes_keep_their_own_updates(tmp_path):
  fake = Fake()
  study.run(make(matched_to="", seeds=(0,)), tmp_path, call=fake)
  assert not [c for c in fake.commands if "updates" in c]


@pytest.mark.parametrize(
  ("changes", "said"),
  [
    ({"recipes": {}}, "recipes must not be empty"),
    ({"recipes": {"cold": CONFIG}, "matched_to": ""}, "'cold' is the name"),
    ({"matched_to": "sage"}, "matched_to='sage' must be one of"),
    ({"passes": 0}, "passes=0 must be >= 1"),
    ({"players": ("best",)}, r"players=\['best'\] must be some of random, "),
  ],
)
def test_a_bad_study_is_refused(changes, said):
  with pytest.raises(config.ConfigError, match=said):
    make(**changes)


@pytest.mark.parametrize(
  ("changes", "said"),
  [
    ({"config": "configs/nope.py"}, "'configs/nope.py' does not exist"),
    ({"splits": ("tset",)}, "tset"),
    ({"recipes": {"grpo": f"{CONFIG}:gprp", "skillmaster": CONFIG}}, "'gprp'"),
    ({"matched_to": "grpo"}, "recipes.skillmaster=.* plays probes"),
  ],
)
def test_everything_is_checked_before_the_first_step(tmp_path, changes, said):
  fake = Fake()
  with pytest.raises(config.ConfigError, match=said):
    study.run(make(**changes), tmp_path, call=fake)
  assert not fake.commands


def test_a_result_of_another_command_is_not_taken(tmp_path):
  study.run(make(seeds=(0,)), tmp_path, call=Fake())
  with pytest.raises(config.ConfigError, match=r"by .*passes=2.*, not by .*passes=3"):
    study.run(make(seeds=(0,), passes=3), tmp_path, call=Fake())
  (tmp_path / "commands.json").unlink()
  with pytest.raises(config.ConfigError, match="nobody knows what"):
    study.next_step(make(seeds=(0,)), tmp_path)


def test_budgets_follow_the_size_of_an_update(tmp_path):
  fake, tiny = Fake(), f"{CONFIG}:debug"
  recipes = {"grpo": f"{CONFIG}:debug,grpo", "skillmaster": tiny}
  study.run(make(config=tiny, recipes=recipes, seeds=(0,)), tmp_path, call=fake)
  # 320 interactions are 80 updates of 2 tasks × 2 episodes.
  assert any("grpo,seed=0,updates=80 " in command for command in fake.commands)


def test_a_recipe_without_metrics_cannot_be_matched(tmp_path):
  with pytest.raises(ValueError, match="train the matched recipe first"):
    study.interactions(tmp_path)


@pytest.mark.parametrize("arg", ["", ":debug"])
@pytest.mark.parametrize("path", sorted(FOLDER.glob("[a-z]*.py")), ids=lambda p: p.stem)
def test_every_study_names_configs_that_load(path, arg):
  plan = config.build(study.Study, config.load(f"{path}{arg}"), prefix="study")
  for name in (plan.config, *plan.recipes.values()):
    overrides = {"eval.split": plan.splits[0], "eval.passes": plan.passes}
    settings = read_settings(
      config.load(study.with_variant(name, seed=3, updates=2), overrides)
    )
    assert settings.seed == 3
    assert arg or settings.train.num_updates == 2
