"""Strictness for every test: no silent promotion, no silent skip, no stray device.

And haste: most of the time goes into compiling what runs for a moment. So programs are
compiled as quickly as XLA can, and once for all processes of a session; Java does not
optimise what it compiles. `XLA_FLAGS=''` compiles as users do, as in `make slow`;
`JAX_COMPILATION_CACHE_DIR` names another place.
"""

import importlib.metadata
import os
import pathlib
import shutil
import tempfile
from collections.abc import Callable

# Before JAX starts: tests run on the CPU, whatever the machine has.
os.environ.setdefault("JAX_PLATFORMS", "cpu")
HASTY = "--xla_backend_optimization_level=0"
if importlib.metadata.version("jaxlib").startswith("0.10."):  # XLA dies of unknown flags
  HASTY += " --xla_cpu_use_fusion_emitters=false"
os.environ.setdefault("XLA_FLAGS", HASTY)
os.environ.setdefault("JAVA_TOOL_OPTIONS", "-XX:TieredStopAtLevel=1")
# Workers of xdist and processes that tests start find it in their environment.
OWN_CACHE = None
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
  OWN_CACHE = tempfile.mkdtemp(prefix="skilljax-tests-")
  os.environ |= {
    "JAX_COMPILATION_CACHE_DIR": OWN_CACHE,
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
  }

import filelock  # noqa: E402
import jax  # noqa: E402
import pytest  # noqa: E402

jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")

ROOT = pathlib.Path(__file__).resolve().parents[1]

# In CI everything these need is installed; a skip there would hide a failure.
NEVER_SKIPPED_IN_CI = (
  *("alfworld", "bfcl", "parity", "shellcheck", "webshop"),
  *("fit/test_compile", "jvm", "java_worlds", "scienceworld", "textworld_express"),
)


def pytest_report_header(config):
  return f"jax {jax.__version__} on {jax.default_backend()}, data: {data_folder()}"


def pytest_collection_modifyitems(items):
  """Whole programs first: what takes minutes should not be what a worker ends with."""
  items.sort(key=lambda item: len(item.path.relative_to(ROOT).parts))


def pytest_unconfigure():
  if OWN_CACHE is not None:
    shutil.rmtree(OWN_CACHE, ignore_errors=True)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
  outcome = yield
  fail_a_skip(outcome.get_result())


@pytest.hookimpl(hookwrapper=True)
def pytest_make_collect_report(collector):
  outcome = yield
  fail_a_skip(outcome.get_result())


def fail_a_skip(report) -> None:
  """Turns the skip of a test that CI must run into a failure."""
  expected = "xfail" in report.keywords if "keywords" in vars(report) else False
  if os.environ.get("CI") != "true" or not report.skipped or expected:
    return
  if any(name in report.nodeid for name in NEVER_SKIPPED_IN_CI):
    report.outcome = "failed"
    report.longrepr = f"{report.nodeid} must run in CI, but: {report.longrepr}"


def data_folder() -> pathlib.Path:
  """SKILLJAX_DATA, or `shared/data` beside the checkout."""
  return pathlib.Path(
    os.environ.get("SKILLJAX_DATA", ROOT.parent / "shared" / "data")
  ).resolve()


@pytest.fixture(scope="session")
def made_once(tmp_path_factory) -> Callable[[str, Callable], pathlib.Path]:
  """`made_once(name, make)`: the folder that `make(folder)` fills once a session.

  Workers wait for the one that makes it, and only read it.
  """
  root = tmp_path_factory.getbasetemp()
  if "PYTEST_XDIST_WORKER" in os.environ:
    root = root.parent  # that of all workers

  def folder_of(name: str, make: Callable[[pathlib.Path], object]) -> pathlib.Path:
    folder = root / "made-once" / name
    folder.parent.mkdir(exist_ok=True)
    with filelock.FileLock(f"{folder}.lock"):
      if not folder.exists():
        made = tmp_path_factory.mktemp(name)
        make(made)
        made.rename(folder)
    return folder

  return folder_of


@pytest.fixture(scope="session")
def repo_root() -> pathlib.Path:
  """The folder of the checkout."""
  return ROOT


@pytest.fixture(scope="session")
def data_dir() -> pathlib.Path:
  """Benchmark data (`alfworld/`, `webshop/`); skips where there is none."""
  folder = data_folder()
  if not folder.is_dir():
    pytest.skip(f"no benchmark data at {folder}; set SKILLJAX_DATA")
  return folder
