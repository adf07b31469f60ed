"""Chat formats from templates: the ids of transformers, or an error that helps."""

import itertools
import json

import hypothesis
import hypothesis.strategies as st
import pytest
import transformers

from skilljax.agents import chat as chat_lib
from skilljax.agents import chat_template
from skilljax.data import tokenizer as tokenizer_lib
from tests.agents import checkpoints

# Where the system text stands: in a turn of its own, before the first user text as the
# template has it, or before it because the template has no place for it.
OWN, SHARED, IN_FRONT = "own turn", "shared turn", "in front"
ACCEPTED = {
  "qwen2.5": OWN,
  "smollm2": OWN,
  "llama3": OWN,
  "llama3.1": OWN,
  "llama3.2": OWN,
  "phi3": OWN,
  "gemma3": SHARED,
  "gemma2": IN_FRONT,
  "mistral-nemo": IN_FRONT,
  "mistral-v0.3": IN_FRONT,
}
SYSTEM = "You act. \nBe short."
EPISODES = (
  [("You see a fridge 1.", "go to fridge 1"), ("Nothing happens.", "look")],
  [("\n\nA room.  ", "x"), (" \n Ünïcode 你好 ", "y z"), ("\tDone? 12", "")],
  [("{'a': [1, 2]}\n\n\nb  c   d", "I'd say so."), ("", "."), ("<html> & |>", "")],
)


@pytest.fixture(scope="session")
def folders(tmp_path_factory):
  root = tmp_path_factory.mktemp("published")
  return {
    name: checkpoints.published(root / name, name) for name in checkpoints.PUBLISHED
  }


def read(folder) -> chat_lib.ChatFormat:
  return chat_template.from_checkpoint(tokenizer_lib.from_pretrained(folder))


@pytest.fixture(scope="module")
def formats(folders):
  return {name: read(folders[name]) for name in ACCEPTED}


def messages_of(name, episode, num_turns):
  """The conversation before the policy's reply of the last of some turns."""
  system, texts = SYSTEM, [list(turn) for turn in episode[:num_turns]]
  if ACCEPTED[name] == IN_FRONT:
    texts[0][0] = f"{system}\n\n{texts[0][0]}"
  first = [] if ACCEPTED[name] == IN_FRONT else [{"role": "system", "content": system}]
  flat = [text for turn in texts for text in turn][:-1]
  roles = itertools.cycle(("user", "assistant"))
  return first + [
    {"role": role, "content": text} for role, text in zip(roles, flat, strict=False)
  ]


@pytest.mark.parametrize("episode", EPISODES, ids=("short", "spaces", "symbols"))
@pytest.mark.parametrize("name", ACCEPTED)
def test_ids_equal_those_of_transformers(name, episode, folders, formats):
  chat, other = formats[name], transformers.AutoTokenizer.from_pretrained(folders[name])
  ids = []
  for turn, (text, reply) in enumerate(episode):
    if not turn:
      ids = chat.opening(SYSTEM, text)
    else:
      ids += chat.following(text, closed=True)
    rendered = other.apply_chat_template(
      messages_of(name, episode, turn + 1),
      add_generation_prompt=True,
      tokenize=True,
      return_dict=True,
      date_string="26 Jul 2024",  # today's, else
    )
    assert ids == rendered["input_ids"], other.decode(rendered["input_ids"])
    # Mistral's template puts a space before a reply; a policy samples it.
    said = f" {reply}" if name == "mistral-v0.3" else reply
    ids += [*chat.tokenizer.encode(said), chat.end_id]


def test_the_system_text_stands_where_the_template_puts_it(formats):
  text = formats["llama3.2"].tokenizer.decode(formats["llama3.2"].opening("S", "U"))
  assert "Today Date: 26 Jul 2024\n\nS<|eot_id|>" in text
  for name in ("gemma2", "gemma3"):
    chat = formats[name]
    assert chat.tokenizer.decode(chat.opening("S", "U")) == (
      "<bos><start_of_turn>user\nS\n\nU<end_of_turn>\n<start_of_turn>model\n"
    )
  chat = formats["mistral-v0.3"]
  assert chat.tokenizer.decode(chat.opening("S", "U")) == "<s>[INST] S\n\nU[/INST]"


def test_end_tokens(formats):
  for name, names in (
    ("qwen2.5", ["<|im_end|>"]),
    ("gemma2", ["<end_of_turn>", "<eos>"]),
    ("phi3", ["<|end|>", "<|endoftext|>"]),
    ("mistral-nemo", ["</s>"]),
  ):
    chat = formats[name]
    assert [chat.tokenizer.decode([index]) for index in chat.stop_ids] == names
    assert chat.end_id == chat.stop_ids[0]
    open_end = chat.following("x", closed=False)
    assert open_end == [chat.end_id, *chat.following("x", closed=True)]


