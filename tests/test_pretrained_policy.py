"""A folder as it is published: read, spoken to in its template, and written again."""

import dataclasses
import json
import pathlib

import jax
import numpy as np
import pytest
import tokenizers
import transformers

from skilljax import assembly
from skilljax.config import ConfigError
from skilljax.data import tokenizer as tokenizer_lib
from skilljax.fit import cases
from skilljax.models.hf_io import save_checkpoint
from skilljax.models.lora import LoraSettings
from skilljax.models.transformer import init_params
from skilljax.runs import cold_start
from tests.agents import checkpoints
from tests.test_runs import HOUSEHOLD, settings_of


@pytest.fixture(scope="module")
def settings(repo_root):
  return settings_of(HOUSEHOLD, repo_root, {"agent.chat": "checkpoint"})


@pytest.fixture(scope="module")
def folder(settings, tmp_path_factory) -> pathlib.Path:
  """Names no pad token, and ends at two tokens."""
  folder = checkpoints.published(tmp_path_factory.mktemp("published"), "llama3.1")
  tokenizer = tokenizer_lib.from_pretrained(folder)
  ends = [tokenizer.token_id(name) for name in ("<|end_of_text|>", "<|eom_id|>")]
  told = {"eos_token_id": ends, "temperature": 0.6}
  (folder / "generation_config.json").write_text(json.dumps(told))
  model = dataclasses.replace(
    settings.model, vocab_size=tokenizer.vocab_size + 5, max_len=4096
  )
  save_checkpoint(folder, model, init_params(jax.random.key(0), model))
  return folder


def test_a_response_ends_where_the_checkpoint_says(settings, folder):
  policy = assembly.load_policy(folder)
  chat = assembly.make_chat(settings, policy.tokenizer)
  names = [policy.tokenizer.decode([index]) for index in chat.stop_ids]
  assert names == ["<|eot_id|>", "<|end_of_text|>", "<|eom_id|>"]
  other = dataclasses.replace(settings, chat="llama3")
  assert assembly.make_chat(other, policy.tokenizer).stop_ids == chat.stop_ids


def test_an_exported_policy_talks_as_the_checkpoint_did(settings, folder, tmp_path):
  policy = assembly.load_policy(folder)
  for name in ("first", "second"):  # and what is exported may be exported again
    out = tmp_path / name
    cold_start.write_policy(out, policy.model, policy.params, policy.tokenizer)
    policy = assembly.load_policy(out)
  messages = [{"role": "system", "content": "S"}, {"role": "user", "content": "U"}]
  before, after = (
    transformers.AutoTokenizer.from_pretrained(path).apply_chat_template(
      messages, add_generation_prompt=True, tokenize=True, return_dict=True
    )["input_ids"]
    for path in (folder, out)
  )
  chat = assembly.make_chat(settings, policy.tokenizer)
  assert after == before == chat.opening("S", "U")
  for name in ("generation_config.json", "tokenizer.json", "tokenizer_config.json"):
    first, second = (json.loads((path / name).read_text()) for path in (folder, out))
    assert first == second


def another(folder, ids, *, merges=True, generation=None):
  """A folder without weights: a ChatML tokenizer, and a config.json that names ids."""
  special = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
  backend = checkpoints.byte_level(special)
  if not merges:  # the same control tokens, at other places
    backend = tokenizers.Tokenizer(tokenizers.models.BPE())
    alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    trainer = tokenizers.trainers.BpeTrainer(
      vocab_size=256, initial_alphabet=alphabet, show_progress=False
    )
    backend.train_from_iterator([], trainer)
    backend.add_special_tokens(list(special))
  checkpoints.write(folder, backend, "template", pad_token="<|endoftext|>")
  told = {**cases.published()["Qwen2.5-0.5B"], **ids}
  (folder / "config.json").write_text(json.dumps(told))
  if generation:
    (folder / "generation_config.json").write_text(json.dumps(generation))
  return folder


