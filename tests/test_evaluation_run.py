"""The folder of an evaluation: what it holds, a killed one that goes on, empty arms."""

import dataclasses
import json
import pathlib

import jax
import pytest

from skilljax import assembly, config
from skilljax.envs import table
from skilljax.envs.household import HouseholdEnv
from skilljax.evaluation.exact import EvalSettings
from skilljax.models.transformer import init_params
from skilljax.runs import cold_start, evaluation
from skilljax.runs.training import write_banks
from skilljax.settings import PoolSettings
from skilljax.skills.bank import GENERAL, from_skills
from skilljax.types import Skill
from tests.rollout import worlds
from tests.test_runs import HOUSEHOLD, settings_of

CONFIGS = sorted(
  path.stem
  for path in (pathlib.Path(__file__).parents[1] / "configs").glob("*.py")
  if "def get_config(" in path.read_text()
)
BANK = from_skills([Skill("", GENERAL, "go on", "go on.", "always")])
EPISODES = 4  # of one arm: two estates, two tasks each
ESTATE = "estate-19"  # one of the two


class Engine(worlds.KeyedEngine):
  """The scripted reader in place of the decoder."""

  def __init__(self):
    super().__init__(num_slots=8, max_len=640)

  def warmup(self):
    """Nothing to compile."""


@pytest.fixture(autouse=True)
def scripted(monkeypatch):
  monkeypatch.setattr(assembly, "make_engine", lambda settings, policy: Engine())


@pytest.fixture(scope="module")
def policy(repo_root, tmp_path_factory) -> pathlib.Path:
  """A folder of the right form; the scripted reader plays."""
  return make_policy(repo_root, tmp_path_factory.mktemp("policy"), seed=0)


def make_policy(repo_root, folder: pathlib.Path, *, seed: int) -> pathlib.Path:
  model = settings_of(HOUSEHOLD, repo_root).model
  params = init_params(jax.random.key(seed), model)
  cold_start.write_policy(folder, model, params, worlds.tokenizer())
  return folder


def settings_with(repo_root, **evals):
  overrides = {f"eval.{key}": value for key, value in {"passes": 3, **evals}.items()}
  return settings_of(HOUSEHOLD, repo_root, {**overrides, "agent.budget.edit_tokens": 128})


class Deadly:
  """Counts resets, and ends the process, as it were, at one of them."""

  def __init__(self, monkeypatch, *, last: int = 0):
    self.num, self._last, self._reset = 0, last, HouseholdEnv.reset
    monkeypatch.setattr(HouseholdEnv, "reset", lambda env, task: self.reset(env, task))

  def reset(self, env, task):
    self.num += 1
    if self.num == self._last:
      raise KeyboardInterrupt
    return self._reset(env, task)


def contents(folder: pathlib.Path) -> dict[str, str]:
  """The text of every file but the summary."""
  return {
    str(path.relative_to(folder)): path.read_text()
    for path in folder.rglob("*")
    if path.is_file() and path.name != "summary.json"
  }


@pytest.fixture
def killed(repo_root, policy, tmp_path):
  """An evaluation that was killed in its second pass."""
  folder = tmp_path / "killed"
  with pytest.MonkeyPatch.context() as patch:
    Deadly(patch, last=4 + 3 * EPISODES + 2)  # after warm-up and one pass
    with pytest.raises(KeyboardInterrupt):
      evaluation.run(settings_with(repo_root), policy, folder)
  assert not (folder / "summary.json").exists()
  return folder


def test_a_killed_evaluation_goes_on_after_its_last_pass(
  repo_root, policy, tmp_path, killed, monkeypatch, capsys
):
  settings = settings_with(repo_root)
  straight = evaluation.run(settings, policy, tmp_path / "straight")
  count = Deadly(monkeypatch)
  capsys.readouterr()
  summary = evaluation.run(settings, policy, killed)
  assert count.num == 2 * 3 * EPISODES  # neither the first pass nor the warm-up
  assert "evaluation 40/40" in capsys.readouterr().out
  assert summary == straight
  assert json.loads((killed / "summary.json").read_text())["table"] == summary["table"]
  files = contents(killed)
  assert files == contents(tmp_path / "straight")
  edits = [json.loads(line) for line in files["edits.jsonl"].splitlines()]
  passes = sorted({row["pass"] for row in edits})
  assert passes == list(range(settings.eval.passes)) and len(passes) > 1
  assert "banks/frozen/estate-0.json" not in files
  assert {name.split("/")[0] for name in files} == {
    *("config.json", "records.json", "edits.jsonl", "banks")
  }
  assert files["config.json"] == config.to_json(settings.resolved)
  assert {row["bank_size"] > 0 for row in json.loads(files["records.json"])} == {
    *(True, False)
  }


@pytest.mark.parametrize(
  ("change", "said"),
  [
    ({"temperature": 0.9}, "config section eval differ"),
    ({"policy": 1}, "the policy differ"),
    ({"banks": BANK}, "--banks differ"),
  ],
)
def test_passes_of_another_evaluation_are_not_taken(
  repo_root, policy, tmp_path, killed, change, said
):
  if seed := change.pop("policy", 0):
    policy = make_policy(repo_root, tmp_path / "other", seed=seed)
  banks = tmp_path / "banks" if (bank := change.pop("banks", None)) else None
  if banks:
    write_banks(banks, {ESTATE: bank})
  settings = settings_with(repo_root, **change)
  with pytest.raises(config.ConfigError, match=rf"1 finished passes .*{said}"):
    evaluation.run(settings, policy, killed, banks_folder=banks)