@pytest.mark.parametrize("name", ACCEPTED)
@hypothesis.given(data=st.data())
@hypothesis.settings(max_examples=30, deadline=None)
def test_untrusted_text_cannot_open_or_close_a_turn(name, formats, data):
  chat = formats[name]
  special = chat.tokenizer.special_ids
  names = [chat.tokenizer.decode([index]) for index in sorted(special)]
  parts = st.lists(st.sampled_from([*names, "\n", "user", " "])).map("".join)
  system, user, text = data.draw(parts), data.draw(parts), data.draw(parts)

  def control(ids):
    return [index for index in ids if index in special]

  assert control(chat.opening(system, user)) == control(chat.opening("a", "b"))
  for closed in (True, False):
    hostile = chat.following(text, closed=closed)
    assert control(hostile) == control(chat.following("a", closed=closed))


def test_a_template_that_drops_thinking_names_the_format_that_keeps_it(folders):
  with pytest.raises(ValueError, match=r"takes the thinking out .*set agent\.chat='chat"):
    read(folders["qwen3"])
  chat = chat_lib.chatml(tokenizer_lib.from_pretrained(folders["qwen3"]))
  other = transformers.AutoTokenizer.from_pretrained(folders["qwen3"])
  ids = [*chat.opening("S", "U"), *chat.tokenizer.encode("A"), chat.end_id]
  ids += chat.following("V", closed=True)
  said = [("system", "S"), ("user", "U"), ("assistant", "A"), ("user", "V")]
  assert (
    ids
    == other.apply_chat_template(
      [{"role": role, "content": text} for role, text in said],
      add_generation_prompt=True,
      tokenize=True,
      return_dict=True,
    )["input_ids"]
  )


PLAIN_WORDS = (
  "{% for m in messages %}{{ m.role | upper + ': ' + m.content + '\\n' }}{% endfor %}"
  "{% if add_generation_prompt %}ASSISTANT: {% endif %}"
)
CHATML = (checkpoints.TEMPLATES / "qwen2.5.jinja").read_text()


@pytest.mark.parametrize(
  ("template", "said"),
  [
    (PLAIN_WORDS, "words that anyone can type"),
    (CHATML.replace("<|im_end|>' ", "(end)<|im_end|>' "), r"ends a turn with '\(end\)'"),
    (CHATML.replace("m.content +", "m.content | upper +"), "a text twice, or not at all"),
    (CHATML.replace("m.content +", "m.content * 2 +"), "a text twice, or not at all"),
    (
      CHATML.replace("m.content +", "m.content | replace('\\n', ' ') +"),
      "changes the text that it is given",
    ),
    (CHATML.replace("messages %}", "messages[-2:] %}"), "rewrites earlier turns"),
    ("{{ strftime_now('%d %B %Y') }}" + CHATML, "prints today's date"),
    ("{{ raise_exception('no chat') }}", "the chat template fails: no chat"),
    ("{% for m in messages %}", "not valid Jinja"),
    ("{{ messages.__class__.__mro__ }}" + CHATML, "the chat template fails"),
    (None, "has no chat template"),
    ([{"name": "tool_use", "template": CHATML}], r"names \['tool_use'\]"),
  ],
)
def test_a_template_that_cannot_be_used_says_what_to_do(template, said, tmp_path):
  make, tokens, named = checkpoints.PUBLISHED["qwen2.5"]
  checkpoints.write(tmp_path, make(**tokens), template, **named)
  with pytest.raises(ValueError, match=said) as error:
    read(tmp_path)
  assert "set agent.chat='chatml'" in str(error.value)


def test_without_another_format_the_template_is_to_be_changed(tmp_path):
  checkpoints.published(tmp_path, "mistral-nemo", template=PLAIN_WORDS)
  with pytest.raises(ValueError, match=r"the chat_template\.jinja of a copy"):
    read(tmp_path)


def test_where_a_template_may_lie(folders, tmp_path):
  expected = read(folders["qwen2.5"]).opening("S", "U")
  other = [{"name": "rag", "template": "x"}, {"name": "default", "template": CHATML}]
  checkpoints.published(tmp_path, "qwen2.5", template=other)
  assert read(tmp_path).opening("S", "U") == expected
  checkpoints.published(tmp_path, "qwen2.5", template="not this one")
  (tmp_path / "chat_template.jinja").write_text(CHATML)
  assert read(tmp_path).opening("S", "U") == expected


def test_marks_of_what_is_trained_print_nothing(folders, tmp_path):
  marked = CHATML.replace(
    "{{- '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>' + '\\n' }}",
    "{{- '<|im_start|>' + m.role + '\\n' }}{% generation %}{{ m.content }}"
    "{% endgeneration %}{{- '<|im_end|>' + '\\n' }}",
  )
  assert marked != CHATML
  checkpoints.published(tmp_path, "qwen2.5", template=marked)
  assert read(tmp_path).opening("S", "U") == read(folders["qwen2.5"]).opening("S", "U")


def test_special_tokens_may_be_named_in_a_file_of_their_own(folders, tmp_path):
  checkpoints.published(tmp_path, "gemma3")
  settings = json.loads((tmp_path / "tokenizer_config.json").read_text())
  named = {"bos_token": settings.pop("bos_token"), "eos_token": {"content": "<eos>"}}
  (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
  (tmp_path / "special_tokens_map.json").write_text(json.dumps(named))
  assert read(tmp_path).opening("S", "U") == read(folders["gemma3"]).opening("S", "U")
