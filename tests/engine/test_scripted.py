import numpy as np
import pytest

from skilljax.engine import base, scripted


class Letters:
  """One id per character; '|' is a special token like any other."""

  def encode(self, text):
    return [ord(letter) for letter in text]

  def decode(self, ids):
    return "".join(chr(token) for token in ids)


class Echo:
  """Answers its name, its turn and what it was sent."""

  def __init__(self, name):
    self.name = name
    self.turn = 0

  def reply(self, context_text):
    self.turn += 1
    return f"{self.name}{self.turn}:{context_text}"


def build(num_slots=2):
  return scripted.ScriptedEngine(Echo, Letters(), num_slots, stop_id=0)


def request(sequence, text, max_new=100):
  tokens = np.asarray(Letters().encode(text), np.int32)
  return base.GenerateRequest(sequence, tokens, max_new, (1, 2))


def text_of(result):
  return Letters().decode(result.tokens.tolist())


def test_each_sequence_has_an_agent_that_sees_only_what_is_new():
  engine = build()
  engine.submit(request("a", "x|"))
  engine.submit(request("b", "y"))
  first = engine.step()
  assert [text_of(result) for result in first] == ["a1:x|\0", "b1:y\0"]
  assert {result.finish for result in first} == {"stop"}
  assert engine.step() == []
  engine.submit(request("a", "z"))
  (second,) = engine.step()
  assert text_of(second) == "a2:z\0"
  assert second.tokens.dtype == np.int32
  assert second.behavior_logprobs.tolist() == [0.0] * 5
  assert second.sampled_logprobs.dtype == np.float32


def test_long_replies_are_cut():
  engine = build()
  engine.submit(request("a", "x", max_new=4))  # 'a1:x' and then the stop token
  engine.submit(request("b", "y", max_new=5))
  cut, whole = engine.step()
  assert (text_of(cut), cut.finish) == ("a1:x", "length")
  assert (text_of(whole), whole.finish) == ("b1:y\0", "stop")


def test_slots():
  engine = build(num_slots=1)
  assert engine.num_free == 1
  engine.submit(request("a", "x"))
  assert engine.num_free == 0
  with pytest.raises(RuntimeError, match=r"engine\.num_slots"):
    engine.submit(request("b", "x"))
  with pytest.raises(ValueError, match="running request"):
    engine.submit(request("a", "x"))
  engine.release("a")
  assert engine.step() == []
  engine.submit(request("a", "x"))
  assert text_of(engine.step()[0]) == "a1:x\0"  # a new agent
  with pytest.raises(ValueError, match="'c' is not open"):
    engine.release("c")


def test_publish():
  engine = build()
  assert engine.policy_version == -1
  engine.publish(None, 4)
  assert engine.policy_version == 4
  engine.submit(request("a", "x"))
  with pytest.raises(RuntimeError, match="1 open sequences"):
    engine.publish(None, 5)


def test_needs_a_slot():
  with pytest.raises(ValueError, match=r"engine\.num_slots must be >= 1, got 0"):
    build(num_slots=0)


def test_the_context_limit_cuts_a_reply_and_counts_over_turns():
  engine = scripted.ScriptedEngine(Echo, Letters(), 1, stop_id=0, max_len=9)
  engine.submit(request("a", "x"))  # 1 token, then 'a1:x\0': 6 of 9
  assert engine.step()[0].finish == "stop"
  engine.submit(request("a", "z"))  # 7 of 9; 'a2:z\0' has room for two
  (cut,) = engine.step()
  assert (text_of(cut), cut.finish) == ("a2", "full")
