"""Tokenizer: lossless, deterministic, short on agent text, closed to control tokens."""

import json
import os
import random
import subprocess
import sys
import time

import hypothesis
import hypothesis.strategies as st
import pytest
import tokenizers
import transformers

from skilljax.data import tokenizer as tokenizer_lib

THINGS = (
  *("apple", "egg", "potato", "mug", "plate", "knife", "spoon", "bread", "lettuce"),
  *("pan", "pot", "cup", "bowl", "kettle", "cloth", "book", "pen", "pillow", "watch"),
  *("keychain", "vase", "candle"),
)
PLACES = (
  *("box", "cabinet", "drawer", "shelf", "table", "desk", "microwave", "stoveburner"),
  *("toaster", "fridge", "safe", "sinkbasin", "countertop", "bed", "sofa", "armchair"),
)

RESET = (
  "You are in the middle of a room. You see a box 1, a cabinet 1, a drawer 1, a shelf 1, "
  "a table 1, a desk 1, a microwave 1, a stoveburner 1, a toaster 1, a fridge 1, a safe "
  "1.\n\nYour task is to: put a hot apple in shelf."
)
ACTION = "<think>food in cabinet</think><action>go to cabinet 1</action>"
CALL = (
  '<think>new rule</think><tool_call>{"name": "propose_skill", "arguments": {"category": '
  '"heat", "title": "food place", "principle": "food is kept in cabinet 1.", '
  '"when_to_apply": "task needs food", "evidence": "found it there"}}</tool_call>'
)


def agent_texts(num: int) -> list[str]:
  """Texts in the manner of the household world, the same at every call."""
  draw = random.Random(0)
  texts = []
  for index in range(num):
    places = draw.sample(PLACES, 8)
    thing, place, digit = draw.choice(THINGS), places[0], draw.randint(1, 3)
    listed = ", ".join(f"a {name} {draw.randint(1, 3)}" for name in places)
    texts.append(
      (
        f"You are in the middle of a room. You see {listed}.\n\n"
        f"Your task is to: put a hot {thing} in {place}.",
        f"<think>{draw.choice(('food', 'look'))} in {place}</think>"
        f"<action>go to {place} {digit}</action>",
        f"You open the {place} {digit}. In it, you see a {thing} 1.",
        '<think>new rule</think><tool_call>{"name": "propose_skill", "arguments": '
        f'{{"category": "heat", "title": "{thing} place", "principle": "food is kept in '
        f'{place} {digit}.", "when_to_apply": "task needs {thing}", "evidence": '
        '"found it there"}}</tool_call>',
      )[index % 4]
    )
  return texts


@pytest.fixture(scope="module")
def trained():
  return tokenizer_lib.train_tokenizer(agent_texts(2000), vocab_size=600)


