"""The text files of a checkpoint that belong to its tokenizer, and travel with it.

Purpose: what the files of a Hugging Face folder say about special tokens, the chat
template and the end of a response; a policy that is written again keeps them all.
Must not know about: tokenisation, what a template says, weights.
"""

import dataclasses
import json
import pathlib
from collections.abc import Mapping
from typing import Any

SPEC_FILE = "tokenizer.json"
SETTINGS_FILE = "tokenizer_config.json"
TEMPLATE_FILE = "chat_template.jinja"
_GENERATION_FILE = "generation_config.json"
_TOKENS_FILE = "special_tokens_map.json"
_MODEL_FILE = "config.json"
# Kept as they are. Those of slow tokenizers are not read here; other programs do.
_COMPANIONS = (
  *(_TOKENS_FILE, _GENERATION_FILE, TEMPLATE_FILE, "chat_template.json"),
  *("added_tokens.json", "tokenizer.model", "vocab.json", "merges.txt"),
)
_MORE_TEMPLATES = "additional_chat_templates"


@dataclasses.dataclass(frozen=True)
class TokenizerFiles:
  """Files of one folder.

  Attributes:
    spec: content of `tokenizer.json`.
    settings: content of `tokenizer_config.json`.
    companions: relative path -> content of the others.
  """

  spec: str
  settings: Mapping[str, Any]
  companions: Mapping[str, bytes] = dataclasses.field(default_factory=dict)

  @classmethod
  def read(cls, folder: pathlib.Path) -> "TokenizerFiles":
    """Reads a folder.

    Raises:
      FileNotFoundError: `tokenizer.json` or `tokenizer_config.json` is missing.
      ValueError: a file is damaged; names it.
    """
    for name in (SPEC_FILE, SETTINGS_FILE):
      if not (folder / name).is_file():
        raise FileNotFoundError(
          f"{folder / name} is missing: a tokenizer folder needs {name}"
        )
    _parse(folder / SPEC_FILE)
    companions = {
      path.relative_to(folder).as_posix(): path.read_bytes()
      for path in (
        *(folder / name for name in _COMPANIONS),
        *sorted((folder / _MORE_TEMPLATES).glob("*.jinja")),
      )
      if path.is_file()
    }
    if _GENERATION_FILE not in companions and (folder / _MODEL_FILE).is_file():
      # As transformers does. A config.json that is written again would lose them.
      model = _parse(folder / _MODEL_FILE)
      names = ("bos_token_id", "eos_token_id", "pad_token_id")
      told = {name: model[name] for name in names if model.get(name) is not None}
      if told:
        companions[_GENERATION_FILE] = (json.dumps(told, indent=2) + "\n").encode()
    checks = {_TOKENS_FILE: _parse, _GENERATION_FILE: _parse, TEMPLATE_FILE: _text}
    for name, check in checks.items():
      if (folder / name).is_file():
        check(folder / name)
    settings = _parse(folder / SETTINGS_FILE)
    return cls(_text(folder / SPEC_FILE), settings, companions)

  def write(self, folder: pathlib.Path) -> None:
    """Writes all of them; `transformers.AutoTokenizer` reads them too."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / SPEC_FILE).write_text(self.spec, encoding="utf-8")
    settings = json.dumps(self.settings, indent=2, ensure_ascii=False)
    (folder / SETTINGS_FILE).write_text(settings, encoding="utf-8")
    for name, content in self.companions.items():
      (folder / name).parent.mkdir(exist_ok=True)
      (folder / name).write_bytes(content)

  def with_settings(self, changes: Mapping[str, Any]) -> "TokenizerFiles":
    """The same, with other entries in `tokenizer_config.json`."""
    return dataclasses.replace(self, settings={**self.settings, **changes})

  def special_tokens(self) -> dict[str, str]:
    """Name ('bos_token', 'eos_token', …) -> token; those that are named."""
    found = {**self._companion(_TOKENS_FILE), **self.settings}
    tokens = {}
    for name, token in found.items():
      text = token.get("content") if isinstance(token, dict) else token
      if name.endswith("_token") and isinstance(text, str) and text:
        tokens[name] = text
    return tokens

  def stop_ids(self, vocab_size: int) -> tuple[int, ...]:
    """The ids that end a response by `generation_config.json`; () if it names none.

    Raises:
      ValueError: they are no ids of this vocabulary.
    """
    ids = self._companion(_GENERATION_FILE).get("eos_token_id")
    ids = () if ids is None else ids if isinstance(ids, list) else (ids,)
    if not all(type(index) is int and 0 <= index < vocab_size for index in ids):
      raise ValueError(
        f"eos_token_id={list(ids)} in {_GENERATION_FILE} (or config.json) must be ids in "
        f"[0, {vocab_size}), as the tokenizer has them"
      )
    return tuple(ids)

  def chat_template(self) -> str:
    """The Jinja template that `transformers` takes where no tools are given.

    Raises:
      ValueError: there is none.
    """
    if TEMPLATE_FILE in self.companions:
      return self.companions[TEMPLATE_FILE].decode("utf-8")
    template = self.settings.get("chat_template")
    if isinstance(template, list):
      named = {entry.get("name"): entry.get("template") for entry in template}
      template = named.get("default")
      if template is None:
        raise ValueError(
          f"chat_template in {SETTINGS_FILE} names {sorted(map(str, named))}, and none "
          "is 'default'"
        )
    if not isinstance(template, str):
      raise ValueError(
        f"the checkpoint has no chat template (chat_template in {SETTINGS_FILE}, or "
        f"{TEMPLATE_FILE})"
      )
    return template

  def _companion(self, name: str) -> dict[str, Any]:
    content = self.companions.get(name)
    return {} if content is None else json.loads(content)


def _text(path: pathlib.Path) -> str:
  try:
    return path.read_text(encoding="utf-8")
  except ValueError as error:
    raise ValueError(f"{path} is damaged: {error}") from error


def _parse(path: pathlib.Path) -> dict[str, Any]:
  """A JSON object from a file."""
  text = _text(path)
  try:
    content = json.loads(text)
  except ValueError as error:
    raise ValueError(f"{path} is damaged: {error}") from error
  if not isinstance(content, dict):
    raise ValueError(f"{path} is damaged: it holds no JSON object")
  return content
