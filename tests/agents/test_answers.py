import json

import pytest

from skilljax.agents.answers import RecordedAnswers
from skilljax.agents.endpoint import Endpoint, EndpointSettings
from tests.agents.stub_endpoint import completion, serve


def prompt(text):
  return [{"role": "user", "content": text}]


def numbered(number, record):
  """Another text for each call: what a sampled answer is."""
  if record["json"]["messages"][0]["content"] == "broken":
    return 200, b"no json", {}
  return 200, completion(f"answer {number}"), {}


@pytest.fixture
def stub():
  with serve(numbered) as found:
    yield found


def answers_of(stub, path, **settings):
  settings = EndpointSettings(url=stub[0], model="m", concurrency=1, **settings)
  return RecordedAnswers(Endpoint(settings), path)


def test_a_second_run_asks_nothing_and_reads_the_same(stub, tmp_path):
  path = tmp_path / "teacher.jsonl"
  asked = [prompt("a"), prompt("broken"), prompt("a")]
  first = answers_of(stub, path).ask(4, asked)
  assert [a.text for a in first] == ["answer 0", "", "answer 0"]
  assert first[1].error == "bad_json"
  assert len(stub[1]) == 2  # equal prompts of an update share an answer
  assert answers_of(stub, path).ask(4, asked) == first
  assert len(stub[1]) == 2
  (again,) = answers_of(stub, path).ask(5, [prompt("a")])
  assert again.text == "answer 2"
  assert [json.loads(line)["update"] for line in path.open()] == [4, 4, 5]


def test_a_line_that_a_kill_cut_off_is_asked_again(stub, tmp_path):
  path = tmp_path / "teacher.jsonl"
  answers_of(stub, path).ask(0, [prompt("a"), prompt("b")])
  whole = path.read_text()
  path.write_text(whole[:-9])
  texts = [a.text for a in answers_of(stub, path).ask(0, [prompt("a"), prompt("b")])]
  assert texts == ["answer 0", "answer 2"]
  assert [json.loads(line)["text"] for line in path.open()] == texts


def test_damage_in_the_middle_is_told(stub, tmp_path):
  path = tmp_path / "teacher.jsonl"
  path.write_text('{"update": 0}\n')
  with pytest.raises(ValueError, match=r"teacher.jsonl:1 is damaged"):
    answers_of(stub, path)


def test_the_budget_goes_on_where_it_was(stub, tmp_path):
  path = tmp_path / "teacher.jsonl"
  answers_of(stub, path, max_calls=3).ask(0, [prompt("a"), prompt("b")])
  texts = answers_of(stub, path, max_calls=3).ask(1, [prompt("a"), prompt("b")])
  assert [(a.text, a.error) for a in texts] == [("answer 2", ""), ("", "budget")]
