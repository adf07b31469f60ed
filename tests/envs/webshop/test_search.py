"""Terms and ranking, by hand-made examples."""

import numpy as np
import pytest

from skilljax.envs.webshop import search
from skilljax.envs.webshop.analysis import terms
from skilljax.envs.webshop.stemmer import stem


@pytest.mark.parametrize(
  ("word", "expected"),
  [
    *[("caresses", "caress"), ("ponies", "poni"), ("cats", "cat"), ("as", "as")],
    *[("feed", "feed"), ("agreed", "agre"), ("plastered", "plaster"), ("sing", "sing")],
    *[
      ("conflated", "conflat"),
      ("hopping", "hop"),
      ("falling", "fall"),
      ("filing", "file"),
    ],
    *[
      ("happy", "happi"),
      ("sky", "sky"),
      ("relational", "relat"),
      ("radically", "radic"),
    ],
    *[("possibly", "possibl"), ("apologies", "apolog"), ("analogous", "analog")],
    *[("triplicate", "triplic"), ("hopeful", "hope"), ("goodness", "good")],
    *[("adoption", "adopt"), ("replacement", "replac"), ("probate", "probat")],
    *[("cease", "ceas"), ("controll", "control"), ("roll", "roll"), ("yellow", "yellow")],
  ],
)
def test_stems_follow_porter(word, expected):
  assert stem(word) == expected


@pytest.mark.parametrize(
  ("text", "expected"),
  [
    ("The women's t-shirts, and a 3.5 oz cup", "women t shirt 3.5 oz cup"),
    ("size:small x_y 1,000 u.s.a 5'10", "size:smal x_y 1,000 u.s.a 5'10"),
    ("★ ™ brand® ❤️ ☞", "★ ™ brand ® ❤️ ☞"),
    ("日本 カメラ", "日 本 カメラ"),
    ("— 【】 ✿ !!", ""),
  ],
)
def test_terms_are_cut_as_lucene_cuts_them(text, expected):
  assert terms(text) == expected.split()


def test_long_tokens_are_cut():
  assert [len(term) for term in terms("x" * 600)] == [255, 255, 90]


def test_ranking_counts_rarity_repeats_and_length():
  index = search.build_index(
    ["red shoes", "red shoes shoes", "red red hat with a very long text about hats", ""],
    ["d", "c", "b", "a"],
  )
  searcher = search.Searcher(index)
  assert searcher.search("shoes") == [1, 0]
  assert searcher.search("hat")[0] == 2
  assert searcher.search("nothing known") == searcher.search("") == []
  assert searcher.search("red shoes hat", limit=1) == searcher.search("red shoes hat")[:1]


def test_equal_scores_are_ordered_by_name():
  searcher = search.Searcher(search.build_index(["one thing"] * 3, ["b", "c", "a"]))
  assert searcher.search("thing") == [2, 0, 1]
  assert searcher.search("thing", limit=2) == [2, 0]


def test_lengths_keep_four_bits_beyond_24():
  lengths = np.array([0, 23, 24, 39, 40, 41, 42, 343, 344], np.int32)
  assert search.rounded_lengths(lengths).tolist() == [0, 23, 24, 39, 40, 40, 42, 312, 344]


def test_an_empty_index_finds_nothing():
  assert search.Searcher(search.build_index([], [])).search("red") == []
