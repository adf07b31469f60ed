import threading
import time

import pytest

from skilljax.agents.endpoint import (
  Answer,
  Endpoint,
  EndpointError,
  EndpointSettings,
  read_completion,
)
from tests.agents.stub_endpoint import completion, serve

KEY = "sk-very-secret-123456"


def prompt(text="hello"):
  return [{"role": "user", "content": text}]


def ask(reply, prompts=None, *, waits=None, **settings):
  """(answers, requests) of one call to a stub; waits are noted, not waited."""
  with serve(reply) as (url, requests):
    endpoint = Endpoint(
      EndpointSettings(url=url, model="m", **settings),
      sleep=(waits if waits is not None else []).append,
    )
    return endpoint.ask(prompts or [prompt()]), requests


def ok(text="yes"):
  return lambda number, record: (200, completion(text), {})


def test_one_answer_a_prompt_in_order(monkeypatch):
  monkeypatch.setenv("STUB_KEY", f" {KEY}\n")

  def echo(number, record):
    said = record["json"]["messages"][0]["content"]
    time.sleep(0.05 if said == "p0" else 0.0)  # the first comes last
    return 200, completion(said.upper()), {}

  prompts = [prompt(f"p{i}") for i in range(5)]
  answers, requests = ask(echo, prompts, key_variable="STUB_KEY", max_tokens=7)
  assert answers == [Answer(f"P{i}", "", 1) for i in range(5)]
  assert {r["path"] for r in requests} == {"/v1/chat/completions"}
  assert {r["headers"]["Authorization"] for r in requests} == {f"Bearer {KEY}"}
  body = requests[0]["json"]
  assert (body["model"], body["max_tokens"], body["temperature"]) == ("m", 7, 0.0)


def test_later_statuses_are_asked_again_with_growing_waits():
  busy = [(500, b"", {}), (502, b"", {}), (429, b"", {"Retry-After": "9"})]
  replies = [*busy, (200, completion("x"), {})]
  waits = []
  answers, _ = ask(lambda n, r: replies[n], waits=waits, backoff_s=2.0)
  assert answers == [Answer("x", "", 4)]
  assert waits == [2.0, 4.0, 9.0]


def test_a_lost_connection_is_asked_again():
  answers, _ = ask(lambda n, r: None if n == 0 else (200, completion("x"), {}))
  assert answers == [Answer("x", "", 2)]


def test_retries_and_waits_have_an_end():
  waits = []
  answers, requests = ask(
    lambda n, r: (503, b"", {"Retry-After": "9999"}), waits=waits, max_retries=2
  )
  assert answers == [Answer("", "status 503", 3)]
  assert len(requests) == 3 and waits == [60.0, 60.0]


def test_a_server_that_hangs_is_left():
  release = threading.Event()

  def hang(number, record):
    release.wait(5)
    return 200, completion("late"), {}

  with serve(hang) as (url, _):
    settings = EndpointSettings(url=url, model="m", timeout_s=0.1, max_retries=0)
    begin = time.monotonic()
    (answer,) = Endpoint(settings).ask([prompt()])
    assert time.monotonic() - begin < 4
    release.set()
  assert answer == Answer("", "connection: TimeoutError", 1)


@pytest.mark.parametrize(
  ("body", "error"),
  [
    (b"<html>busy</html>", "bad_json"),
    (b"\xff\xfe", "bad_json"),
    (b"[" * 100_000, "bad_json"),
    (b"[]", "wrong_schema"),
    (b"7", "wrong_schema"),
    (b'{"choices": []}', "wrong_schema"),
    (b'{"choices": [{"message": {"content": null}}]}', "wrong_schema"),
    (b'{"choices": [{"message": {"content": ["a"]}}]}', "wrong_schema"),
    (b'{"choices": [{"text": "old api"}]}', "wrong_schema"),
  ],
)
def test_an_answer_that_cannot_be_read_is_not_paid_for_twice(body, error):
  assert read_completion(body) == ("", error)
  answers, requests = ask(lambda n, r: (200, body, {}))
  assert answers == [Answer("", error, 1)] and len(requests) == 1


def test_a_huge_answer_is_not_read():
  answers, requests = ask(
    lambda n, r: (200, b"x" * 300_000, {}), max_response_bytes=100_000
  )
  assert answers == [Answer("", "too_large", 1)] and len(requests) == 1


def test_calls_have_a_budget_and_it_counts_retries():
  with serve(lambda n, r: (500, b"", {})) as (url, requests):
    settings = EndpointSettings(
      url=url, model="m", max_calls=5, max_retries=2, concurrency=1
    )
    endpoint = Endpoint(settings, sleep=lambda seconds: None)
    endpoint.count(1)
    answers = endpoint.ask([prompt("a"), prompt("b")])
  assert len(requests) == 4
  assert [a.calls for a in answers] == [3, 1]
  assert answers[1].error == "status 500"
  assert endpoint.ask([prompt("c")]) == [Answer("", "budget", 0)]


def test_no_more_calls_at_once_than_allowed():
  open_now, most, lock = [0], [0], threading.Lock()

  def slow(number, record):
    with lock:
      open_now[0] += 1
      most[0] = max(most[0], open_now[0])
    time.sleep(0.03)
    with lock:
      open_now[0] -= 1
    return 200, completion("x"), {}

  ask(slow, [prompt(str(i)) for i in range(8)], concurrency=2)
  assert most[0] == 2


@pytest.mark.parametrize("status", [301, 400, 401, 404])
def test_a_mistake_of_the_config_raises_and_never_shows_the_key(status, monkeypatch):
  monkeypatch.setenv("STUB_KEY", KEY)
  body = f"bad key: Bearer {KEY}".encode()
  reply = (status, body, {"Location": "http://127.0.0.1:1/"})
  with pytest.raises(
    EndpointError, match=f"status {status}.*proposer.endpoint"
  ) as caught:
    ask(lambda n, r: reply, key_variable="STUB_KEY")
  assert KEY not in str(caught.value) and KEY[:8] not in str(caught.value)


@pytest.mark.parametrize("value", ["", "two words", "schlüssel", "a\x00b"])
def test_a_key_that_cannot_be_sent(value, monkeypatch):
  settings = EndpointSettings(url="http://h/v1", model="m", key_variable="STUB_KEY")
  monkeypatch.delenv("STUB_KEY", raising=False)
  if "\x00" not in value:
    monkeypatch.setenv("STUB_KEY", value)
  with pytest.raises(EndpointError, match="STUB_KEY") as caught:
    Endpoint(settings)
  assert not value.strip() or value not in str(caught.value)


@pytest.mark.parametrize(
  ("settings", "message"),
  [
    ({"url": "localhost:8000"}, r"url='localhost:8000' must look like"),
    ({"url": "ftp://h/v1"}, "must look like"),
    ({"url": "https://me:pw@h/v1"}, "must not hold a password"),
    ({"timeout_s": 0.0}, r"timeout_s=0.0 must be >= .*proposer\.endpoint\.timeout_s"),
    ({"max_retries": -1}, "max_retries=-1 must be >= 0"),
    ({"concurrency": 0}, "concurrency=0 must be >= 1"),
    ({"temperature": float("nan")}, "temperature=nan"),
  ],
)
def test_settings_are_checked(settings, message):
  with pytest.raises(ValueError, match=message) as caught:
    EndpointSettings(**{"url": "http://h/v1", "model": "m", **settings})
  assert "pw" not in str(caught.value).replace("password", "")
