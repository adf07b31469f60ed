"""Append-only chat tokens: templates as id pieces, and the record of an episode.

A template is a set of id pieces that are only ever appended, so the ids of a longer
conversation start with the ids of the shorter one, and what was sampled is what is
trained. Nothing here renders a conversation twice.
Must not know about: prompts, parsers, environments, engines.
"""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from skilljax.data import tokenizer as tokenizer_lib
from skilljax.data.tokenizer import Tokenizer
from skilljax.types import Role


@dataclasses.dataclass(frozen=True)
class Gap:
  """What stands before a text: control ids, then words that are tokenised with it.

  Attributes:
    ids: of what cannot be typed, only sampled or put here.
    lead: put in front of the text.
    clean: what the template does to the text itself: `str` nothing, `str.strip`, ….
  """

  ids: tuple[int, ...]
  lead: str = ""
  clean: Callable[[str], str] = str


@dataclasses.dataclass(frozen=True)
class ChatFormat:
  """Token ids between the texts of a conversation. Build it with one of the constructors.

  Attributes:
    tokenizer: reads content as untrusted text, so content cannot open or close a turn.
    before_system, before_user: of the opening. Without ids before the user's text, both
      texts are one turn.
    before_reply: closes a user turn and opens the policy's.
    after_reply: between the policy's end token and the next user text.
    end_id: the token with which the policy closes its turn.
    stop_ids: sampling any of these ends a response; `end_id` is the first.
  """

  tokenizer: Tokenizer
  before_system: Gap
  before_user: Gap
  before_reply: Gap
  after_reply: Gap
  end_id: int
  stop_ids: tuple[int, ...]

  def opening(self, system: str, user: str) -> list[int]:
    """Ids of a new conversation, up to where the policy speaks."""
    return self._ids(
      (self.before_system, system), (self.before_user, user), (self.before_reply, "")
    )

  def following(self, text: str, *, closed: bool) -> list[int]:
    """Ids between a response and the next: a user turn, and the opening of the policy's.

    Args:
      text: what the environment answered, or a review prompt.
      closed: the response ended with a sampled stop token. If not (length limit), the
        end token is added here, as context: the policy did not sample it.
    """
    end = [] if closed else [self.end_id]
    return end + self._ids((self.after_reply, text), (self.before_reply, ""))

  def _ids(self, *turns: tuple[Gap, str]) -> list[int]:
    """Ids of texts, each behind its gap; texts without ids between them are one."""
    ids: list[int] = []
    text = ""
    for gap, content in turns:
      if gap.ids:
        ids += [*self.tokenizer.encode(text), *gap.ids]
        text = ""
      text += gap.lead + gap.clean(content)
    return ids + self.tokenizer.encode(text)


def compact(tokenizer: Tokenizer) -> ChatFormat:
  """`<|system|>…<|user|>…<|assistant|>…<|end|>`: one control token a turn."""
  end = tokenizer.token_id(tokenizer_lib.END_TOKEN)
  user = Gap((tokenizer.token_id(tokenizer_lib.USER_TOKEN),))
  return ChatFormat(
    tokenizer=tokenizer,
    before_system=Gap((tokenizer.token_id(tokenizer_lib.SYSTEM_TOKEN),)),
    before_user=user,
    before_reply=Gap((tokenizer.token_id(tokenizer_lib.ASSISTANT_TOKEN),)),
    after_reply=user,
    end_id=end,
    stop_ids=(end,),
  )


def chatml(tokenizer: Tokenizer) -> ChatFormat:
  """The template of Qwen2, Qwen2.5 and Qwen3.

  Unlike the Qwen3 template it never removes earlier thinking: that would rewrite the
  prefix that was sampled. An empty system text stays empty (Qwen2.5 puts its default).
  """
  start, end = tokenizer.token_id("<|im_start|>"), tokenizer.token_id("<|im_end|>")
  newline = tokenizer.encode("\n")
  return ChatFormat(
    tokenizer=tokenizer,
    before_system=Gap((start,), "system\n"),
    before_user=Gap((end, *newline, start), "user\n"),
    before_reply=Gap((end, *newline, start), "assistant\n"),
    after_reply=Gap((*newline, start), "user\n"),
    end_id=end,
    stop_ids=(end, *_known(tokenizer, "<|endoftext|>")),
  )


