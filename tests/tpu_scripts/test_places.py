"""The headers of published configs: numbers of docs/pods.md, and machines that exist."""

import ast
import math
import re

import pytest
import yaml

from skilljax import config
from skilljax.fit import page
from skilljax.fit.chips import read_topology
from skilljax.settings import read_settings
from tests.tpu_scripts.test_gke import SETTINGS, slice_of
from tests.tpu_scripts.test_launch import POD

GKE = {"v5e": "tpu-v5-lite-podslice", "v5p": "tpu-v5p-slice", "v6e": "tpu-v6e-slice"}
# What Cloud calls a TPU VM with so many chips; it counts the two cores of a v5p.
CLOUD = {"v5e": ("v5litepod", 1), "v5p": ("v5p", 2), "v6e": ("v6e", 1)}


def rows(root):
  """Rows of the page's table, by column."""
  text = (root / "docs" / "pods.md").read_text()
  inside = text.partition(page.BEGIN)[2].partition(page.END)[0].splitlines()
  table = [line for line in inside if line.startswith("|")]
  cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in table]
  return [dict(zip(cells[0], row, strict=True)) for row in cells[2:]]


def header(root, row):
  """The config's docstring, and what it says of the row's place, on one line each."""
  name, _, place = row["config"].strip("`").partition(":on=")
  text = ast.get_docstring(ast.parse((root / "configs" / f"{name}.py").read_text()))
  blocks = re.findall(rf"^  on={place} +(.+(?:\n {{5,}}.+)*)", text, re.M)
  blocks = [" ".join(block.split()) for block in blocks]
  kind = read_topology(row["chips"]).chip
  (block,) = [b for b in blocks if kind.is_tpu or kind.name.upper() in b]
  return " ".join(text.split()), block


def sizes(text):
  return math.prod(int(number) for number in re.findall(r"\d+", text))


def test_headers_give_the_numbers_of_the_page(repo_root):
  """Two to four times the roofline's hours, which is what the page says to expect."""
  for row in rows(repo_root):
    text, block = header(repo_root, row)
    chips, hours = sizes(row["mesh"]), int(row["chip-hours"])
    low, high = 2 * hours, 4 * hours
    place = row["config"]
    assert f"at most {row['peak']} GiB of {row['of']}, " in block, place
    assert f"{row['update']} an update; " in block, place
    first, last = (f"{round(number / chips, 1):g}" for number in (low, high))
    assert f"{first}-{last} h, {low}-{high} chip-hours" in block, place
    price = float(re.search(r"At \$(\d+\.\d\d) ", text)[1])
    example = re.search(r"\$(\d+)-(\d+) on (\w+)\.", text)
    if place.endswith(f":on={example[3]}`") and row["chips"] != "h200:8":
      assert [float(number) for number in example.groups()[:2]] == [
        pytest.approx(price * number, abs=0.51) for number in (low, high)
      ], place


def test_headers_name_machines_that_hold_the_meshes(bench, repo_root):
  """The slice has the mesh's chips, and each host those of a sampler."""
  for row in rows(repo_root):
    chip = read_topology(row["chips"]).chip
    if not chip.is_tpu:
      continue
    _, block = header(repo_root, row)
    env = SETTINGS | {"GKE_ACCELERATOR": GKE[chip.name], "GKE_SPOT": "1"}
    env |= dict(re.findall(r"(GKE_\w+)=(\w+)", block))
    done = bench("gke.sh", "render", "x", **env)
    assert done.returncode == 0, (row, done.stderr)
    job, pod = slice_of(yaml.safe_load(done.stdout))
    of_host = pod["containers"][0]["resources"]["limits"]["google.com/tpu"]
    assert job["completions"] * of_host == sizes(row["mesh"]), row
    assert of_host == sizes(row["sampler"]), row
    assert re.search(rf"\b{job['completions']} hosts?\b", block), row
    name, cores = CLOUD[chip.name]
    kind = re.search(r"TPU_TYPE=([\w-]+)", block)[1]
    assert kind == f"{name}-{sizes(row['mesh']) * cores}", row
    assert bench("launch.sh", "--dry-run", "create", **POD, TPU_TYPE=kind).returncode == 0


def test_headers_of_gpus_give_a_process_the_chips_of_its_sampler(bench, repo_root):
  """JOB_TASKS=gpu, the default, gives each process one GPU."""
  for row in rows(repo_root):
    if read_topology(row["chips"]).chip.is_tpu or row["chips"] == "h200:8":
      continue
    _, block = header(repo_root, row)
    env = dict(re.findall(r"(JOB_\w+)=(\w+)", block))
    bench.calls_file.unlink(missing_ok=True)
    assert bench("slurm.sh", "submit", "x", JOB_NAME="x", **env).returncode == 0
    (words,) = bench.calls("sbatch")
    gpus = int(words[words.index("--gpus-per-node") + 1])
    tasks = int(words[words.index("--ntasks-per-node") + 1])
    assert gpus // tasks == sizes(row["sampler"]) == sizes(row["mesh"]), row


def test_a_tpu_vm_of_eight_chips_samples_on_all_of_them(repo_root):
  """v5litepod-8 is one host, where GKE makes two of 2x4."""
  path = "configs/alfworld_qwen25_1b5.py"
  text = (repo_root / path).read_text()
  change = dict(re.findall(r"--config\.((?:engine|pool)[\w.]+)=(\d+)", text))
  place = f"{path}:on=v5e_8"
  before = read_settings(config.load(place))
  change = {key: int(value) for key, value in change.items()}
  after = read_settings(config.load(place, change))
  assert after.engine_mesh.num_devices == 8 == before.engine_mesh.num_devices * 2
  of_copy = [s.engine.num_slots / s.engine_mesh.data for s in (before, after)]
  assert of_copy[0] == of_copy[1]  # so a chip holds what it did
  pool = after.pool
  assert pool.num_workers * pool.envs_per_worker == after.engine.num_slots
