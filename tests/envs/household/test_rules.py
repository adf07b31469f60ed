"""Estates: a bijection, disjoint splits, even marginals."""

import collections
import math

import pytest

from skilljax.envs.household import rules

# Changes only when the draw changes: then every published number of household is void.
GOLDEN_ESTATE_0 = (
  ("place:food", "cabinet"),
  ("place:dish", "box"),
  ("place:cloth", "desk"),
  ("place:paper", "cabinet"),
  ("heat", rules.Method("microwave", "empty")),
  ("cool", rules.Method("cooler", "none")),
  ("clean", rules.Method("sinkbasin", "empty")),
  ("look", rules.Method("desklamp", "close")),
  ("lock", "keypad"),
)


def test_space_is_large_and_counted_by_hand():
  # heat, cool, clean triples: 3 cleaners without precondition × (3·5)² +
  # 9 with one × (3·4)² = 675 + 1,296 = 1,971; × 6⁴ placements × 9 lamps × 4 locks.
  assert rules.NUM_ESTATES == 1971 * 6**4 * 9 * 4 == 91_958_976
  assert rules.NUM_ESTATES > 10_000


def test_every_round_of_the_permutation_is_a_bijection():
  for factor, _ in rules._ROUNDS:
    assert math.gcd(factor, rules.NUM_ESTATES) == 1
  assert rules.NUM_PLACEMENTS * rules.NUM_REST == rules.NUM_ESTATES


def test_distinct_indices_are_distinct_rules():
  indices = [*range(12_000), *range(rules.NUM_ESTATES - 3_000, rules.NUM_ESTATES)]
  assert len({rules.draw_estate(index).rules for index in indices}) == 15_000


def test_draw_is_deterministic_golden():
  rules.draw_estate.cache_clear()
  assert rules.draw_estate(0).rules == GOLDEN_ESTATE_0


@pytest.mark.parametrize("index", [-1, rules.NUM_ESTATES])
def test_index_outside_raises(index):
  with pytest.raises(ValueError, match=str(index)):
    rules.draw_estate(index)


def test_splits_partition_the_indices():
  split_sizes = {split: len(rules.SplitIndices(split)) for split in rules.SPLITS}
  assert sum(split_sizes.values()) == rules.NUM_ESTATES
  assert split_sizes["train"] / rules.NUM_ESTATES == pytest.approx(0.8, abs=1e-6)
  assert split_sizes["dev"] / rules.NUM_ESTATES == pytest.approx(0.1, abs=1e-6)
  seen = collections.Counter()
  for split in rules.SPLITS:
    indices = rules.SplitIndices(split)
    assert all(rules.split_of(index) == split for index in indices[:500])
    assert rules.split_of(indices[-1]) == split
    assert indices[-1] < rules.NUM_ESTATES
    seen.update(index for index in indices[:900] if index < 1000)
  assert sorted(seen) == list(range(1000))
  assert set(seen.values()) == {1}


def test_split_indices_raise_outside():
  with pytest.raises(IndexError):
    rules.SplitIndices("dev")[10**9]
  with pytest.raises(ValueError, match="valid"):
    rules.SplitIndices("valid")


@pytest.mark.parametrize("split", rules.SPLITS)
def test_no_rule_value_is_tied_to_a_split(split):
  """Each place, device and appliance has its share in every split (5 σ)."""
  estates = [rules.draw_estate(index) for index in rules.SplitIndices(split)[:3000]]
  for position, slot in enumerate(rules.SLOTS):
    values = [estate.rules[position][1] for estate in estates]
    names = [v.tool if isinstance(v, rules.Method) else v for v in values]
    options = {
      v.tool if isinstance(v, rules.Method) else v for v in rules.slot_values(slot)
    }
    share = 1 / len(options)
    sigma = math.sqrt(share * (1 - share) / len(estates))
    for count in collections.Counter(names).values():
      assert abs(count / len(estates) - share) < 5 * sigma, slot


def test_clean_first_is_rare_and_only_with_plain_cleaning():
  estates = [rules.draw_estate(index).as_dict() for index in range(4000)]
  ordered = [e for e in estates if "clean" in (e["heat"].first, e["cool"].first)]
  assert 0.08 < len(ordered) / len(estates) < 0.18
  assert {estate["clean"].first for estate in ordered} == {"none"}
