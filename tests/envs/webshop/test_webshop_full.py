"""The path of the full catalogue, on as many products as a test can bear."""

import json
import random
import subprocess
import sys
import time

import numpy as np
import pytest

from skilljax.envs.webshop import WebshopEnv, WebshopSettings, goal_list

# What a process of its own needs: prints the MiB that opening and one episode add to it,
# apart from mapped files.
_MEMORY = """
import pathlib, sys
from skilljax.envs import table
from skilljax.envs.webshop import WebshopSettings

def own():
  lines = pathlib.Path("/proc/self/status").read_text().splitlines()
  return next(int(x.split()[1]) for x in lines if x.startswith("RssAnon")) / 1024

settings = WebshopSettings(
  data_dir=sys.argv[1], cache_dir=sys.argv[2], catalogue="full", human_goals=True
)
table.make_teacher("webshop", settings)
before = own()
env, source = table.make_env("webshop", settings), table.make_source("webshop", settings)
task = source.tasks("test")[0]
env.reset(task)
env.step("search[" + source.goal(task) + "]")
print(own() - before)
"""


def _own_memory_mib(data, cache, repo_root) -> float:
  done = subprocess.run(
    [sys.executable, "-c", _MEMORY, str(data), str(cache)],
    cwd=repo_root,
    capture_output=True,
    text=True,
    check=True,
  )
  return float(done.stdout)


@pytest.mark.slow
def test_a_larger_catalogue_is_shared_by_memory_maps(webshop_data, tmp_path, repo_root):
  """20,000 products recombined from real texts, through the path of the full one."""
  rng = random.Random(0)
  real = json.loads((webshop_data / "items_shuffle_1000.json").read_text("utf-8"))
  attributes = json.loads((webshop_data / "items_ins_v2_1000.json").read_text("utf-8"))
  products, entries = [], {}
  for number in range(20_000):
    parts = rng.choices(real, k=3)
    product = {**parts[0], "asin": f"B{number:09d}", "name": parts[1]["name"]}
    product["full_description"] = parts[2]["full_description"]
    products.append(product)
    entries[product["asin"]] = attributes[parts[0]["asin"]]
  human = {
    product["asin"]: [
      {
        "instruction": f"i want {product['name']}",
        "instruction_attributes": ["soft"],
        "instruction_options": [],
      }
    ]
    for product in products[:600]
  }
  (tmp_path / "items_shuffle.json").write_text(json.dumps(products), "utf-8")
  (tmp_path / "items_ins_v2.json").write_text(json.dumps(entries), "utf-8")
  (tmp_path / "items_human_ins.json").write_text(json.dumps(human), "utf-8")
  settings = WebshopSettings(
    data_dir=str(tmp_path),
    cache_dir=str(tmp_path / "cache"),
    catalogue="full",
    human_goals=True,
  )
  goal_list.open_data(settings)
  env = WebshopEnv(settings)
  assert len(env._catalogue) == 20_000
  for number in rng.sample(range(20_000), 50):
    product = env._catalogue.product(number)
    assert product.title == products[number]["name"]
  wanted = env._catalogue.product(777)
  hits = env._catalogue.searcher.search(wanted.search_text())
  assert hits[0] == 777 and len(hits) == 50
  begin = time.process_time()
  for number in range(100):
    env._catalogue.searcher.search(env._list.goals[number].instruction)
  assert (time.process_time() - begin) / 100 < 0.02
  index = env._catalogue.searcher._index
  assert isinstance(index.documents.base, np.memmap)
  (folder,) = (tmp_path / "cache").glob("products-*")
  derived = sum(file.stat().st_size for file in folder.iterdir()) / 2**20
  own = _own_memory_mib(tmp_path, tmp_path / "cache", repo_root)
  # One float32 a product, its goals, pages that were shown: not the products themselves.
  print(f"derived files {derived:.0f} MiB, a process's own memory {own:.1f} MiB")
  assert own < 0.25 * derived


def test_the_full_catalogue_needs_human_goals():
  with pytest.raises(ValueError, match=r"catalogue='full': .*env\.human_goals, env\.cat"):
    WebshopSettings(catalogue="full")
  assert WebshopSettings(catalogue="full", human_goals=True).catalogue == "full"