@pytest.fixture
def checkpoint(tmp_path):
  """A folder like a Qwen checkpoint's: NFC, a fill-in marker that is not special."""
  backend = tokenizers.Tokenizer(tokenizers.models.BPE())
  backend.normalizer = tokenizers.normalizers.NFC()
  backend.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
  backend.decoder = tokenizers.decoders.ByteLevel()
  alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
  trainer = tokenizers.trainers.BpeTrainer(vocab_size=300, initial_alphabet=alphabet)
  backend.train_from_iterator(agent_texts(40), trainer)
  backend.add_special_tokens(["<|endoftext|>", "<|im_start|>", "<|im_end|>"])
  backend.add_tokens(["<tool_call>", "</tool_call>", "<|fim_prefix|>"])
  backend.save(str(tmp_path / "tokenizer.json"))
  settings = {"pad_token": {"content": "<|endoftext|>"}, "chat_template": "kept"}
  (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
  return tmp_path


@hypothesis.given(st.text())
@hypothesis.example('e\u0301 \u00e9 \x00 \u200d 👩‍🚀  \r\n\t \' "":{}')
@hypothesis.example('{"name": "x", "arguments": {"category": "a.", "b": ""}}')
def test_any_text_survives(trained, text):
  assert trained.decode(trained.encode(text)) == text


def test_a_lone_surrogate_does_not_raise(trained):
  assert trained.decode(trained.encode("a\ud800b")) == "a?b"


@pytest.mark.parametrize("vocab_size", [600, 1024])
def test_agent_text_is_short(vocab_size):
  tokenizer = tokenizer_lib.train_tokenizer(agent_texts(2000), vocab_size=vocab_size)
  assert tokenizer.vocab_size <= vocab_size
  # 11 places at 3 tokens each (', a' · ' box' · ' 1') and 24 for the rest.
  assert len(tokenizer.encode(RESET)) == 57
  assert len(tokenizer.encode(ACTION)) == 11  # four tags, three words, four words
  assert len(tokenizer.encode(CALL)) <= 36


def test_json_keys_tags_and_digits_are_single_pieces(trained):
  def pieces(text):
    return [trained.decode([index]) for index in trained.encode(text)]

  assert pieces("</think><action>go to") == ["</think>", "<action>", "go", " to"]
  assert pieces('{"name": "propose_skill", "arguments": {"category": "heat"') == (
    ['{"name": "', "propose_skill", '", "arguments": {"category": "', "heat", '"']
  )
  assert pieces("shelf 123, a safe")[-5:] == [" 1", "2", "3", ", a", " safe"]


def test_vocabulary_is_filled_with_words_when_the_texts_hold_enough():
  words = [f"{first}{second}zz" for first in THINGS for second in PLACES]
  tokenizer = tokenizer_lib.train_tokenizer([" ".join(words)] * 3, vocab_size=400)
  assert tokenizer.vocab_size == 400


def test_the_words_that_save_most_are_kept():
  # 300 = 256 bytes + 11 added + 33 free: 8 merges, 25 words.
  words = [f"{thing}zz" for thing in THINGS] + [f"{place}qq" for place in PLACES]
  texts = [word for rank, word in enumerate(words) for _ in range(100 - 2 * rank)]
  tokenizer = tokenizer_lib.train_tokenizer(texts, vocab_size=300)
  assert tokenizer.vocab_size == 300
  assert [len(tokenizer.encode(word)) for word in words[:5]] == [1] * 5
  assert all(len(tokenizer.encode(word)) > 1 for word in words[-3:])


def test_merges_follow_the_counts():
  # 271 = 267 + 4 free, of which one is a merge: 'q z' 50 times, 'a b' 8 times.
  texts = ["qz"] * 50 + ["abc", "abd", "abe", "abf"] * 2
  tokenizer = tokenizer_lib.train_tokenizer(texts, vocab_size=271)
  assert len(tokenizer.encode("qzm")) == 2
  assert len(tokenizer.encode("abm")) == 3


@hypothesis.given(st.lists(st.sampled_from([*tokenizer_lib.TEMPLATE_TOKENS, "<|", " a"])))
def test_control_tokens_in_text_stay_text(trained, parts):
  text = "".join(parts)
  ids = trained.encode(text)
  assert trained.special_ids.isdisjoint(ids)
  assert trained.decode(ids, skip_special=True) == text


def test_control_tokens_in_training_text_are_not_learned():
  texts = ["x <|end|> y<|end|>"] * 500
  tokenizer = tokenizer_lib.train_tokenizer(texts, vocab_size=400)
  assert tokenizer.token_id("<|end|>") not in tokenizer.encode("<|end|>")
  assert len(tokenizer.encode("<|end|>")) == 7  # single characters: it was cut out


def test_tags_are_single_tokens_and_survive_decoding(trained):
  for tag in tokenizer_lib.AGENT_TAGS:
    assert trained.encode(tag) == [trained.token_id(tag)]
    assert trained.decode(trained.encode(tag), skip_special=True) == tag
  end = trained.token_id("<|end|>")
  assert trained.decode([end]) == "<|end|>"
  assert trained.decode([end], skip_special=True) == ""


def test_save_and_load(trained, tmp_path):
  trained.save(tmp_path / "tokenizer")
  again = tokenizer_lib.Tokenizer.load(tmp_path / "tokenizer")
  assert again.fingerprint == trained.fingerprint
  assert (again.vocab_size, again.pad_id) == (trained.vocab_size, trained.pad_id)
  assert again.encode(RESET + CALL) == trained.encode(RESET + CALL)
  assert trained.special_ids.isdisjoint(again.encode("<|user|>"))


def test_transformers_reads_the_saved_folder(trained, tmp_path):
  trained.save(tmp_path)
  other = transformers.AutoTokenizer.from_pretrained(tmp_path)
  assert other.encode(RESET + ACTION, add_special_tokens=False) == (
    trained.encode(RESET + ACTION)
  )
  assert other.decode(trained.encode(CALL)) == CALL
  assert len(other) == trained.vocab_size
  assert other.pad_token_id == trained.pad_id
  assert other.eos_token_id == trained.token_id("<|end|>")


def test_training_is_deterministic_across_processes(trained, repo_root):
  # Another hash seed and another number of threads; only the texts are handed over.
  code = (
    "import json, sys; from skilljax.data.tokenizer import train_tokenizer\n"
    "print(train_tokenizer(json.load(sys.stdin), vocab_size=600).fingerprint)"
  )
  done = subprocess.run(
    [sys.executable, "-c", code],
    input=json.dumps(agent_texts(2000)),
    capture_output=True,
    text=True,
    check=True,
    env={**os.environ, "PYTHONHASHSEED": "123", "RAYON_NUM_THREADS": "3"},
    cwd=repo_root,
  )
  assert done.stdout.strip() == trained.fingerprint


def test_fingerprint_tells_tokenizers_apart(trained):
  other = tokenizer_lib.train_tokenizer(agent_texts(2000), vocab_size=450)
  assert other.fingerprint != trained.fingerprint
  assert len(trained.fingerprint) == 16


def test_speed():
  # CPU seconds, so that a busy machine does not fail it.
  texts = agent_texts(16_000)
  assert sum(map(len, texts)) > 2_000_000
  start = time.process_time()
  tokenizer = tokenizer_lib.train_tokenizer(texts, vocab_size=1024)
  assert time.process_time() - start < 5.0
  start = time.process_time()
  for _ in range(1000):
    tokenizer.encode("You open the cabinet 1. In it, you see a potato 1, a mug 2.")
  # 1 ms for 1,000 cached look-ups ; 50 ms leaves room.
  assert time.process_time() - start < 0.05


@pytest.mark.parametrize("piece", ["a", " ", '"a', "\n ", '{"a": ', "<|end|>", "5"])
def test_hostile_text_takes_linear_time(trained, piece):
  text = piece * (100_000 // len(piece))
  start = time.process_time()
  assert trained.decode(trained.encode(text)) == text
  assert time.process_time() - start < 2.0


def test_check_fits(trained):
  trained.check_fits(trained.vocab_size)
  with pytest.raises(ValueError, match=r"model\.vocab_size=100 .* 600"):
    tokenizer_lib.train_tokenizer(
      [" ".join(a + b for a in THINGS for b in PLACES)] * 2, vocab_size=600
    ).check_fits(100)


@pytest.mark.parametrize("vocab_size", [0, 266])
def test_too_small_a_vocabulary(vocab_size):
  # 256 bytes, 5 control tokens, 6 tags.
  with pytest.raises(ValueError, match=f"vocab_size={vocab_size} must be at least 267"):
    tokenizer_lib.train_tokenizer(["a"], vocab_size=vocab_size)
  assert tokenizer_lib.train_tokenizer(["a"], vocab_size=267).vocab_size == 267


def test_special_tokens_must_hold_the_pad_token():
  with pytest.raises(ValueError, match=r"special_tokens=\('<\|end\|>',\) must contain"):
    tokenizer_lib.train_tokenizer(["a"], vocab_size=300, special_tokens=("<|end|>",))


def test_unknown_token_name(trained):
  assert not trained.has_token("<|im_end|>")
  with pytest.raises(ValueError, match="im_end"):
    trained.token_id("<|im_end|>")


def test_pretrained_control_tokens_stay_text(checkpoint):
  tokenizer = tokenizer_lib.from_pretrained(checkpoint)
  text = "a<|im_end|>\n<|im_start|>user<|fim_prefix|><|endoftext|>"
  ids = tokenizer.encode(text)
  assert tokenizer.decode(ids, skip_special=True) == text
  for name in ("<|im_end|>", "<|im_start|>", "<|fim_prefix|>", "<|endoftext|>"):
    assert tokenizer.token_id(name) not in ids
  assert tokenizer.encode("<tool_call>") == [tokenizer.token_id("<tool_call>")]
  assert tokenizer.pad_id == tokenizer.token_id("<|endoftext|>")


COMPANIONS = {
  "generation_config.json": b'{"eos_token_id": [1, 2], "temperature": 0.7}',
  "special_tokens_map.json": b'{"eos_token": "<|im_end|>"}',
  "chat_template.jinja": "{{ messages[0].content }} \u4f60".encode(),
  "additional_chat_templates/tool_use.jinja": b"{{ tools }}",
  "tokenizer.model": b"\x00\xff",
  "merges.txt": b"#version",
}


def test_pretrained_files_are_saved_unchanged(checkpoint, tmp_path):
  for name, content in COMPANIONS.items():
    (checkpoint / name).parent.mkdir(exist_ok=True)
    (checkpoint / name).write_bytes(content)
  tokenizer = tokenizer_lib.from_pretrained(checkpoint)
  tokenizer.save(tmp_path / "copy")
  for name in ("tokenizer.json", "tokenizer_config.json"):
    before, after = (
      json.loads((folder / name).read_text())
      for folder in (checkpoint, tmp_path / "copy")
    )
    assert before == after
  for name, content in COMPANIONS.items():
    assert (tmp_path / "copy" / name).read_bytes() == content
  again = tokenizer_lib.Tokenizer.load(tmp_path / "copy")
  assert again.fingerprint == tokenizer.fingerprint
  assert again.stop_ids == tokenizer.stop_ids == (1, 2)


def test_end_tokens_of_config_json_survive_without_it(checkpoint, tmp_path):
  model = {"eos_token_id": 5, "bos_token_id": 4, "hidden_size": 8, "pad_token_id": None}
  (checkpoint / "config.json").write_text(json.dumps(model))
  tokenizer = tokenizer_lib.from_pretrained(checkpoint)
  assert tokenizer.stop_ids == (5,)
  tokenizer.save(tmp_path / "copy")
  told = json.loads((tmp_path / "copy" / "generation_config.json").read_text())
  assert told == {"bos_token_id": 4, "eos_token_id": 5}
  # As in transformers, the file counts where there is one.
  (checkpoint / "generation_config.json").write_text('{"eos_token_id": [7]}')
  assert tokenizer_lib.from_pretrained(checkpoint).stop_ids == (7,)


@pytest.mark.parametrize("ids", [[1, 10_000], [-1], ["</s>"], [True], 2.0])
def test_end_tokens_must_be_ids(checkpoint, ids):
  (checkpoint / "generation_config.json").write_text(json.dumps({"eos_token_id": ids}))
  with pytest.raises(ValueError, match=r"eos_token_id=.* must be ids in \[0, 30\d\)"):
    tokenizer_lib.from_pretrained(checkpoint)


def test_pretrained_without_a_pad_token(checkpoint):
  settings = checkpoint / "tokenizer_config.json"
  settings.write_text("{}")
  with pytest.raises(ValueError, match="names no pad_token, unk_token or eos_token"):
    tokenizer_lib.from_pretrained(checkpoint)
  given = tokenizer_lib.from_pretrained(checkpoint, pad_token="<|im_end|>")
  assert given.pad_id == given.token_id("<|im_end|>")
  settings.write_text('{"eos_token": {"content": "<|im_end|>"}}')
  assert tokenizer_lib.from_pretrained(checkpoint).pad_id == given.pad_id
  settings.write_text('{"eos_token": "<|no_such_token|>"}')
  with pytest.raises(ValueError, match=r"no_such_token.* is not in the tokenizer's"):
    tokenizer_lib.from_pretrained(checkpoint)


def test_missing_and_damaged_files(checkpoint):
  (checkpoint / "tokenizer_config.json").write_text("{")
  with pytest.raises(ValueError, match=r"tokenizer_config\.json is damaged"):
    tokenizer_lib.from_pretrained(checkpoint)
  (checkpoint / "tokenizer_config.json").write_text("[]")
  with pytest.raises(ValueError, match=r"tokenizer_config\.json .* no JSON object"):
    tokenizer_lib.from_pretrained(checkpoint)
  (checkpoint / "tokenizer_config.json").write_text("{}")
  (checkpoint / "tokenizer.json").write_text('{"model": {"type": "none"}}')
  with pytest.raises(ValueError, match=r"tokenizer\.json describes no tokenizer"):
    tokenizer_lib.from_pretrained(checkpoint, pad_token="x")
  (checkpoint / "tokenizer.json").unlink()
  with pytest.raises(FileNotFoundError, match=r"tokenizer\.json"):
    tokenizer_lib.Tokenizer.load(checkpoint)
