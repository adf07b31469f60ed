"""Folders like those of published checkpoints: a small tokenizer of their kind."""

import json
import pathlib

import jax
import tokenizers
from tokenizers import AddedToken, decoders, models, normalizers, pre_tokenizers, trainers

from skilljax.agents import prompts
from skilljax.data import tokenizer as tokenizer_lib
from skilljax.models.config import ModelConfig
from skilljax.models.hf_io import save_checkpoint
from skilljax.models.transformer import init_params
from skilljax.types import Task

TEXTS = (
  "You are in the middle of a room. You see a box 1, a cabinet 1, a fridge 1.",
  "<think>food in cabinet</think><action>go to cabinet 1</action>",
  "system user assistant model\n\nReview the episode. Outcome: success.",
)
SPACE = "\u2581"


def byte_level(special, plain=(), *, texts=TEXTS, vocab_size=320) -> tokenizers.Tokenizer:
  """As Qwen, Llama 3, Mistral Nemo and SmolLM have it."""
  backend = tokenizers.Tokenizer(models.BPE())
  backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
  backend.decoder = decoders.ByteLevel()
  alphabet = pre_tokenizers.ByteLevel.alphabet()
  trainer = trainers.BpeTrainer(
    vocab_size=vocab_size, initial_alphabet=alphabet, show_progress=False
  )
  backend.train_from_iterator(texts * 3, trainer)
  backend.add_special_tokens([AddedToken(t, normalized=False) for t in special])
  backend.add_tokens([AddedToken(t, normalized=False) for t in plain])
  return backend


def sentence_piece(special, *, prepend: str, rstrip: bool = False, plain=()):
  """Byte-pair encoding with byte fallback.

  Args:
    special: control tokens.
    prepend: where a space is put in front: 'first' (Mistral v0.3), 'always' (Phi-3),
      'never' (Gemma).
    rstrip: control tokens take in the white space after them (Phi-3).
    plain: added tokens that are no control tokens.
  """
  words = [word for text in TEXTS for word in text.replace(" ", " " + SPACE).split(" ")]
  base = tokenizers.Tokenizer(models.BPE())
  trainer = trainers.BpeTrainer(vocab_size=200, show_progress=False)
  base.train_from_iterator(words * 3, trainer)
  learned = json.loads(base.to_str())["model"]
  vocab = {f"<0x{byte:02X}>": byte for byte in range(256)}
  vocab |= {token: 256 + i for token, i in learned["vocab"].items()}
  merges = [tuple(pair) for pair in learned["merges"]]
  for token in ("<unk>", "\n", "\n\n"):
    vocab.setdefault(token, max(vocab.values()) + 1)
  backend = tokenizers.Tokenizer(
    models.BPE(
      vocab=vocab, merges=[*merges, ("\n", "\n")], byte_fallback=True, unk_token="<unk>"
    )
  )
  replace = normalizers.Replace(" ", SPACE)
  if prepend == "always":
    backend.normalizer = normalizers.Sequence([normalizers.Prepend(SPACE), replace])
  elif prepend == "first":
    backend.pre_tokenizer = pre_tokenizers.Metaspace(
      replacement=SPACE, prepend_scheme="first", split=False
    )
  else:
    backend.normalizer = replace
  backend.decoder = decoders.Sequence(
    [decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse()]
  )
  backend.add_special_tokens(
    [AddedToken(t, normalized=False, rstrip=rstrip) for t in special]
  )
  backend.add_tokens([AddedToken(t, normalized=False) for t in plain])
  return backend


def write(folder: pathlib.Path, backend, template=None, **settings) -> pathlib.Path:
  """Writes `tokenizer.json` and `tokenizer_config.json`."""
  folder.mkdir(parents=True, exist_ok=True)
  backend.save(str(folder / "tokenizer.json"))
  settings = {"tokenizer_class": "PreTrainedTokenizerFast", **settings}
  if template is not None:
    settings["chat_template"] = template
  (folder / "tokenizer_config.json").write_text(json.dumps(settings))
  return folder


