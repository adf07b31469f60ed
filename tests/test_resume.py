"""What a resumed run may change, and what it must not."""

import re

import pytest

from skilljax.config import ConfigError, flatten, plain
from skilljax.runs import training
from skilljax.runs.origin import Origin, of_policy
from tests.test_runs import settings_of

CONFIG = "tests/multihost_config.py"
OTHER = "data=2,fsdp=2,tensor=2,slots=2,copies=2,own=2,updates=9,other"
ORIGIN = Origin(tokenizer="t", policy="p")


def resume(settings, config, **host):
  """As `restore` after the arrays are read, of a checkpoint with this config."""
  training._check_same({"tokenizer": "t", "config": config, **host}, settings, ORIGIN)


@pytest.fixture(scope="module")
def settings(repo_root):
  return settings_of(CONFIG, repo_root)


@pytest.fixture(scope="module")
def other(repo_root):
  return settings_of(f"{CONFIG}:{OTHER}", repo_root)


def test_a_run_goes_on_in_another_place_at_another_speed(settings, other):
  resume(settings, plain(other.resolved))
  resume(other, plain(settings.resolved))
  # `tests/test_mesh.py` shows that these change no result: all of them, no other.
  ours, theirs = flatten(plain(settings.resolved)), flatten(plain(other.resolved))
  changed = {k for k in ours.keys() | theirs.keys() if ours.get(k) != theirs.get(k)}
  for key in training.MAY_CHANGE:
    if key.startswith("proposer.") or key in ("engine.num_lanes", "env.cache_dir"):
      continue  # a mesh has one lane: tests/engine/test_lanes.py; this world no cache
    assert any(f"{name}.".startswith(f"{key}.") for name in changed), key


def test_a_section_that_is_absent_is_as_good_as_one_that_may_change(settings):
  config = plain(settings.resolved)
  for name in ("mesh", "engine_mesh", "eval", "sft", "pool"):
    del config[name]
  resume(settings, config)


def test_a_key_of_the_environment_that_is_absent_is_its_default(settings):
  config = plain(settings.resolved)
  del config["env"]["tasks_per_estate"]  # as before configs named all of them
  resume(settings, config)
  config["env"]["dev_estates"] = 99
  with pytest.raises(ConfigError, match=r"env.dev_estates=\d+ \(there: 99\)"):
    resume(settings, config)


@pytest.mark.parametrize(
  ("key", "value"),
  [
    ("engine.max_len", 512),  # where an episode ends
    ("engine.top_k", 5),
    ("engine.top_p", 0.9),
    ("learner.row_len", 700),  # a constant of seq_mean_token_sum_norm
    ("learner.moment_dtype", "bfloat16"),
    ("learner.learning_rate", 1e-4),
    ("numerics.compute_dtype", "bfloat16"),
    ("lora.rank", 4),
    ("loss.temperature", 1.0),
    ("agent.budget.act_tokens", 40),
    ("train.group_size", 4),
    ("env.slack", 6),
    ("seed", 1),
  ],
)
def test_what_changes_a_result_is_refused_by_its_name(settings, key, value):
  config = plain(settings.resolved)
  *sections, name = key.split(".")
  section = config
  for part in sections:
    section = section.setdefault(part, {})
  ours = section.get(name)
  section[name] = value
  said = (
    f"config keys differ from those of the checkpoint: {key}={ours!r} (there: {value!r});"
  )
  with pytest.raises(ConfigError, match=re.escape(said)):
    resume(settings, config)


def test_another_tokenizer_and_other_banks_are_refused(settings):
  config = plain(settings.resolved)
  with pytest.raises(ConfigError, match="made with tokenizer x, the policy has t"):
    resume(settings, config, tokenizer="x")
  with pytest.raises(ConfigError, match="initial banks have changed"):
    resume(settings, config, initial_banks="x")


def test_another_policy_is_refused_because_it_is_the_reference(settings):
  config = plain(settings.resolved)
  resume(settings, config, policy="p")
  with pytest.raises(ConfigError, match=r"grew from a policy with fingerprint q,"):
    resume(settings, config, policy="q")


def test_a_policy_is_known_by_its_weights_and_not_by_what_is_said_of_it(tmp_path):
  weights = tmp_path / "model.safetensors"
  weights.write_bytes(bytes(3 << 20))
  before = of_policy(tmp_path)
  (tmp_path / "README.md").write_text("A model.")
  (tmp_path / ".gitattributes").write_text("*.safetensors filter=lfs")
  assert of_policy(tmp_path) == before
  for place in (0, -1):  # the first and the last byte
    changed = bytearray(3 << 20)
    changed[place] = 1
    weights.write_bytes(changed)
    assert of_policy(tmp_path) != before
