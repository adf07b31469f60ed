"""A frozen model behind an OpenAI-compatible endpoint: chat completions, one answer each.

Purpose: messages in, texts out, within a time-out, a number of calls and a size. What
comes back is untrusted text. An answer that cannot be had is an answer with an error;
only a mistake of the config (wrong address, key or model) raises.
Must not know about: skills, prompts, files.

Redirects are not followed and proxies not used, so that the key reaches one host only.
"""

import concurrent.futures
import dataclasses
import http.client
import json
import os
import threading
import time
import urllib.parse
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from skilljax.config import ConfigError

Messages = Sequence[Mapping[str, str]]

_CHUNK_BYTES = 65_536
_MAX_WAIT_S = 60.0
# These say that asking later may help; every other status is a mistake of the config.
_LATER = frozenset({408, 409, 425, 429})


class EndpointError(ConfigError):
  """The endpoint cannot be used with this config. Never contains the key."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class EndpointSettings:
  """Config section `proposer.endpoint`.

  Attributes:
    url: base address, for example 'http://localhost:8000/v1'.
    model: as the endpoint calls it.
    key_variable: environment variable that holds the API key; '' sends none.
    timeout_s: longest time for one call, in seconds.
    max_retries: further calls after a status 429 or 5xx, or a lost connection.
    backoff_s: wait before the first retry; it doubles, up to a minute.
    concurrency: calls at the same time.
    max_calls: budget of a whole run, retries included; what is beyond it is not asked.
    max_tokens: longest answer, in tokens.
    max_response_bytes: longest body that is read.
    temperature: of the sampler; 0 is greedy.
  """

  url: str
  model: str
  key_variable: str = ""
  timeout_s: float = 120.0
  max_retries: int = 4
  backoff_s: float = 1.0
  concurrency: int = 4
  max_calls: int = 1000
  max_tokens: int = 512
  max_response_bytes: int = 1_000_000
  temperature: float = 0.0

  def __post_init__(self):
    parts = urllib.parse.urlsplit(self.url)
    try:
      usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:  # a port that is no number, or too large
      usable = False
    if not usable or parts.query or parts.fragment:
      raise ValueError(
        f"url={self.url!r} must look like 'https://host/v1' (config key "
        "proposer.endpoint.url)"
      )
    if not self.model:
      raise ValueError("model must be named (config key proposer.endpoint.model)")
    if not self.timeout_s < float("inf"):
      raise ValueError(
        f"timeout_s={self.timeout_s} must be finite (config key "
        "proposer.endpoint.timeout_s)"
      )
    if parts.username or parts.password:
      raise ValueError(
        "url must not hold a password; name an environment variable instead (config "
        "key proposer.endpoint.key_variable)"
      )
    lows = {"max_retries": 0, "temperature": 0.0, "backoff_s": 0.0}
    ones = ("concurrency", "max_calls", "max_tokens", "max_response_bytes")
    for name, low in {**lows, **dict.fromkeys(ones, 1), "timeout_s": 0.001}.items():
      value = self.__dict__[name]
      if not value >= low:
        raise ValueError(
          f"{name}={value} must be >= {low} (config key proposer.endpoint.{name})"
        )


@dataclasses.dataclass(frozen=True)
class Answer:
  """One answer: its text, or why there is none; `calls` is what it cost."""

  text: str
  error: str = ""
  calls: int = 0


class Endpoint:
  """Asks; safe to use from one thread at a time. Counts its calls."""

  def __init__(
    self, settings: EndpointSettings, *, sleep: Callable[[float], None] = time.sleep
  ):
    """Reads the key.

    Raises:
      EndpointError: the environment variable is not set, or holds no key.
    """
    self.settings = settings
    self._sleep = sleep
    self._lock = threading.Lock()
    self._calls = 0
    self._headers = {"Content-Type": "application/json"}
    if settings.key_variable:
      self._headers["Authorization"] = f"Bearer {_read_key(settings.key_variable)}"

  def count(self, calls: int) -> None:
    """Adds calls of an earlier part of the run to the budget."""
    with self._lock:
      self._calls += calls

  def ask(
    self,
    prompts: Sequence[Messages],
    *,
    on_answer: Callable[[int, Answer], None] = lambda index, answer: None,
  ) -> list[Answer]:
    """One answer a prompt, in order.

    Args:
      prompts: messages with 'role' and 'content'.
      on_answer: called with each answer as it comes, in any order, one at a time.
    Raises:
      EndpointError: the endpoint refuses this config: status 400, 401, 404, …
    """
    answers: list[Answer] = [Answer("")] * len(prompts)
    with concurrent.futures.ThreadPoolExecutor(self.settings.concurrency) as pool:
      asked = {pool.submit(self._answer, p): i for i, p in enumerate(prompts)}
      try:
        for future in concurrent.futures.as_completed(asked):
          answers[asked[future]] = future.result()
          on_answer(asked[future], future.result())
      except EndpointError:
        pool.shutdown(cancel_futures=True)
        raise
    return answers

  def _answer(self, messages: Messages) -> Answer:
    settings, error = self.settings, "budget"
    body = json.dumps(
      {
        "model": settings.model,
        "messages": [dict(message) for message in messages],
        "max_tokens": settings.max_tokens,
        "temperature": settings.temperature,
      }
    ).encode()
    wait = settings.backoff_s
    for call in range(settings.max_retries + 1):
      if not self._take():
        return Answer("", error, call)
      try:
        status, asked_wait, data = self._post(body)
      except _TooMuch as reason:
        return Answer("", str(reason), call + 1)
      except (OSError, http.client.HTTPException) as reason:
        status, asked_wait, error = 0, 0.0, f"connection: {type(reason).__name__}"
      if status == 200:
        text, error = read_completion(data)
        return Answer(text, error, call + 1)
      if status and status < 500 and status not in _LATER:
        raise self._refused(status, data)
      error = f"status {status}" if status else error
      if call < settings.max_retries:
        self._sleep(min(max(wait, asked_wait), _MAX_WAIT_S))
        wait *= 2
    return Answer("", error, settings.max_retries + 1)

  def _take(self) -> bool:
    """True if the budget has another call."""
    with self._lock:
      left = self._calls < self.settings.max_calls
      self._calls += left
      return left

  def _post(self, body: bytes) -> tuple[int, float, bytes]:
    """(status, seconds the server asks to wait, body) of one call."""
    settings, deadline = self.settings, time.monotonic() + self.settings.timeout_s
    parts = urllib.parse.urlsplit(settings.url)
    secure = parts.scheme == "https"
    kind = http.client.HTTPSConnection if secure else http.client.HTTPConnection
    connection = kind(parts.hostname or "", parts.port, timeout=settings.timeout_s)
    try:
      path = f"{parts.path.rstrip('/')}/chat/completions"
      connection.request("POST", path, body, self._headers)
      response = connection.getresponse()
      data = bytearray()
      # A time-out of the socket starts anew with every byte, so a slow drip needs this.
      while chunk := response.read1(_CHUNK_BYTES):
        data += chunk
        if len(data) > settings.max_response_bytes:
          raise _TooMuch("too_large")
        if time.monotonic() > deadline:
          raise TimeoutError
      return response.status, _seconds(response.getheader("Retry-After")), bytes(data)
    finally:
      connection.close()

  def _refused(self, status: int, data: bytes) -> EndpointError:
    # The answer may repeat the request's headers, and this text reaches a log.
    said = ascii(data[:200].decode("utf-8", "replace"))
    for key in filter(None, [self._headers.get("Authorization", "")[7:]]):
      said = "(not shown: it repeats the key)" if key[:8] in said else said
    settings = self.settings
    return EndpointError(
      f"{settings.url} answers model {settings.model!r} with status {status}: {said}; "
      "check config keys proposer.endpoint.url, .model and .key_variable"
    )


class _TooMuch(Exception):
  """The body is longer than what is read; never leaves this file."""


def read_completion(data: bytes) -> tuple[str, str]:
  """(text, '') of a chat completion, or ('', why there is none). Total."""
  try:
    record: Any = json.loads(data)
  except (ValueError, RecursionError):
    return "", "bad_json"
  try:
    text = record["choices"][0]["message"]["content"]
  except (KeyError, IndexError, TypeError):
    return "", "wrong_schema"
  return (text, "") if isinstance(text, str) else ("", "wrong_schema")


def _read_key(variable: str) -> str:
  key = os.environ.get(variable, "").strip()
  fix = f"environment variable {variable} (config key proposer.endpoint.key_variable)"
  if not key:
    raise EndpointError(f"{fix} is not set; export it, or set the config key to ''")
  # http.client would print a header that it cannot send.
  if not (key.isascii() and key.isprintable() and " " not in key):
    raise EndpointError(f"{fix} holds characters that no header can carry")
  return key


def _seconds(text: str | None) -> float:
  """Retry-After in seconds; 0 where it is absent or a date."""
  return float(text) if text and text.isdecimal() and text.isascii() else 0.0
