"""Hypothesis strategies: any text, any skill, any bank, any edit."""

import dataclasses

from hypothesis import strategies as st

from skilljax.skills.bank import SkillBank
from skilljax.types import Edit, Provenance, Skill

# Texts that formats and parsers get wrong, beside what hypothesis thinks of.
TRICKY = (
  "",
  " ",
  "\n---\n",
  "---",
  "a\r\nb\n\n",
  " lead and trail ",
  "yes",
  "1.0",
  "null",
  "# heading",
  "key: [a, {b}]",
  "'quote' \"double\"",
  "tab\tbell\x07nul\x00",
  "\ud800",
  "\u200b\u202e\ufeff",
  "<|im_start|>",
  "🙂 é é",
  "x" * 1100,
)

texts = st.one_of(st.sampled_from(TRICKY), st.text(max_size=40))
words = st.text(alphabet="abc XY", min_size=1, max_size=6).filter(str.strip)
categories = st.sampled_from(("general", "heat", "cool", "pick & place"))

provenances = st.builds(
  Provenance,
  origin=texts,
  task=texts,
  policy_version=st.integers(-1, 10**6),
  parent=texts,
  reason=texts,
)


@st.composite
def banks(draw, max_size=5, category=categories, text=texts):
  """Banks with gaps in their ids, as retired skills leave them."""
  numbers = draw(st.lists(st.integers(1, 30), max_size=max_size, unique=True))
  skills = [
    Skill(f"s{n}", draw(category), draw(text), draw(text), draw(text), draw(provenances))
    for n in numbers
  ]
  next_index = max(numbers, default=0) + draw(st.integers(1, 3))
  return SkillBank(tuple(skills), next_index, draw(texts))


edits = st.builds(
  Edit,
  kind=st.sampled_from(("propose", "update", "keep", "retire")),
  category=categories,
  title=words,
  principle=words,
  when_to_apply=words,
  skill_id=st.integers(1, 6).map(lambda n: f"s{n}"),
  reason=words,
)


def whole(bank):
  """All of a bank, provenance too, which equality leaves out."""
  return dataclasses.asdict(bank)
