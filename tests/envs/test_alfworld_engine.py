"""The translation cache on disk: atomic, checked, never in the way."""

import zlib

import pytest

from skilljax.envs import alfworld
from skilljax.envs.alfworld import engine


def test_a_cached_text_comes_back(tmp_path):
  path = tmp_path / "new" / "a.sas.z"
  assert engine.read_cached(path) is None
  engine.write_cached(path, "begin_version\n3\né")
  assert engine.read_cached(path) == "begin_version\n3\né"
  assert [entry.name for entry in path.parent.iterdir()] == ["a.sas.z"]


def test_without_a_folder_nothing_is_cached():
  engine.write_cached(None, "text")
  assert engine.read_cached(None) is None


def _cut(data: bytes) -> bytes:
  return data[:-5]


def _swapped(data: bytes) -> bytes:
  """Valid zlib whose text is not the one of its digest."""
  return zlib.compress(zlib.decompress(data).replace(b"begin", b"began"))


@pytest.mark.parametrize("damage", [_cut, _swapped, lambda data: b"", lambda data: b"?"])
def test_a_damaged_entry_counts_as_absent(tmp_path, damage):
  path = tmp_path / "a.sas.z"
  engine.write_cached(path, "begin_version\n" * 50)
  path.write_bytes(damage(path.read_bytes()))
  assert engine.read_cached(path) is None


def test_a_folder_that_cannot_be_written_only_warns(tmp_path):
  (tmp_path / "file").write_text("in the way")
  with pytest.warns(RuntimeWarning, match=r"cannot be cached .*env\.cache_dir"):
    engine.write_cached(tmp_path / "file" / "a.sas.z", "text")


def test_damaged_translations_are_made_again(data_dir, tmp_path):
  settings = alfworld.AlfworldSettings(
    data_dir=str(data_dir / "alfworld"), cache_dir=str(tmp_path)
  )
  if reason := alfworld.why_unavailable(settings):
    pytest.skip(reason)
  source = alfworld.AlfworldSource(settings)
  task = source.tasks("valid_seen")[60]
  translator = engine.load_engine().translator
  translator.forget()
  whole = alfworld.AlfworldEnv(settings).reset(task)
  (path,) = (tmp_path / "sas").iterdir()
  good = path.read_bytes()
  path.write_bytes(b"damaged")
  translator.forget()
  assert alfworld.AlfworldEnv(settings).reset(task) == whole
  assert path.read_bytes() == good
  # What the disk holds is what the next worker loads.
  engine.write_cached(path, "no translation")
  translator.forget()
  assert translator.translate(*_texts(settings, task))[1] == "no translation"
  translator.forget()


def _texts(settings, task):
  game = settings.archive(task.split).game(task.name)
  return game.domain, game.problem
