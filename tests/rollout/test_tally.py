from skilljax.rollout.commit import Committed
from skilljax.rollout.runner import Rollout
from skilljax.rollout.tally import tally
from skilljax.skills.bank import from_skills
from skilljax.skills.stats import SkillStats, Stats
from skilljax.types import Edit, Provenance, Skill
from tests.rollout.trajectories import make_trajectory

OVEN = Skill("s1", "heat", "oven", "use the oven.", "heating")
CALM = Skill("s2", "general", "calm", "stay calm.", "always")
NEW = Skill("s3", "heat", "door", "close the door.", "heating")
BANKS = {"house": from_skills((OVEN, CALM))}


def committed(kind, principle="", utility=0.5):
  edit = Edit(kind, principle=principle, skill_id="s2")
  return Committed("house", edit, Provenance(), "", "", utility)


def count(rows, lines=(), new=(), stats=None):
  rollout = Rollout({t.episode_id: t for t in rows}, {}, BANKS)
  new_banks = {"house": from_skills((OVEN, CALM, *new))}
  return tally(stats or Stats(), rollout, BANKS, lines, new_banks, 3)


def test_shown_skills_are_counted_with_the_outcome():
  stats = count(
    [
      make_trajectory("a", shown_skills=("s1", "s2"), success=True),
      make_trajectory("b", shown_skills=("s2",)),
      make_trajectory("c"),
      make_trajectory("d", shown_skills=("s1", "s2"), fault="gone"),
    ]
  )
  assert stats.of(OVEN) == SkillStats(shown=1, episodes=1, successes=1, last_used=3)
  assert stats.of(CALM) == SkillStats(shown=2, episodes=2, successes=1, last_used=3)


def test_counts_add_up_over_updates():
  row = [make_trajectory("a", shown_skills=("s1",))]
  stats = count(row, stats=count(row))
  assert stats.of(OVEN).shown == stats.of(OVEN).episodes == 2


def test_the_utility_of_a_commit_goes_to_the_skill_it_wrote():
  stats = count([], [committed("propose", NEW.principle, 0.75)], (NEW,))
  assert (stats.of(NEW).utilities, stats.of(NEW).mean_utility) == (1, 0.75)
  assert stats.of(OVEN) == stats.of(CALM) == SkillStats()
  assert count([], [committed("retire")]) == Stats()


def test_a_commit_without_a_test_has_no_utility():
  lines = [committed("propose", NEW.principle, float("nan"))]
  assert count([], lines, (NEW,)) == Stats()
