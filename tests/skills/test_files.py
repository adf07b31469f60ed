import os

import pytest

from skilljax.skills import files
from skilljax.skills.files import BankFileError


def test_write_then_read(tmp_path):
  path = tmp_path / "new" / "a.txt"
  files.write_atomically(path, "é\r\nb")
  assert path.read_bytes() == b"\xc3\xa9\r\nb"
  assert files.read_text(path) == "é\r\nb"
  assert path.stat().st_mode & 0o777 == 0o644
  assert os.listdir(path.parent) == ["a.txt"]


@pytest.mark.parametrize("step", ["replace", "fsync"])
@pytest.mark.parametrize("error", [OSError("no space"), KeyboardInterrupt()])
def test_a_failed_write_keeps_the_old_file(tmp_path, monkeypatch, step, error):
  path = tmp_path / "a.txt"
  files.write_atomically(path, "old")

  def fail(*_):
    raise error

  monkeypatch.setattr(os, step, fail)
  expected = BankFileError if isinstance(error, OSError) else KeyboardInterrupt
  with pytest.raises(expected):
    files.write_atomically(path, "new")
  assert path.read_text() == "old"
  assert os.listdir(tmp_path) == ["a.txt"]


def test_the_file_appears_only_when_it_is_whole(tmp_path, monkeypatch):
  path, seen = tmp_path / "a.txt", []
  replace = os.replace

  def watch(source, target):
    seen.append((files.read_text(source), os.path.exists(target)))
    replace(source, target)

  monkeypatch.setattr(os, "replace", watch)
  files.write_atomically(path, "whole")
  assert seen == [("whole", False)]


def test_unreadable_files(tmp_path):
  path = tmp_path / "a.txt"
  with pytest.raises(BankFileError, match="cannot be read: No such file"):
    files.read_text(path)
  path.write_bytes(b"\xff\xfe")
  with pytest.raises(BankFileError, match="not UTF-8"):
    files.read_text(path)
  path.write_bytes(b"12345")
  with pytest.raises(BankFileError, match="larger than 4 bytes"):
    files.read_text(path, max_bytes=4)
  path.write_bytes(b"\xef\xbb\xbfa")
  assert files.read_text(path) == "a"


@pytest.mark.parametrize(
  "text", ["", "{", '{"a": NaN}', '{"a": 1, "a": 2}', "[" * 100_000, '"\x00"']
)
def test_strict_json(text):
  with pytest.raises(BankFileError, match="not valid JSON") as caught:
    files.parse_json("bank.json", text)
  assert caught.value.path == "bank.json"
  assert "Restore" in caught.value.advice
