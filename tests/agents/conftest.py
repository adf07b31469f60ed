"""Tokenizers of the three templates, small and trained on the spot."""

import pytest
import transformers

from skilljax.data import tokenizer as tokenizer_lib

TEXTS = (
  "You are in the middle of a room. You see a box 1, a cabinet 1, a fridge 1.",
  "<think>food in cabinet</think><action>go to cabinet 1</action>",
  "system user assistant\n\nReview the episode. Outcome: success.",
)
CONTROL = {
  "compact": tokenizer_lib.TEMPLATE_TOKENS,
  "chatml": ("<|im_start|>", "<|im_end|>", "<|endoftext|>", "<|pad|>"),
  "llama3": (
    *("<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>"),
    *("<|end_header_id|>", "<|eot_id|>", "<|eom_id|>", "<|pad|>"),
  ),
}
# Written from the published form of each template, append-only part.
JINJA = {
  "chatml": (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
  ),
  "llama3": (
    "<|begin_of_text|>{% for m in messages %}<|start_header_id|>{{ m.role }}"
    "<|end_header_id|>\n\n{{ m.content | trim }}<|eot_id|>{% endfor %}"
    "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n"
    "{% endif %}"
  ),
}


@pytest.fixture(scope="session")
def chat_tokenizers():
  """Template name -> tokenizer."""
  return {
    name: tokenizer_lib.train_tokenizer(TEXTS * 3, vocab_size=420, special_tokens=control)
    for name, control in CONTROL.items()
  }


@pytest.fixture(scope="session")
def hf_tokenizers(chat_tokenizers, tmp_path_factory):
  """Template name -> the same tokenizer in transformers, with its jinja template."""
  loaded = {}
  for name, template in JINJA.items():
    folder = tmp_path_factory.mktemp(name)
    chat_tokenizers[name].save(folder)
    loaded[name] = transformers.AutoTokenizer.from_pretrained(folder)
    loaded[name].chat_template = template
  return loaded
