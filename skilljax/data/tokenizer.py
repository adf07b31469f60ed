"""Text to ids and back: tokenizers trained here, and those of pretrained models.

Purpose: one final wrapper in which untrusted text can never become a control token, and
a trainer whose tokenizers make agent text (commands, JSON tool calls) short.
Must not know about: what a chat template says, prompts, models, JAX.
"""

import collections
import functools
import hashlib
import json
import pathlib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import tokenizers
from tokenizers import decoders, models, pre_tokenizers, trainers

from skilljax.data.tokenizer_files import SETTINGS_FILE, SPEC_FILE, TokenizerFiles

SYSTEM_TOKEN = "<|system|>"
USER_TOKEN = "<|user|>"
ASSISTANT_TOKEN = "<|assistant|>"
END_TOKEN = "<|end|>"
PAD_TOKEN = "<|pad|>"
TEMPLATE_TOKENS = (SYSTEM_TOKEN, USER_TOKEN, ASSISTANT_TOKEN, END_TOKEN, PAD_TOKEN)

AGENT_TAGS = (
  "<think>",
  "</think>",
  "<action>",
  "</action>",
  "<tool_call>",
  "</tool_call>",
)

# What one token may span at most. Any pattern is lossless: what no branch matches is
# kept as a piece of its own. Bounded repeats keep hostile text linear.
_PIECES = (
  r'"?(?:[,{\[ ]{0,3}"[a-z_]{1,32}": ?){1,3}[{\["]{0,2}',  # JSON keys with their quotes
  r"</?[a-z_]{1,16}>\n?",  # tags
  r",? an?(?![\p{L}\p{M}_])",  # ', a' in lists of things
  r"[ \[]?[\p{L}\p{M}_]+(?:'\p{L}+)?",  # words with their space
  r" ?\p{N}",  # single digits
  r'[.!?](?=")',  # the end of a JSON string's last sentence
  r" ?[^\s\p{L}\p{M}\p{N}_]{1,16}\n*",  # punctuation and the line end after it
  r"\s*\n+",
  r"\s+",
)
_MERGE_SHARE = 0.25  # of the free vocabulary; whole words take the rest
_MIN_COUNT = 2  # a word seen once is not worth a row of the embedding
_CACHE_ENTRIES = 16_384
_CACHE_MAX_CHARS = 4_096  # longer texts are not kept, so that memory stays bounded
# Tried in this order by checkpoints that name no pad token (Llama 3).
_PAD_CANDIDATES = ("<|finetune_right_pad_id|>", "<|reserved_special_token_0|>", "<pad>")


class Tokenizer:
  """Ids of text, and text of ids. Final; immutable but for a bounded cache.

  `encode` reads its argument as untrusted: no added token is recognised in it but the
  agent tags (`AGENT_TAGS`). Control ids come from `token_id` only.

  Attributes:
    vocab_size: largest id plus one.
    pad_id: id of the padding token.
    special_ids: ids that `encode` never returns.
    stop_ids: what ends a response, as its checkpoint says; () if it says nothing.
    files: of the checkpoint, template and special tokens among them.
    fingerprint: 16 hex digits, a hash of the content.
  """

  def __init__(self, files: TokenizerFiles, *, pad_token: str):
    """Builds the wrapper.

    Args:
      files: of a folder, or new.
      pad_token: must be in the vocabulary.
    """
    self.files = files
    content = json.loads(files.spec)
    canonical = json.dumps(content, sort_keys=True, ensure_ascii=True)
    self.fingerprint = hashlib.sha256(canonical.encode()).hexdigest()[:16]
    self._backend = _untrusting_backend(content)
    vocab = self._backend.get_vocab(with_added_tokens=True)
    self.vocab_size = max(vocab.values()) + 1
    self.special_ids = frozenset(
      index
      for index, token in self._backend.get_added_tokens_decoder().items()
      if token.special
    )
    self.pad_id = self.token_id(pad_token)
    self.stop_ids = files.stop_ids(self.vocab_size)
    self._cached_ids = functools.lru_cache(maxsize=_CACHE_ENTRIES)(self._ids)

  def encode(self, text: str) -> list[int]:
    """Ids of untrusted text, with nothing added.

    Lone surrogates are not text and are read as '?'. Tokenizers trained here give back
    any other string exactly; pretrained ones may normalise it (Qwen: NFC).
    """
    if len(text) > _CACHE_MAX_CHARS:
      return list(self._ids(text))
    return list(self._cached_ids(text))

  def encode_trusted(self, text: str) -> tuple[list[int], list[tuple[int, int]]]:
    """Ids of a template's text, where the names of control tokens are those tokens.

    Never for text from outside.

    Returns:
      (ids, the characters (start, stop) that each stands for).
    """
    encoding = self._trusting_backend.encode(text, add_special_tokens=False)
    return encoding.ids, encoding.offsets

  def decode(self, ids: Iterable[int], skip_special: bool = False) -> str:
    """Text of ids; broken UTF-8 becomes U+FFFD.

    Args:
      ids: token ids in [0, vocab_size).
      skip_special: leave control tokens out. Agent tags always stay.
    """
    return self._backend.decode(
      [int(index) for index in ids], skip_special_tokens=skip_special
    )

  def token_id(self, name: str) -> int:
    """The id of one token by its exact content; ValueError where there is none."""
    index = self._backend.token_to_id(name)
    if index is None:
      raise ValueError(f"token {name!r} is not in the tokenizer's vocabulary")
    return index

  def has_token(self, name: str) -> bool:
    """Whether `token_id(name)` would succeed."""
    return self._backend.token_to_id(name) is not None

  def check_fits(self, model_vocab_size: int):
    """Raises ValueError when the model has fewer embedding rows than there are ids."""
    if model_vocab_size < self.vocab_size:
      raise ValueError(
        f"model.vocab_size={model_vocab_size} is smaller than the tokenizer's "
        f"{self.vocab_size} ids; set model.vocab_size to at least {self.vocab_size} or "
        "use a smaller tokenizer"
      )

  def save(self, folder: str | pathlib.Path):
    """Writes the Hugging Face files, which `transformers.AutoTokenizer` reads too."""
    self.files.write(pathlib.Path(folder))

  @classmethod
  def load(cls, folder: str | pathlib.Path) -> "Tokenizer":
    """Reads what `save` wrote. FileNotFoundError or ValueError name the file."""
    return from_pretrained(folder)

  def _ids(self, text: str) -> tuple[int, ...]:
    text = text.encode("utf-8", "replace").decode("utf-8")
    return tuple(self._backend.encode(text, add_special_tokens=False).ids)

  @functools.cached_property
  def _trusting_backend(self) -> tokenizers.Tokenizer:
    content = {**json.loads(self.files.spec), "truncation": None, "padding": None}
    return tokenizers.Tokenizer.from_str(json.dumps(content))


