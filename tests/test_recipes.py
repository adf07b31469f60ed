"""Every recipe loads without an unread key and changes exactly what it says."""

import json
from pathlib import Path

import pytest

from configs import bases
from skilljax import config
from skilljax.rl.rewards import EditStatus, edit_reward
from skilljax.rollout.anchors import GigpoSettings
from skilljax.runs import cold_start, training
from skilljax.settings import read_settings
from skilljax.skills import store
from skilljax.skills.bank import GENERAL, from_skills
from skilljax.types import Skill

FOLDER = Path(__file__).parents[1] / "configs" / "recipes"
GONE = object()

SKILLRL = {
  "env.train_estates": 24,
  "train.review": False,
  "train.taught_banks": 0.0,
  "train.initial_banks": "runs/distilled/banks/evolving",
  "rl.advantage": "grpo",
  "rl.edit_weight": None,
  "eval.arms": ("no_bank", "frozen"),
}
NO_PROBES = (
  *("probes.num_probes", "probes.alpha"),
  *("probes.nulls_per_update", "probes.every_family"),
)
NO_TEST = ("gate.level", "gate.confirm")
NO_GATE = (*NO_TEST, "gate.mode", "gate.max_commits", "gate.audits_per_update")

# Recipe -> (variant of the base that it starts from, key -> value on household).
CHANGES = {
  "joint_normalisation": ("", {"rl.advantage": "joint"}),
  "frozen_bank": (
    "",
    {"gate.mode": "frozen", "gate.audits_per_update": 0, "gate.max_commits": GONE},
  ),
  "grpo": ("grpo", {}),
  "gigpo": (
    "grpo",
    {"rl.gigpo.omega": 1.0, "rl.gigpo.gamma": 0.95, "rl.gigpo.use_std": True},
  ),
  "rloo": ("grpo", {"rl.advantage": "rloo"}),
  "dr_grpo": (
    "grpo",
    {"rl.advantage": "dr_grpo", "loss.aggregation": "seq_mean_token_sum_norm"},
  ),
  "skillrl": ("", {**SKILLRL, **dict.fromkeys((*NO_PROBES, *NO_GATE), GONE)}),
  "skillrl_teacher": (
    "",
    {
      **SKILLRL,
      **dict.fromkeys((*NO_PROBES, *NO_TEST), GONE),
      "gate.mode": "accept",
      "gate.max_commits": 3,
      "gate.audits_per_update": 0,
      "proposer.name": "endpoint",
      "proposer.every": 5,
      "proposer.below": 0.4,
      "proposer.max_skills": 3,
      "proposer.shown_turns": 5,
      "proposer.endpoint.url": "http://localhost:8000/v1",
      "proposer.endpoint.model": "teacher",
      "proposer.endpoint.key_variable": "TEACHER_KEY",
      "proposer.endpoint.max_calls": 1000,
    },
  ),
  "skillmaster_released": (
    "",
    {
      "train.taught_banks": 1.0,
      "probes.alpha": 0.2,
      "probes.clip": True,
      "gate.mode": "frozen",
      "gate.audits_per_update": 0,
      "gate.max_commits": GONE,
      "rl.act.invalid_action": 0.05,
      "rl.edit.unparsable": -2.0,
      "rl.edit.unfinished": -2.0,
      "rl.edit.unknown_tool": -1.5,
      "rl.edit.missing_fields": -1.0,
      "rl.edit.wrong_category": -1.0,
      "rl.edit.placeholder": -1.4,
      "rl.edit.duplicate": -0.4,
      "rl.edit.not_found": 0.1,
      "loss.clip_eps_high": 0.2,
    },
  ),
}
BASES = ("household", "alfworld_scratch", "webshop_scratch")
ESTATES = ("env.train_estates", "train.taught_banks")  # keys of household alone


def changes_of(name, base):
  """(variant of the base, key -> value) of a recipe on a base."""
  variant, changes = CHANGES[name]
  if base == "household":
    return variant, changes
  changes = {key: value for key, value in changes.items() if key not in ESTATES}
  if name == "skillmaster_released":
    changes["train.initial_banks"] = "runs/distilled/banks/evolving"
  if (name, base) == ("gigpo", "webshop_scratch"):
    changes |= {"rl.gigpo.use_std": False, "rl.advantage": "dr_grpo"}
  return variant, changes


def load(name, arg=""):
  return config.load(f"{FOLDER / name}.py:{arg}")


def test_every_recipe_is_listed_here():
  files = {path.stem for path in FOLDER.glob("*.py")} - {"__init__"}
  assert files == set(CHANGES)


def test_the_bases_are_those_that_are_tested_here():
  assert tuple(bases.BASES) == BASES


@pytest.mark.parametrize("arg", ["", "debug", "seed=3,updates=7"])
@pytest.mark.parametrize("base_name", BASES)
@pytest.mark.parametrize("name", CHANGES)
def test_a_recipe_changes_what_it_says_and_nothing_else(name, base_name, arg):
  variant, changes = changes_of(name, base_name)
  ours = config.flatten(load(name, f"{arg},base={base_name}"))
  base = config.flatten(bases.BASES[base_name](f"{arg},{variant}"))
  differences = {
    key: ours.get(key, GONE)
    for key in ours.keys() | base.keys()
    if ours.get(key, GONE) != base.get(key, GONE)
  }
  assert differences == changes