def llama3(tokenizer: Tokenizer) -> ChatFormat:
  """The template of Llama 3; without the dates that 3.1 adds to the system turn."""
  begin, end = tokenizer.token_id("<|begin_of_text|>"), tokenizer.token_id("<|eot_id|>")

  def gap(before: int | None, role: str) -> Gap:
    ids = (
      *(() if before is None else (before,)),
      tokenizer.token_id("<|start_header_id|>"),
      *tokenizer.encode(role),
      tokenizer.token_id("<|end_header_id|>"),
    )
    return Gap(ids, "\n\n", str.strip)

  return ChatFormat(
    tokenizer=tokenizer,
    before_system=gap(begin, "system"),
    before_user=gap(end, "user"),
    before_reply=gap(end, "assistant"),
    after_reply=gap(None, "user"),
    end_id=end,
    stop_ids=(end, *_known(tokenizer, "<|end_of_text|>", "<|eom_id|>")),
  )


def _known(tokenizer: Tokenizer, *names: str) -> tuple[int, ...]:
  return tuple(tokenizer.token_id(name) for name in names if tokenizer.has_token(name))


_COLUMNS = {
  "tokens": np.int32,
  "loss_mask": np.bool_,
  "role": np.int8,
  "turn_index": np.int16,
  "behavior_logprobs": np.float32,
  "sampled_logprobs": np.float32,
}


class Transcript:
  """The growing per-token record of one episode. Tokens are appended, never changed.

  The mask is decided here, when a token is appended, and nowhere else: True exactly for
  tokens that the policy sampled. Field meanings: `skilljax.types.Trajectory`.
  """

  def __init__(self):
    self._columns = {name: np.zeros(256, dtype) for name, dtype in _COLUMNS.items()}
    self._length = 0
    self._num_responses = 0

  def __len__(self) -> int:
    return self._length

  def add_context(self, ids: Sequence[int]) -> tuple[int, int]:
    """Appends tokens that were not sampled; returns their span (start, stop)."""
    return self._append(ids, False, Role.NONE, -1, 0.0, 0.0)

  def add_response(
    self,
    ids: Sequence[int],
    behavior_logprobs: Sequence[float],
    sampled_logprobs: Sequence[float],
    role: Role,
  ) -> tuple[int, int]:
    """Appends one sampled response, stop token included; returns its span.

    Args:
      ids: [n] int, sampled tokens.
      behavior_logprobs, sampled_logprobs: [n] float, one for each token.
      role: anything but `Role.NONE`.
    Raises:
      ValueError: lengths differ, or the role is NONE.
    """
    if role == Role.NONE:
      raise ValueError("role=Role.NONE marks context; a response needs another role")
    for name, values in (
      ("behavior_logprobs", behavior_logprobs),
      ("sampled_logprobs", sampled_logprobs),
    ):
      if len(values) != len(ids):
        raise ValueError(f"{name} has {len(values)} values for {len(ids)} sampled tokens")
    turn = self._num_responses
    self._num_responses += 1
    return self._append(ids, True, role, turn, behavior_logprobs, sampled_logprobs)

  def arrays(self) -> dict[str, np.ndarray]:
    """Copies of the per-token fields of `Trajectory`, each [T], by field name."""
    return {name: column[: self._length].copy() for name, column in self._columns.items()}

  def _append(self, ids: Sequence[int], *values) -> tuple[int, int]:
    start, stop = self._length, self._length + len(ids)
    capacity = len(self._columns["tokens"])
    if stop > capacity:
      for name, column in self._columns.items():
        # Doubling keeps appending linear over an episode.
        self._columns[name] = np.resize(column, max(stop, 2 * capacity))
    for (_, column), value in zip(self._columns.items(), (ids, *values), strict=True):
      column[start:stop] = value
    self._length = stop
    return start, stop