def test_the_control_tokens_of_the_model_are_those_of_its_tokenizer(tmp_path):
  _, own = assembly.open_policy(another(tmp_path, {}))
  end, pad = own.token_id("<|im_end|>"), own.token_id("<|endoftext|>")
  for ids in (
    {"bos_token_id": None, "eos_token_id": end, "pad_token_id": pad},
    {"bos_token_id": pad, "eos_token_id": [end, pad], "pad_token_id": -1},
  ):
    assembly.open_policy(another(tmp_path, ids, generation={"eos_token_id": end}))


@pytest.mark.parametrize(
  ("ids", "generation", "message"),
  [
    ({"eos_token_id": 65}, None, r"eos_token_id=65 in its config\.json.*another model"),
    ({"bos_token_id": 151_643}, None, r"bos_token_id=151643 .*another model"),
    ({}, {"pad_token_id": 300}, r"pad_token_id=300 .*another model"),
    ({"eos_token_id": [65, 66]}, {}, r"eos_token_id=65, eos_token_id=66 "),
    ({"bos_token_id": "<s>"}, None, r"config\.json: bos_token_id='<s>' must be an int"),
  ],
)
def test_a_tokenizer_of_another_model(tmp_path, ids, generation, message):
  folder = another(tmp_path, ids, merges=False, generation=generation)
  with pytest.raises(ConfigError, match=message):
    assembly.open_policy(folder)


def tuning(settings, **changes):
  """Settings that fine-tune a checkpoint whose tokenizer knows few words."""
  cold = dataclasses.replace(
    settings.cold_start,
    **{"episodes": 4, "steps": 3, "drills": 0, "drill_steps": 0, "exercise_steps": 0},
    **{"drill_share": 0.0, "mastery": 0.0, "opening_steps": 0},
    **{"previous_token_heads": 0, "induction_head": False},
  )
  engine = dataclasses.replace(settings.engine, max_len=4096)
  sft = dataclasses.replace(settings.sft, row_len=4096, rows_per_batch=1)
  runner = dataclasses.replace(settings.runner, act_tokens=400, edit_tokens=400)
  new = {"cold_start": cold, "engine": engine, "sft": sft, "model": None}
  new["runner"] = runner
  return dataclasses.replace(settings, **(new | changes))


def test_a_checkpoint_is_fine_tuned_with_its_own_tokenizer(
  settings, folder, tmp_path, monkeypatch
):
  monkeypatch.chdir(tmp_path)
  with pytest.raises(ConfigError, match=r"section 'model'.*--policy="):
    cold_start.run(tuning(settings, model=settings.model), "out", folder)
  with pytest.raises(ConfigError, match=r"cold_start\.previous_token_heads=1 "):
    headed = dataclasses.replace(tuning(settings).cold_start, previous_token_heads=1)
    cold_start.run(tuning(settings, cold_start=headed), "out", folder)
  assert not (tmp_path / "out").exists()

  with pytest.raises(ConfigError, match=r"agent\.budget\.act_tokens=24"):
    short = dataclasses.replace(tuning(settings).runner, act_tokens=24)
    cold_start.run(tuning(settings, runner=short), "cut", folder)

  adapters = LoraSettings(rank=2, targets=("wq",))
  out = cold_start.run(tuning(settings, lora=adapters), "out", folder)
  before, after = assembly.load_policy(folder), assembly.load_policy(out)
  assert after.tokenizer.fingerprint == before.tokenizer.fingerprint
  assert after.model == before.model
  moved = {
    name: not np.array_equal(leaf, after.params["layers"][name])
    for name, leaf in before.params["layers"].items()
  }
  assert {name for name, changed in moved.items() if changed} == {"wq"}
  losses = [
    json.loads(line)["train/nll"]
    for line in (tmp_path / "out" / "metrics.jsonl").read_text().splitlines()
  ]
  assert len(losses) == 3 and losses[-1] < losses[0]
