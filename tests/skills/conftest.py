"""Shared banks of the skill tests."""

import hypothesis
import pytest

from skilljax.skills.bank import SkillBank
from skilljax.types import Provenance, Skill

# Shared runners are slow at times; a deadline would make tests flaky, not better.
hypothesis.settings.register_profile("skilljax", deadline=None, max_examples=80)
hypothesis.settings.load_profile("skilljax")


@pytest.fixture
def bank():
  """Two general skills and two of 'heat'; s3 was retired long ago."""
  seed = Provenance(origin="seed")
  return SkillBank(
    (
      Skill("s1", "general", "Look around", "Visit each place once.", "always", seed),
      Skill("s2", "heat", "Shut the door", "Close the microwave first.", "heating", seed),
      Skill("s4", "general", "Count items", "Keep a tally of objects.", "many", seed),
      Skill("s5", "heat", "Switch it on", "Turn the stove on first.", "stove", seed),
    ),
    next_index=6,
  )