_QWEN = {
  "special": ("<|endoftext|>", "<|im_start|>", "<|im_end|>"),
  "plain": ("<tool_call>", "</tool_call>", "<think>", "</think>", "<|fim_prefix|>"),
}
_LLAMA = {
  "special": (
    *("<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>"),
    *("<|end_header_id|>", "<|eom_id|>", "<|eot_id|>", "<|finetune_right_pad_id|>"),
  )
}
_GEMMA = {
  "special": ("<pad>", "<eos>", "<bos>", "<start_of_turn>", "<end_of_turn>"),
  "plain": ("\n\n", "\n\n\n", SPACE * 2, SPACE * 3),
  "prepend": "never",
}
_PHI = {
  "special": (
    *("<s>", "</s>", "<|endoftext|>", "<|assistant|>"),
    *("<|system|>", "<|end|>", "<|user|>"),
  ),
  "prepend": "always",
  "rstrip": True,
}
_MISTRAL = {"special": ("<s>", "</s>", "[INST]", "[/INST]")}
_CHATML = {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"}
_HEADERS = {"bos_token": "<|begin_of_text|>", "eos_token": "<|eot_id|>"}
_TURNS = {"bos_token": "<bos>", "eos_token": "<eos>", "pad_token": "<pad>"}
_SENTENCES = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}

# Template -> what makes its tokenizer, that one's tokens, what the settings name.
PUBLISHED = {
  "qwen2.5": (byte_level, _QWEN, _CHATML),
  "qwen3": (byte_level, _QWEN, _CHATML),
  "smollm2": (byte_level, _QWEN, _CHATML),
  "llama3": (byte_level, _LLAMA, _HEADERS),
  "llama3.1": (byte_level, _LLAMA, _HEADERS),
  "llama3.2": (byte_level, _LLAMA, _HEADERS),
  "gemma2": (sentence_piece, _GEMMA, _TURNS),
  "gemma3": (sentence_piece, _GEMMA, _TURNS),
  "phi3": (sentence_piece, _PHI, {**_SENTENCES, "eos_token": "<|endoftext|>"}),
  "mistral-nemo": (byte_level, _MISTRAL, {"bos_token": "<s>", "eos_token": "</s>"}),
  "mistral-v0.3": (sentence_piece, {**_MISTRAL, "prepend": "first"}, _SENTENCES),
}
TEMPLATES = pathlib.Path(__file__).parent / "templates"


def published(folder: pathlib.Path, name: str, template=None, **options) -> pathlib.Path:
  """The tokenizer files of one of `PUBLISHED`, with another template if one is given."""
  make, tokens, named = PUBLISHED[name]
  template = template or (TEMPLATES / f"{name}.jinja").read_text()
  return write(folder, make(**tokens, **options), template, **named)


def tiny_qwen2(folder: pathlib.Path, *, seed: int = 0) -> pathlib.Path:
  """A random Qwen2 of two layers in bfloat16, whose tokenizer has seen the prompts."""
  style, task = prompts.FULL, Task("alfworld", "train", "all", "pick_and_place", "t")
  texts = (style.system(), style.review_prompt(task, "", True), *TEXTS)
  published(folder, "qwen2.5", texts=texts, vocab_size=1000)
  size = tokenizer_lib.from_pretrained(folder).vocab_size
  model = ModelConfig(
    **{"vocab_size": size + size % 2, "d_model": 32, "num_layers": 2, "d_ff": 64},
    **{"num_heads": 4, "num_kv_heads": 2, "head_dim": 8, "max_len": 32_768},
    **{"qkv_bias": True, "rope_theta": 1e6, "tie_embeddings": True},
  )
  params = init_params(jax.random.key(seed), model)
  save_checkpoint(folder, model, params, dtype="bfloat16")
  return folder
