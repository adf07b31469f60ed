"""The package's files: what is cut or foreign is named with its path and the fix."""

import shutil

import pytest

from skilljax.envs import bfcl
from skilljax.envs.bfcl import data
from skilljax.envs.data_files import DataError

TASKS = "BFCL_v4_multi_turn_base.json"


@pytest.fixture
def copy(tmp_path, monkeypatch):
  """A copy of the package's data that may be damaged; its folder."""
  if reason := bfcl.why_unavailable():
    pytest.skip(reason)
  folder = tmp_path / "bfcl_eval"
  names = [f"BFCL_v4_multi_turn_{family}.json" for family in data.FAMILIES]
  for name in (*names, *(f"possible_answer/{name}" for name in names)):
    (folder / "data" / name).parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(data.package_folder() / "data" / name, folder / "data" / name)
  monkeypatch.setattr(data, "package_folder", lambda: folder)
  assert len(data.read_scenarios()) == 800
  return folder / "data"


@pytest.mark.parametrize("name", [TASKS, f"possible_answer/{TASKS}"])
def test_a_cut_file_is_named_with_its_line_and_the_fix(copy, name):
  lines = (copy / name).read_text("utf-8").splitlines()
  (copy / name).write_text("\n".join([*lines[:7], lines[7][:-20]]), "utf-8")
  message = rf"{name}: damaged after line 7 \(JSONDecodeError: .*install it again: pip"
  with pytest.raises(DataError, match=message):
    data.read_scenarios()


def test_a_file_that_is_gone_or_short_is_named(copy):
  lines = (copy / TASKS).read_text("utf-8").splitlines()
  (copy / TASKS).write_text("\n".join(lines[:-1]), "utf-8")
  with pytest.raises(DataError, match=r"family 'base' is not complete; install it again"):
    data.read_scenarios()
  (copy / TASKS).unlink()
  with pytest.raises(DataError, match=rf"{TASKS}: damaged .*FileNotFoundError.*install"):
    data.read_scenarios()