def test_a_damaged_pass_is_named_and_more_passes_are_welcome(repo_root, policy, killed):
  summary = evaluation.run(settings_with(repo_root, passes=2), policy, killed)
  assert summary["arms"]["no_bank"]["success"]["count"] == 2 * EPISODES
  (killed / "passes").mkdir()  # as if the process died while it removed them
  assert evaluation.run(settings_with(repo_root, passes=2), policy, killed) == summary
  (killed / "summary.json").unlink()
  (killed / "passes" / "made_with.json").write_text("{")
  with pytest.raises(config.ConfigError, match=r"made_with.*remove .*passes to begin"):
    evaluation.run(settings_with(repo_root), policy, killed)


def test_a_finished_evaluation_is_not_played_again(
  repo_root, policy, tmp_path, monkeypatch, capsys
):
  settings = settings_with(repo_root, passes=1)
  summary = evaluation.run(settings, policy, tmp_path)
  assert len(summary["commits"]) == 1
  before, count = contents(tmp_path), Deadly(monkeypatch)
  capsys.readouterr()
  assert evaluation.run(settings, policy, tmp_path) == summary
  assert "summary.json is there already, nothing is played" in capsys.readouterr().out
  write_banks(tmp_path / "b", {ESTATE: BANK})
  for changed, banks, said in (
    ({"passes": 2}, None, "passes differ"),
    ({"passes": 1, "temperature": 0.9}, None, "config section eval differ"),
    ({"passes": 1}, tmp_path / "b", "--banks differ"),
  ):
    other = settings_with(repo_root, **changed)
    with pytest.raises(config.ConfigError, match=rf"summary.json is the .*: {said}"):
      evaluation.run(other, policy, tmp_path, banks_folder=banks)
  assert count.num == 0
  del (after := contents(tmp_path))[f"b/{ESTATE}.json"]
  assert after == before
  for text, said in (("[]", "no summary of an"), ("{}", "of an older version, which d")):
    (tmp_path / "summary.json").write_text(text)
    with pytest.raises(config.ConfigError, match=rf"summary.json is {said}.*remove it"):
      evaluation.run(settings, policy, tmp_path)


def test_a_pass_of_another_commit_is_told(repo_root, policy, killed):
  path = killed / "passes" / "0.json"
  path.write_text(json.dumps({**json.loads(path.read_text()), "commit": "0ld"}))
  summary = evaluation.run(settings_with(repo_root), policy, killed)
  assert summary["commits"] == ["0ld", summary["stamp"]["git_commit"]]


def test_banks_of_scopes_that_nobody_plays_are_refused(repo_root, policy, tmp_path):
  settings = settings_with(repo_root)
  (tmp_path / "none").mkdir()
  write_banks(tmp_path / "other", {"alfworld": BANK})
  for name, there in (("none", "no bank"), ("other", "alfworld.json")):
    said = rf"--banks=.*{name} holds {there}; it must .*, for example estate-"
    with pytest.raises(config.ConfigError, match=said):
      evaluation.run(settings, policy, tmp_path / "run", banks_folder=tmp_path / name)
  assert not (tmp_path / "run").exists()


def test_an_arm_that_could_only_repeat_another_is_left_out(
  repo_root, policy, tmp_path, capsys
):
  settings = settings_with(repo_root, warmup_tasks=0, passes=1)
  summary = evaluation.run(settings, policy, tmp_path / "without")
  assert list(summary["arms"]) == ["no_bank", "evolving"]
  assert summary["interactions"] == 2 * EPISODES and summary["given_banks"] == ""
  said = capsys.readouterr().out
  assert "frozen arm left out" in said and "eval.warmup_tasks, or give --banks" in said
  write_banks(tmp_path / "banks", {ESTATE: BANK})
  summary = evaluation.run(
    settings, policy, tmp_path / "with", banks_folder=tmp_path / "banks"
  )
  assert "frozen" in summary["arms"]
  assert summary["given_banks"] == str(tmp_path / "banks")
  assert "left out" not in capsys.readouterr().out
  alone = settings_with(repo_root, warmup_tasks=0, arms=("frozen",))
  with pytest.raises(config.ConfigError, match=r"eval\.arms=\('frozen',\): .*--banks"):
    evaluation.run(alone, policy, tmp_path / "alone")


@pytest.mark.parametrize("name", CONFIGS)
def test_flags_may_set_everything_about_evaluations_and_environments(repo_root, name):
  c = config.load(str(repo_root / "configs" / f"{name}.py"))
  kinds = {
    "env": table.settings_type(c.env.name),
    "pool": PoolSettings,
    "eval": EvalSettings,
  }
  for section, kind in kinds.items():
    missing = {field.name for field in dataclasses.fields(kind)} - set(c[section])
    assert not missing, section


@pytest.mark.parametrize("name", CONFIGS)
def test_published_numbers_take_three_passes(repo_root, name):
  assert EvalSettings(split="test").passes == 3
  settings = settings_of(f"configs/{name}.py", repo_root)
  # Household plays 24 streams once: its docstring says why.
  assert settings.eval.passes == (1 if name == "household" else 3)
  assert settings_of(f"configs/{name}.py:debug", repo_root).eval.passes == 1
