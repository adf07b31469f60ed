"""The nouns of titles: both taggers, their messages, and a disk that cannot be used."""

import importlib
import importlib.metadata
import types

import pytest

from skilljax.envs.webshop import nouns

TITLE = "Red Shoes for the Garden, Shoes"


@pytest.fixture
def with_spacy(monkeypatch):
  """A stand-in for spaCy and its model; the list of titles that it was asked for."""
  parts = {"Red": "ADJ", "Shoes": "NOUN", "Garden": "PROPN", "for": "ADP", "the": "DET"}
  asked = []

  def load(name):
    assert name == "en_core_web_sm"

    def tag(title):
      asked.append(title)
      words = title.replace(",", "").split()
      return [types.SimpleNamespace(text=w, pos_=parts[w]) for w in words]

    return tag

  real = importlib.import_module
  spacy = types.SimpleNamespace(load=load)
  monkeypatch.setattr(
    nouns.importlib,
    "import_module",
    lambda name: spacy if name == "spacy" else real(name),
  )
  monkeypatch.setattr(nouns.importlib.metadata, "version", lambda name: f"3.7 of {name}")
  return asked


def test_spacy_finds_nouns_and_names_with_repeats(with_spacy, tmp_path):
  finder = nouns.NounFinder("spacy", tmp_path)
  assert finder(TITLE) == ("shoes", "garden", "shoes")
  # Another process finds them on disk, in a folder of this model's version.
  assert nouns.NounFinder("spacy", tmp_path)(TITLE) == ("shoes", "garden", "shoes")
  assert with_spacy == [TITLE]
  assert [path.name for path in tmp_path.iterdir()] == [
    "nouns-spacy-3.7 of en_core_web_sm"
  ]


@pytest.mark.parametrize(
  ("tagger", "message"),
  [
    ("spacy", r"en_core_web_sm: pip install spacy and .*download en_core.*env\.tagger"),
    ("textblob", r"needs textblob: pip install 'skilljax\[webshop\]' .*env\.tagger"),
  ],
)
def test_a_missing_tagger_says_how_to_install_it(monkeypatch, tmp_path, tagger, message):
  def version(name):
    raise importlib.metadata.PackageNotFoundError(name)

  monkeypatch.setattr(nouns.importlib.metadata, "version", version)
  with pytest.raises(ModuleNotFoundError, match=message):
    nouns.NounFinder(tagger, tmp_path)


def test_a_disk_that_cannot_be_written_only_warns(with_spacy, tmp_path):
  (tmp_path / "file").write_text("no folder")
  finder = nouns.NounFinder("spacy", tmp_path / "file")
  with pytest.warns(RuntimeWarning, match=r"cannot be cached .*env\.cache_dir"):
    found = finder(TITLE)
  assert found == finder(TITLE) == ("shoes", "garden", "shoes")
  assert with_spacy == [TITLE]  # remembered in memory