@pytest.mark.parametrize("arg", ["", "debug"])
@pytest.mark.parametrize("base_name", BASES)
@pytest.mark.parametrize("name", CHANGES)
def test_a_recipe_is_read_whole(name, base_name, arg):
  settings = read_settings(load(name, f"base={base_name},{arg}"))
  assert settings.env_name == base_name.removesuffix("_scratch")
  changes = changes_of(name, base_name)[1]
  plain = CHANGES[name][0] == "grpo"
  assert settings.train.review == changes.get("train.review", not plain)
  assert (settings.probes is not None) == settings.train.review
  asked = settings.proposer.name == "endpoint"
  assert (settings.gate is not None) == (settings.train.review or asked)


@pytest.mark.parametrize("name", CHANGES)
def test_household_is_the_base_of_a_recipe_that_names_none(name):
  assert config.to_json(load(name)) == config.to_json(load(name, "base=household"))


@pytest.mark.parametrize(
  ("name", "arg", "message"),
  [
    ("rloo", "base=alfworld", r"base='alfworld' is unknown; did you mean alfworld_scr"),
    ("rloo", "base=household,gigpo", r"config variant 'gigpo' of .* is unknown"),
    ("skillrl", "base=webshop_scratch,gigpo", r"has no skills, .* leave grpo and gigpo"),
    ("skillmaster_released", "grpo", r"has no skills, .* leave grpo and gigpo out"),
  ],
)
def test_a_base_or_variant_that_does_not_fit_is_named(name, arg, message):
  with pytest.raises(config.ConfigError, match=message):
    load(name, arg)


@pytest.mark.parametrize("base_name", ["alfworld_scratch", "webshop_scratch"])
@pytest.mark.parametrize("variant", ["grpo", "gigpo"])
def test_a_variant_of_a_base_is_the_recipe_of_its_name(base_name, variant):
  ours = load(variant, f"debug,base={base_name}")
  theirs = bases.BASES[base_name](f"debug,{variant}")
  assert config.to_json(ours) == config.to_json(theirs)


@pytest.mark.parametrize(
  ("overrides", "message"),
  [
    ({"train.review": True}, r"needs train\.review=False and train\.skills=True"),
    ({"gate.mode": "frozen"}, "lets no edit of a teacher in"),
    ({"gate.mode": "commit"}, "config key 'probes' is missing"),
    ({"proposer.name": "policy"}, "no effect with name='policy'"),
  ],
)
def test_a_teacher_needs_a_place_and_a_gate(overrides, message):
  path = f"{FOLDER / 'skillrl_teacher'}.py:debug"
  with pytest.raises(config.ConfigError, match=message):
    read_settings(config.load(path, overrides))


def test_gigpo_on_alfworld_is_its_grpo_with_turn_advantages():
  path = str(FOLDER.parent / "alfworld_scratch.py")
  ours = config.flatten(config.load(f"{path}:gigpo"))
  base = config.flatten(config.load(f"{path}:grpo"))
  assert {k: v for k, v in ours.items() if k not in base} == CHANGES["gigpo"][1]
  assert {k: v for k, v in ours.items() if k in base} == base
  credit = read_settings(config.load(f"{path}:gigpo")).credit
  assert credit.gigpo == GigpoSettings(omega=1.0, gamma=0.95, use_std=True)


def test_the_released_shaping_pays_what_the_scripts_pay():
  settings = read_settings(load("skillmaster_released"))
  shaping = settings.credit.edit
  # A keep and an update of nothing pay the same there; ours is −0.5.
  assert edit_reward(EditStatus.KEPT, 0.0, shaping=shaping) == pytest.approx(0.1)
  assert edit_reward(EditStatus.NOT_FOUND, 0.0, shaping=shaping) == pytest.approx(0.1)
  assert edit_reward(EditStatus.NOT_FOUND, 0.0) == pytest.approx(-0.5)
  assert settings.probes.clip and settings.probes.alpha == 0.2


@pytest.mark.parametrize("name", CHANGES)
def test_the_docstring_names_the_command(name):
  text = (FOLDER / f"{name}.py").read_text()
  assert f"--config=configs/recipes/{name}.py" in text


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_recipe_trains_on_a_benchmark(repo_root, data_dir, tmp_path):
  """One update of the released SkillMaster on WebShop, from a bank that is given."""
  for package in ("rapidfuzz", "regex", "textblob"):
    pytest.importorskip(package, reason="pip install -e .[webshop]")
  store.save_bank(
    tmp_path / "bank.json",
    from_skills([Skill("", GENERAL, "go on", "go on.", "always")]),
  )
  overrides = {
    "env.data_dir": str(data_dir / "webshop"),
    "env.cache_dir": str(tmp_path / "cache"),
    "train.initial_banks": str(tmp_path / "bank.json"),
  }
  path = f"{FOLDER / 'skillmaster_released'}.py:base=webshop_scratch,debug"
  settings = read_settings(config.load(path, overrides))
  policy = cold_start.run(settings, tmp_path / "cold")
  training.run(settings, policy, tmp_path / "rl")
  (row,) = [json.loads(line) for line in (tmp_path / "rl" / "metrics.jsonl").open()]
  assert row["train/grad_norm"] > 0.0
  assert row["rollout/shown_skills"] == 1.0
