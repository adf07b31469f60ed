import pytest

from tests.tpu_scripts.bench import Bench, make_stock


@pytest.fixture(scope="session")
def stock(tmp_path_factory, repo_root):
  folder = tmp_path_factory.mktemp("stock")
  make_stock(folder, repo_root / "tpu_scripts")
  return folder


@pytest.fixture
def bench(tmp_path, stock):
  return Bench(tmp_path, stock)