def from_pretrained(folder: str | pathlib.Path, *, pad_token: str = "") -> Tokenizer:
  """Reads the tokenizer of a Hugging Face checkpoint in a local folder, offline.

  Args:
    folder: holds `tokenizer.json` and `tokenizer_config.json`.
    pad_token: '' takes the one that the checkpoint names, a reserved token, or the
      unknown or end token: masks are made where tokens are appended, so a padding token
      that also has another meaning changes nothing.
  Raises:
    FileNotFoundError: a file is missing (only fast tokenizers are read).
    ValueError: a file is damaged, or no such token is named or known.
  """
  files = TokenizerFiles.read(pathlib.Path(folder))
  added = json.loads(files.spec).get("added_tokens") or ()
  known = {token.get("content") for token in added}
  named = files.special_tokens()
  found = pad_token or named.get("pad_token", "")
  found = found or next((name for name in _PAD_CANDIDATES if name in known), "")
  found = found or named.get("unk_token") or named.get("eos_token", "")
  if not found:
    raise ValueError(
      f"{folder} names no pad_token, unk_token or eos_token; write one of its tokens as "
      f"pad_token into its {SETTINGS_FILE}"
    )
  if pad_token:
    files = files.with_settings({"pad_token": pad_token})
  try:
    return Tokenizer(files, pad_token=found)
  except ValueError as error:
    raise ValueError(f"{folder}: {error}") from error


def train_tokenizer(
  texts: Iterable[str],
  *,
  vocab_size: int,
  special_tokens: Sequence[str] = TEMPLATE_TOKENS,
) -> Tokenizer:
  """Trains a byte-level tokenizer; deterministic, lossless for any text.

  A quarter of the free vocabulary goes to byte-pair merges, which serve unseen words;
  the rest to whole words, where they save most tokens (count · (pieces − 1)). Plain
  byte-pair training would spend those rows on fragments of the same words.

  Args:
    texts: what the policy will read and write. Control tokens and agent tags in it
      separate words and are not learned from.
    vocab_size: upper bound; reached when the texts hold enough words.
    special_tokens: control tokens, `PAD_TOKEN` among them.
  Raises:
    ValueError: vocab_size does not hold 256 bytes and the added tokens.
  """
  added = (*special_tokens, *AGENT_TAGS)
  if PAD_TOKEN not in special_tokens:
    raise ValueError(f"special_tokens={tuple(special_tokens)} must contain {PAD_TOKEN}")
  free = vocab_size - 256 - len(added)
  if free < 0:
    raise ValueError(
      f"vocab_size={vocab_size} must be at least {256 + len(added)}: 256 bytes and "
      f"{len(added)} added tokens (model.vocab_size)"
    )
  # Cut at added tokens, so that no merge and no word can ever spell a control token.
  cut = re.compile("|".join(re.escape(name) for name in added))
  counts = collections.Counter(part for text in texts for part in cut.split(text) if part)
  vocab, merges = _byte_pairs(counts, num_merges=int(free * _MERGE_SHARE))
  for word in _best_words(counts, vocab, merges, num_words=free + 256 - len(vocab)):
    vocab[word] = len(vocab)

  backend = _byte_level(models.BPE(vocab=vocab, merges=merges, ignore_merges=True))
  backend.add_special_tokens(_added_tokens(special_tokens))
  backend.add_tokens(_added_tokens(AGENT_TAGS))
  settings = {
    "tokenizer_class": "PreTrainedTokenizerFast",
    "pad_token": PAD_TOKEN,
    "clean_up_tokenization_spaces": False,
  }
  if END_TOKEN in special_tokens:
    settings["eos_token"] = END_TOKEN
  return Tokenizer(TokenizerFiles(backend.to_str(), settings), pad_token=PAD_TOKEN)


