"""Parsers: every rejection by name, totality, and the inverse."""

import json

import hypothesis
import hypothesis.strategies as st
import pytest

from skilljax.agents import parse
from skilljax.types import Edit

CATEGORIES = ("heat", "general")
PROPOSAL = Edit(
  kind="propose",
  category="heat",
  title="Food place",
  principle="Food is kept in cabinet 1.",
  when_to_apply="A task needs food.",
  reason="Found it there.",
)


def act(action: str, think: str = "t") -> str:
  return f"<think>{think}</think><action>{action}</action>"


def call(body: str) -> str:
  return f"<think>t</think><tool_call>{body}</tool_call>"


def keep(**arguments) -> str:
  return call(json.dumps({"name": "keep_skill", "arguments": arguments}))


def propose(**changes) -> str:
  arguments = {
    "category": "heat",
    "title": "Food place",
    "principle": "Food is kept in cabinet 1.",
    "when_to_apply": "A task needs food.",
    "evidence": "Found it there.",
  }
  arguments.update(changes)
  return call(json.dumps({"name": "propose_skill", "arguments": arguments}))


def test_an_action_is_stripped_lowered_and_folded():
  text = " <think>look\nthere</think>\n\n<action>  Go  TO\n cabinet 1 </action>\n"
  assert parse.parse_action(text) == parse.ParsedAction(
    "go to cabinet 1", "", "look\nthere"
  )
  assert parse.parse_action(act("click[< Prev]")).action == "click[< prev]"


ACTION_CASES = {
  "no_think": [
    "",
    "go to cabinet 1",
    "<action>go</action>",
    "</think><action>a</action>",
  ],
  "text_before_think": ["so " + act("go"), "<action>a</action><think>t</think>"],
  "unclosed_think": ["<think>", "<think>t<action>go</action>"],
  "several_thinks": [
    "<think>a</think>" + act("go"),
    "<think><think>a</think></think><action>go</action>",
    act("go") + "<think>b</think>",
    act("go") + "</think>",
  ],
  "tag_in_think": [
    act("go", think="<action>x</action>"),
    act("go", think="</tool_call>"),
  ],
  "text_between": ["<think>t</think>so<action>go</action>"],
  "no_action": ["<think>t</think>", "<think>t</think>go", call("{}")],
  "unclosed_action": ["<think>t</think><action>go", "<think>t</think><action>"],
  "several_actions": [
    act("go") + "<action>go</action>",
    act("<action>go</action>"),
    act("go") + "</action>",
    act("go") + "<action>",
  ],
  "tag_in_action": [act("<tool_call>go"), act("go</tool_call>")],
  "empty_action": [act(""), act(" \n\t")],
  "trailing_text": [act("go") + "done", act("go") + "."],
  "too_long": [act("g" * 257), act("go", think="t" * 20_000)],
  "control_token": [act("go", think="<|user|>"), act("go") + "<|im_end|>", "<|end|>"],
  "unprintable": [act("go\x00"), act("go \u202e"), act("go \ud800")],
}


@pytest.mark.parametrize("reason", ACTION_CASES)
def test_action_rejections(reason):
  for text in ACTION_CASES[reason]:
    assert parse.parse_action(text) == parse.ParsedAction("", reason), text


def test_every_action_rejection_is_documented():
  assert set(ACTION_CASES) == set(parse.ACTION_REJECTIONS)


def test_an_edit_of_each_tool():
  text = '{"arguments": {"reason": " all\\n fine "}, "name": "keep_skill"}'
  parsed = parse.parse_edit(f" <think>t</think> <tool_call>\n{text}\n</tool_call> ", ())
  assert parsed == parse.ParsedEdit(Edit(kind="keep", reason="all fine"), "", "t")
  assert parse.parse_edit(propose(), CATEGORIES).edit == PROPOSAL
  body = {
    "name": "update_skill",
    "arguments": {
      "skill_id": "s3",
      "title": "a title of it",
      "principle": "p.",
      "when_to_apply": "w",
      "reason": "r",
    },
  }
  assert parse.parse_edit(call(json.dumps(body)), CATEGORIES).edit == Edit(
    kind="update",
    skill_id="s3",
    title="a title of it",
    principle="p.",
    when_to_apply="w",
    reason="r",
  )


