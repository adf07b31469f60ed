"""Two runs must not write into one folder."""

import fcntl
import os
import pathlib
import signal
import subprocess
import sys
import tempfile

import pytest

from skilljax.config import ConfigError
from skilljax.runs import claim, cold_start, evaluation, players, readers, study, training

HOLD = """
import sys, time
from skilljax.runs.claim import claimed
with claimed(sys.argv[1]):
  print("held", flush=True)
  time.sleep(600)
"""


@pytest.fixture(autouse=True)
def locks(tmp_path, monkeypatch) -> pathlib.Path:
  """Where the locks of this test lie."""
  folder = tmp_path / "locks"
  folder.mkdir()
  monkeypatch.setenv("TMPDIR", str(folder))
  monkeypatch.setattr(tempfile, "tempdir", None)
  return folder


def test_another_process_is_named_and_its_death_frees_the_folder(
  repo_root, tmp_path, locks
):
  folder = tmp_path / "run"
  command = [sys.executable, "-c", HOLD, str(folder)]
  with subprocess.Popen(
    command, cwd=repo_root, stdout=subprocess.PIPE, text=True
  ) as other:
    assert other.stdout.readline() == "held\n"
    message = f"--workdir={folder} is in use by process {other.pid}; a folder takes one"
    with pytest.raises(ConfigError, match=message), claim.claimed(folder):
      pass
    other.send_signal(signal.SIGKILL)
  assert len(list(locks.iterdir())) == 1  # of the killed one
  with claim.claimed(folder):
    pass
  assert not list(locks.iterdir())
  assert not folder.exists()


def test_a_folder_has_one_name(tmp_path, monkeypatch):
  (tmp_path / "link").symlink_to(tmp_path)
  monkeypatch.chdir(tmp_path)
  with claim.claimed("run"):
    for name in ("./run", tmp_path / "run", "link/run"):
      with pytest.raises(ConfigError, match=f"in use by process {os.getpid()};"):
        claim.claimed(name).__enter__()
    with claim.claimed("run/eval"), claim.claimed("other"):
      pass


def test_a_lock_that_was_removed_meanwhile_holds_nothing(tmp_path, locks, monkeypatch):
  third, lock = claim.claimed(tmp_path), fcntl.flock

  def late(file, mode):
    # After the file was opened its holder leaves, and somebody else takes the folder.
    monkeypatch.setattr(fcntl, "flock", lock)
    (found,) = locks.iterdir()
    found.unlink()
    third.__enter__()
    lock(file, mode)

  monkeypatch.setattr(fcntl, "flock", late)
  with pytest.raises(ConfigError, match="in use by"), claim.claimed(tmp_path):
    pass
  third.__exit__(None, None, None)
  assert not list(locks.iterdir())


def test_where_no_lock_can_be_made_a_run_goes_on_with_a_warning(tmp_path, monkeypatch):
  def refuse(*args):
    raise OSError(37, "No locks available")

  monkeypatch.setattr(fcntl, "flock", refuse)
  with (
    pytest.warns(RuntimeWarning, match=r"will not be noticed: .*No locks avail"),
    claim.claimed(tmp_path),
  ):
    pass


@pytest.mark.parametrize(
  "run",
  [
    lambda folder: cold_start.run(None, folder),
    lambda folder: training.run(None, "policy", folder=folder),
    lambda folder: evaluation.run(None, "policy", folder),
    lambda folder: players.run(None, "expert", folder),
    lambda folder: readers.run(None, folder),
    lambda folder: study.run(None, folder),
  ],
)
def test_every_run_claims_its_folder_before_anything_else(tmp_path, run):
  with claim.claimed(tmp_path), pytest.raises(ConfigError, match="in use by process"):
    run(tmp_path)
  with claim.claimed(tmp_path):  # what was refused has not freed it
    pass


def test_an_error_frees_the_folder(tmp_path):
  @claim.claims_folder
  def run(folder):
    raise RuntimeError(folder)

  for _ in range(2):
    with pytest.raises(RuntimeError):
      run(tmp_path)
