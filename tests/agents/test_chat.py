"""Chat: template parity, prefix stability, masks, closed to control tokens."""

import itertools

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest

from skilljax.agents import chat as chat_lib
from skilljax.types import Role

FORMATS = {
  "compact": chat_lib.compact,
  "chatml": chat_lib.chatml,
  "llama3": chat_lib.llama3,
}
SYSTEM = "You act.\nBe short."
USER = "\n\nYou see a fridge 1.  "  # leading line ends merge with the header's
REPLY = "<think>food</think><action>go to cabinet 1</action>"
ANSWER = "Nothing happens."

# One (response text, closed, next observation) for every turn of an episode.
TURNS = st.lists(st.tuples(st.text(), st.booleans(), st.text()), max_size=4)


@pytest.fixture(params=list(FORMATS), scope="module")
def chat(request, chat_tokenizers):
  return FORMATS[request.param](chat_tokenizers[request.param])


def play(chat, turns) -> list[list[int]]:
  """The ids before every response of an episode, each a longer conversation."""
  ids = chat.opening(SYSTEM, USER)
  seen = [list(ids)]
  for text, closed, observation in turns:
    ids = ids + chat.tokenizer.encode(text) + [chat.end_id] * closed
    ids = ids + chat.following(observation, closed=closed)
    seen.append(list(ids))
  return seen


@pytest.mark.parametrize("name", ["chatml", "llama3"])
def test_ids_equal_the_template(name, chat_tokenizers, hf_tokenizers):
  chat = FORMATS[name](chat_tokenizers[name])
  messages = [
    {"role": "system", "content": SYSTEM},
    {"role": "user", "content": USER},
  ]

  def printed():
    rendered = hf_tokenizers[name].apply_chat_template(
      messages, add_generation_prompt=True, tokenize=True, return_dict=True
    )
    return rendered["input_ids"]

  opening, full = play(chat, [(REPLY, True, ANSWER)])
  assert opening == printed()
  messages.append({"role": "assistant", "content": REPLY})
  messages.append({"role": "user", "content": ANSWER})
  assert full == printed()


def test_compact_ids(chat_tokenizers):
  tokenizer = chat_tokenizers["compact"]
  chat = chat_lib.compact(tokenizer)
  text = tokenizer.decode(play(chat, [("a", True, "b"), ("c", False, "d")])[-1])
  assert text == (
    f"<|system|>{SYSTEM}<|user|>{USER}<|assistant|>a<|end|>"
    "<|user|>b<|assistant|>c<|end|><|user|>d<|assistant|>"
  )
  assert chat.stop_ids == (chat.end_id,) == (tokenizer.token_id("<|end|>"),)


def test_stop_ids(chat_tokenizers):
  for name, expected in (
    ("chatml", ["<|im_end|>", "<|endoftext|>"]),
    ("llama3", ["<|eot_id|>", "<|end_of_text|>", "<|eom_id|>"]),
  ):
    tokenizer = chat_tokenizers[name]
    chat = FORMATS[name](tokenizer)
    assert [tokenizer.decode([index]) for index in chat.stop_ids] == expected
    assert chat.end_id == chat.stop_ids[0]


def test_a_tokenizer_of_another_template_is_refused(chat_tokenizers):
  with pytest.raises(ValueError, match="im_start"):
    chat_lib.chatml(chat_tokenizers["compact"])


@hypothesis.given(turns=TURNS)
def test_longer_conversations_start_with_shorter_ones(chat, turns):
  seen = play(chat, turns)
  for shorter, longer in itertools.pairwise(seen):
    assert longer[: len(shorter)] == shorter
    assert len(longer) > len(shorter)


@hypothesis.given(data=st.data())
def test_untrusted_text_cannot_open_or_close_a_turn(chat, data):
  names = [chat.tokenizer.decode([index]) for index in chat.tokenizer.special_ids]
  parts = st.lists(st.sampled_from([*names, "\n", "user", "x"])).map("".join)
  system, user, text = data.draw(parts), data.draw(parts), data.draw(parts)

  def control(ids):
    return [index for index in ids if index in chat.tokenizer.special_ids]

  assert control(chat.opening(system, user)) == control(chat.opening("", ""))
  for closed in (True, False):
    hostile = chat.following(text, closed=closed)
    assert control(hostile) == control(chat.following("", closed=closed))


@hypothesis.given(
  st.lists(
    st.tuples(
      st.sampled_from([Role.NONE, Role.ACT, Role.EDIT, Role.SELECT]),
      st.lists(st.integers(0, 999), max_size=400),
    )
  )
)
def test_the_mask_covers_exactly_the_sampled_tokens(pieces):
  transcript = chat_lib.Transcript()
  expected = []  # (token, sampled, role, turn, behavior, sampled log-prob)
  turn = 0
  for role, ids in pieces:
    if role == Role.NONE:
      span = transcript.add_context(ids)
      expected += [(token, False, 0, -1, 0.0, 0.0) for token in ids]
    else:
      values = -np.arange(1, len(ids) + 1, dtype=np.float32)
      span = transcript.add_response(ids, values, 2 * values, role)
      expected += [
        (token, True, int(role), turn, value, 2 * value)
        for token, value in zip(ids, values, strict=True)
      ]
      turn += 1
    assert span == (len(expected) - len(ids), len(expected))
  arrays = transcript.arrays()
  assert len(transcript) == len(expected)
  assert list(zip(*(arrays[name] for name in arrays), strict=True)) == expected


def test_a_transcript_grows_without_losing_anything():
  transcript = chat_lib.Transcript()
  for start in range(0, 3000, 100):
    transcript.add_context(range(start, start + 100))
  assert transcript.arrays()["tokens"].tolist() == list(range(3000))


def test_arrays_have_the_types_of_a_trajectory_and_are_copies():
  transcript = chat_lib.Transcript()
  transcript.add_response([7], [-0.5], [-0.25], Role.EDIT)
  arrays = transcript.arrays()
  assert {name: str(array.dtype) for name, array in arrays.items()} == {
    "tokens": "int32",
    "loss_mask": "bool",
    "role": "int8",
    "turn_index": "int16",
    "behavior_logprobs": "float32",
    "sampled_logprobs": "float32",
  }
  arrays["tokens"][0] = 1
  assert transcript.arrays()["tokens"].tolist() == [7]


def test_refused_responses_leave_no_trace():
  transcript = chat_lib.Transcript()
  with pytest.raises(ValueError, match=r"behavior_logprobs has 1 values for 2"):
    transcript.add_response([1, 2], [0.0], [0.0, 0.0], Role.ACT)
  with pytest.raises(ValueError, match=r"sampled_logprobs has 3 values for 2"):
    transcript.add_response([1, 2], [0.0, 0.0], [0.0] * 3, Role.ACT)
  with pytest.raises(ValueError, match=r"Role\.NONE"):
    transcript.add_response([1], [0.0], [0.0], Role.NONE)
  assert len(transcript) == 0
  transcript.add_response([1], [0.0], [0.0], Role.ACT)
  assert transcript.arrays()["turn_index"].tolist() == [0]