EDIT_CASES = {
  "too_long": [propose(title="t" * 1025), "x" * 20_000],
  "control_token": [propose(title="<|end|>"), propose().replace("Food", "\\u003c|end|>")],
  "no_think": ["", "<tool_call>{}</tool_call>"],
  "text_before_think": ["x" + keep(reason="r")],
  "unclosed_think": ["<think>t<tool_call>{}</tool_call>"],
  "several_thinks": [keep(reason="r") + "</think>"],
  "tag_in_think": ["<think><tool_call></think><tool_call>{}</tool_call>"],
  "text_between": ["<think>t</think>```<tool_call>{}</tool_call>"],
  "trailing_text": [keep(reason="r") + "```"],
  "unprintable": [
    propose(title="a\u0000b"),
    propose(title="\ud800"),
    keep(reason="\u202e"),
  ],
  "no_call": ["<think>t</think>", '<think>t</think>{"name": "keep_skill"}'],
  "unclosed_call": ["<think>t</think><tool_call>{}"],
  "several_calls": [
    keep(reason="r") + "<tool_call>{}</tool_call>",
    call("{}") + "<tool_call>",
  ],
  "tag_in_call": [keep(reason="<action>"), propose().replace("Food", "\\u003cthink>")],
  "action_in_review": [act("go"), "<action>go</action>"],
  "bad_json": [
    call(""),
    call("{'name': 1}"),
    call('{"name": "keep_skill",}'),
    call('{"name": "keep_skill"} {}'),
    call("[" * 5000),
    call('{"a": ' * 2000),
    call('{"name": ' + "9" * 5000 + "}"),
    call('{"name": "keep_skill", "arguments": {"reason": "a\nb"}}'),
  ],
  "duplicate_key": [
    call('{"name": "keep_skill", "name": "keep_skill", "arguments": {"reason": "r"}}'),
    call('{"name": "keep_skill", "arguments": {"reason": "r", "reason": "r"}}'),
  ],
  "not_finite": [call('{"name": NaN, "arguments": {}}'), call("-Infinity")],
  "not_an_object": [
    *(call("[]"), call('"keep_skill"'), call("3")),
    call('{"name": "keep_skill", "arguments": "{}"}'),
  ],
  "call_fields": [
    call("{}"),
    call('{"name": "keep_skill"}'),
    call('{"name": "keep_skill", "arguments": {}, "id": "1"}'),
    call('{"name": "keep_skill", "parameters": {}}'),
  ],
  "environment_tool": [
    call(json.dumps({"name": name, "arguments": {}}))
    for name in ("go to cabinet 1", "take_apple", "Open", "click[buy now]", "action")
  ],
  "unknown_tool": [
    call(json.dumps({"name": name, "arguments": {}}))
    for name in ("delete_skill", "Keep_skill", "", "goat", "retire_skill")
  ],
  "missing_field": [keep(), call('{"name": "propose_skill", "arguments": {}}')],
  "extra_field": [keep(reason="r", title="x"), propose(skill_id="s1")],
  "wrong_type": [
    *(keep(reason=3), keep(reason=None), keep(reason=["r"]), keep(reason=1e300)),
    call('{"name": 3, "arguments": {}}'),
  ],
  "empty_field": [keep(reason=""), propose(principle=" \n ")],
  "placeholder": [
    *(keep(reason="..."), keep(reason="…"), keep(reason="String"), keep(reason="N/A")),
    *(propose(title="<title>"), propose(title="title"), propose(title="[a title]")),
    *(propose(title="{title}"), propose(principle="--- !!"), propose(evidence="TODO")),
  ],
  "wrong_category": [propose(category="cool"), propose(category="Heat")],
}