def _added_tokens(names: Sequence[str]) -> list[tokenizers.AddedToken]:
  return [tokenizers.AddedToken(name, normalized=False) for name in names]


def _byte_level(model: models.BPE) -> tokenizers.Tokenizer:
  backend = tokenizers.Tokenizer(model)
  split = pre_tokenizers.Split(tokenizers.Regex("|".join(_PIECES)), "isolated")
  to_bytes = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
  backend.pre_tokenizer = pre_tokenizers.Sequence([split, to_bytes])
  backend.decoder = decoders.ByteLevel()
  return backend


def _byte_pairs(counts: Mapping[str, int], *, num_merges: int):
  """Byte-pair training: (vocab, merges) with 256 bytes and up to `num_merges` more."""
  backend = _byte_level(models.BPE())
  trainer = trainers.BpeTrainer(
    vocab_size=256 + num_merges,
    min_frequency=_MIN_COUNT,
    initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    show_progress=False,
  )
  repeated = (part for part, count in counts.items() for _ in range(count))
  backend.train_from_iterator(repeated, trainer)
  model = json.loads(backend.to_str())["model"]
  return dict(model["vocab"]), [tuple(pair) for pair in model["merges"]]


def _best_words(
  counts: Mapping[str, int], vocab: Mapping[str, int], merges, *, num_words: int
) -> list[str]:
  """The words (byte-level spelling) that save most tokens as entries of their own."""
  model = models.BPE(vocab=dict(vocab), merges=merges)
  split = _byte_level(model).pre_tokenizer
  words = collections.Counter()
  for part, count in counts.items():
    for word, _ in split.pre_tokenize_str(part):
      words[word] += count
  saved = {
    word: count * (len(model.tokenize(word)) - 1)
    for word, count in words.items()
    if count >= _MIN_COUNT and word not in vocab
  }
  ranked = sorted(saved, key=lambda word: (-saved[word], word))
  return ranked[:num_words]


def _untrusting_backend(content: dict) -> tokenizers.Tokenizer:
  """A backend that reads every added token but the agent tags as ordinary text.

  Pretrained tokenizers mark some control tokens as non-special (Qwen's file and fill-in
  markers); those are made special here, because only special ones can be split. Runs of
  white space stay what they are (Gemma).

  Raises:
    ValueError: the content is JSON, but no tokenizer.
  """
  try:
    tokens = [
      {**token, "special": not _is_text(token["content"])}
      for token in content.get("added_tokens", ())
    ]
    changed = {**content, "added_tokens": tokens, "truncation": None, "padding": None}
    changed["pre_tokenizer"] = _amid(content.get("pre_tokenizer"))
    backend = tokenizers.Tokenizer.from_str(json.dumps(changed))
  except Exception as error:  # the library raises nothing more special
    raise ValueError(f"{SPEC_FILE} describes no tokenizer: {error}") from error
  backend.encode_special_tokens = True
  return backend


def _is_text(token: str) -> bool:
  """Whether an added token means no more than what it says."""
  return token in AGENT_TAGS or not token.strip(" \n\t\r\u2581")


def _amid(pre_tokenizer: Any) -> Any:
  """A pre-tokenizer for text behind a control token, as all text of a chat is.

  Some (Mistral) put a space before the first word, but only where a document begins.
  """
  if isinstance(pre_tokenizer, list):
    return [_amid(part) for part in pre_tokenizer]
  if not isinstance(pre_tokenizer, dict):
    return pre_tokenizer
  changed = {key: _amid(value) for key, value in pre_tokenizer.items()}
  if changed.get("prepend_scheme") == "first":
    changed["prepend_scheme"] = "never"
  return changed
