"""Every recipe loads without an unread key and changes exactly what it says."""

from pathlib import Path

import pytest

from configs import household
from skilljax import assembly, config
from skilljax.rl.rewards import EditStatus, edit_reward

FOLDER = Path(__file__).parents[1] / "configs" / "recipes"
GONE = object()

# Recipe -> (variant of household that it starts from, key -> value).
CHANGES = {
  "joint_normalisation": ("", {"rl.advantage": "joint"}),
  "frozen_bank": (
    "",
    {"gate.mode": "frozen", "gate.audits_per_update": 0, "gate.max_commits": GONE},
  ),
  "grpo": ("grpo", {}),
  "rloo": ("grpo", {"rl.advantage": "rloo"}),
  "dr_grpo": (
    "grpo",
    {"rl.advantage": "dr_grpo", "loss.aggregation": "seq_mean_token_sum_norm"},
  ),
  "skillmaster_released": (
    "",
    {
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


def load(name, arg=""):
  return config.load(f"{FOLDER / name}.py:{arg}")


def test_every_recipe_is_listed_here():
  files = {path.stem for path in FOLDER.glob("*.py")} - {"__init__"}
  assert files == set(CHANGES)


@pytest.mark.parametrize("arg", ["", "debug", "seed=3,updates=7"])
@pytest.mark.parametrize("name", CHANGES)
def test_a_recipe_changes_what_it_says_and_nothing_else(name, arg):
  variant, changes = CHANGES[name]
  ours = config.flatten(load(name, arg))
  base = config.flatten(household.get_config(f"{arg},{variant}"))
  differences = {
    key: ours.get(key, GONE)
    for key in ours.keys() | base.keys()
    if ours.get(key, GONE) != base.get(key, GONE)
  }
  assert differences == changes


@pytest.mark.parametrize("arg", ["", "debug"])
@pytest.mark.parametrize("name", CHANGES)
def test_a_recipe_is_read_whole(name, arg):
  settings = assembly.read_settings(load(name, arg))
  assert settings.train.review == (CHANGES[name][0] != "grpo")
  assert (settings.probes is None) == (settings.gate is None) != settings.train.review


def test_the_released_shaping_pays_what_the_scripts_pay():
  settings = assembly.read_settings(load("skillmaster_released"))
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
