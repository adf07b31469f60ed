"""What the whole package promises: builds, is documented, is small, knows its floors."""

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile

import pytest

NAMELESS = {"util", "utils", "misc", "helper", "helpers", "common"}


@pytest.fixture(scope="module")
def sources(repo_root):
  """Path → parsed module, of every file of the package."""
  return {
    path.relative_to(repo_root): ast.parse(path.read_text(encoding="utf-8"))
    for path in sorted((repo_root / "skilljax").rglob("*.py"))
  }


def imported_roots(module):
  for node in ast.walk(module):
    if isinstance(node, ast.Import):
      yield from (alias.name.split(".")[0] for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
      assert node.level == 0, f"relative import in line {node.lineno}"
      yield (node.module or "").split(".")[0]


def test_every_module_says_what_it_is_for(sources):
  assert len(sources) > 10
  bare = [str(p) for p, m in sources.items() if m.body and not ast.get_docstring(m)]
  assert bare == []


def test_files_are_short_and_named_for_what_they_hold(repo_root, sources):
  lines = {p: len((repo_root / p).read_text().splitlines()) for p in sources}
  assert {str(p): n for p, n in lines.items() if n > 600} == {}
  assert [str(p) for p in sources if {p.stem, p.parent.name} & NAMELESS] == []


def test_no_torch_no_tensorflow_and_nothing_above_the_package(sources):
  banned = {"torch", "tensorflow", "clu", "experiments", "configs", "tests"}
  found = {str(p): sorted(set(imported_roots(m)) & banned) for p, m in sources.items()}
  assert {path: roots for path, roots in found.items() if roots} == {}


def test_every_import_is_a_declared_dependency(repo_root, sources):
  setup = (repo_root / "setup.py").read_text()
  declared = set(re.findall(r'"([A-Za-z][\w\-]+)(?=[><=])', setup))
  # Where the module's name is not the package's name.
  modules = {
    "absl-py": "absl",
    "fast-downward-textworld": "fast_downward",
    "orbax-checkpoint": "orbax",
    "PyYAML": "yaml",
  }
  known = {modules.get(name, name.replace("-", "_")) for name in declared}
  known |= set(sys.stdlib_module_names) | {"skilljax"}
  missing = {
    f"{path}: {root}"
    for path, module in sources.items()
    for root in imported_roots(module)
    if root not in known
  }
  assert missing == set()


def test_every_room_has_a_floor(repo_root):
  """A module that the layers contract does not name would be free to import anything."""
  with open(repo_root / "pyproject.toml", "rb") as file:
    contracts = tomllib.load(file)["tool"]["importlinter"]["contracts"]
  (layers,) = (c["layers"] for c in contracts if c["type"] == "layers")
  named = set(re.findall(r"skilljax[\w.]+", " ".join(layers)))
  package = repo_root / "skilljax"
  rooms = {
    f"skilljax.{path.stem}"
    for path in package.iterdir()
    if path.stem not in ("__init__", "__pycache__", "data")
    and (path.suffix == ".py" or (path / "__init__.py").exists())
  }
  rooms |= {
    f"skilljax.data.{path.stem}"
    for path in (package / "data").glob("*.py")
    if path.stem != "__init__"
  }
  assert rooms - named == set(), "add it to the layers in pyproject.toml"


def test_an_environment_worker_does_not_load_jax(repo_root):
  """Workers are processes; JAX would cost each of them 0.4 s and 200 MB."""
  code = (
    "import sys, pkgutil, importlib, skilljax.envs as room\n"
    "for m in pkgutil.walk_packages(room.__path__, 'skilljax.envs.'):\n"
    "  if 'alfworld' not in m.name: importlib.import_module(m.name)\n"
    "print(sorted({'jax', 'torch', 'tensorflow', 'flax'} & set(sys.modules)))"
  )
  done = subprocess.run(
    [sys.executable, "-c", code],
    cwd=repo_root,
    env=os.environ | {"PYTHONPATH": str(repo_root)},
    capture_output=True,
    text=True,
    timeout=60,
  )
  assert done.stdout.strip() == "[]", done.stdout + done.stderr


@pytest.mark.slow
def test_the_wheel_holds_the_package_and_nothing_else(repo_root, tmp_path):
  copy = tmp_path / "copy"  # a build leaves folders behind
  shutil.copytree(repo_root / "skilljax", copy / "skilljax")
  for name in ("setup.py", "pyproject.toml", "LICENSE"):
    shutil.copy(repo_root / name, copy)
  subprocess.run(
    [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", tmp_path, copy],
    check=True,
    timeout=280,
  )
  (wheel,) = tmp_path.glob("skilljax-*.whl")
  with zipfile.ZipFile(wheel) as archive:
    names = archive.namelist()
    (metadata,) = (n for n in names if n.endswith("METADATA"))
    text = archive.read(metadata).decode()
  assert "skilljax/types.py" in names and "skilljax/envs/__init__.py" in names
  assert {name.split("/")[0] for name in names if "dist-info" not in name} == {"skilljax"}
  assert "Requires-Python: >=3.11" in text and "Provides-Extra: alfworld" in text
  run_time = [
    line
    for line in text.splitlines()
    if line.startswith("Requires-Dist") and "extra ==" not in line
  ]
  assert not re.search(r"\b(torch|tensorflow)\b(?!-)", "\n".join(run_time))
