"""The two forms in which every scripted player answers, and the mark of a review.

Must not know about: any world, prompts beyond the mark, the strict parser (a test of each
player holds its replies against that).
"""

import json
from collections.abc import Mapping

REVIEW_MARK = "Review the episode"


def act_reply(thought: str, action: str) -> str:
  """A task turn: one think block, one command."""
  return f"<think>{thought}</think><action>{action}</action>"


def call_reply(thought: str, name: str, arguments: Mapping[str, str]) -> str:
  """A review turn: one think block, one tool call."""
  call = json.dumps({"name": name, "arguments": arguments})
  return f"<think>{thought}</think><tool_call>{call}</tool_call>"


def keep_reply() -> str:
  """The review that leaves the skills as they are."""
  return call_reply("nothing new", "keep_skill", {"reason": "nothing new."})