@pytest.mark.parametrize("reason", EDIT_CASES)
def test_edit_rejections(reason):
  for text in EDIT_CASES[reason]:
    assert parse.parse_edit(text, CATEGORIES) == parse.ParsedEdit(None, reason), text


def test_every_edit_rejection_is_documented():
  assert set(EDIT_CASES) == set(parse.EDIT_REJECTIONS)


PARTS = st.sampled_from(
  [
    *("<think>", "</think>", "<action>", "</action>", "<tool_call>", "</tool_call>"),
    *('{"name": "keep_skill", "arguments": {"reason": "r"}}', '{"name":', "{", "}", '"'),
    *("go to", " ", "\n", "NaN", "[" * 3000, "1" * 5000, "<|end|>", "\ud800", "\x00"),
  ]
)


@hypothesis.given(st.one_of(st.text(), st.lists(PARTS).map("".join)))
def test_parsers_are_total(text):
  action = parse.parse_action(text)
  assert bool(action.action) != bool(action.rejection)
  assert action.rejection in ("", *parse.ACTION_REJECTIONS)
  edit = parse.parse_edit(text, CATEGORIES)
  assert (edit.edit is None) == bool(edit.rejection)
  assert edit.rejection in ("", *parse.EDIT_REJECTIONS)


JSON = st.recursive(
  st.none() | st.booleans() | st.floats() | st.text() | st.integers(),
  lambda child: st.lists(child) | st.dictionaries(st.text(), child),
)
ARGUMENT_NAMES = sorted({field for _, fields in parse.TOOLS.values() for field in fields})


@hypothesis.given(
  st.sampled_from([*parse.TOOLS, "go"]),
  st.dictionaries(st.sampled_from(ARGUMENT_NAMES), JSON | st.text()),
)
def test_any_json_call_is_read_or_refused(name, arguments):
  text = call(json.dumps({"name": name, "arguments": arguments}))
  parsed = parse.parse_edit(text, CATEGORIES)
  assert (parsed.edit is None) == (parsed.rejection in parse.EDIT_REJECTIONS)


WORDS = st.text(alphabet="abcXYZé0129 .,:'\"{}[]\\/()-", max_size=60)


@hypothesis.given(think=WORDS, action=WORDS)
def test_format_action_is_the_inverse(think, action):
  action = " ".join(action.lower().split())
  hypothesis.assume(action)
  parsed = parse.parse_action(parse.format_action(think, action))
  assert parsed == parse.ParsedAction(action, "", think)


FIELD = WORDS.map(lambda text: "x " + " ".join(text.split())).map(str.strip)


@hypothesis.given(
  think=WORDS,
  edit=st.one_of(
    st.builds(
      Edit,
      kind=st.just("propose"),
      category=st.just("heat"),
      title=FIELD,
      principle=FIELD,
      when_to_apply=FIELD,
      reason=FIELD,
    ),
    st.builds(
      Edit,
      kind=st.just("update"),
      skill_id=st.just("s12"),
      title=FIELD,
      principle=FIELD,
      when_to_apply=FIELD,
      reason=FIELD,
    ),
    st.builds(Edit, kind=st.just("keep"), reason=FIELD),
  ),
)
def test_format_edit_is_the_inverse(think, edit):
  parsed = parse.parse_edit(parse.format_edit(think, edit), CATEGORIES)
  assert parsed == parse.ParsedEdit(edit, "", think)


def test_format_refuses_what_would_not_be_read_back():
  with pytest.raises(ValueError, match="several_actions"):
    parse.format_action("t", "go</action>")
  with pytest.raises(ValueError, match="normalised"):
    parse.format_action("t", "Go")
  with pytest.raises(ValueError, match=r"kind='retire' has no tool"):
    parse.format_edit("t", Edit(kind="retire", skill_id="s1", reason="r"))
  with pytest.raises(ValueError, match="empty_field"):
    parse.format_edit("t", Edit(kind="keep"))
  with pytest.raises(ValueError, match="normalised"):
    parse.format_edit("t", Edit(kind="keep", reason="r", title="lost"))
