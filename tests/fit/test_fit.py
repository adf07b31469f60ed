"""Topologies, errors, the formula, the table: all that needs no compiler."""

import dataclasses
import importlib.util
import re
import subprocess
import sys
import types

import numpy as np
import pytest

from skilljax import assembly, config
from skilljax.fit import cases, compiled, devices, kept, page, report, roofline
from skilljax.fit.cases import Case
from skilljax.fit.chips import CHIPS, GIB, read_topology
from skilljax.fit.compiled import Compiled
from skilljax.settings import read_settings
from skilljax.sharding import MeshSettings

SMALL = Case("configs/alfworld_qwen25_0b5_single_gpu.py", "h100:1", "Qwen2.5-0.5B")


def settings_of(case):
  return read_settings(config.load(case.config))


@pytest.mark.parametrize("case", cases.CASES, ids=lambda c: f"{c.config}@{c.topology}")
def test_a_published_config_is_read_whole_and_belongs_to_its_place(case):
  settings, model = settings_of(case), cases.read_model(case.model)
  chips = case.place.num_chips
  assert settings.mesh.num_devices <= chips
  # A smaller mesh would leave hosts without work.
  assert settings.mesh.num_devices in (1, chips)
  assert settings.engine.max_len <= settings.learner.row_len <= model.max_len
  for mesh in (settings.mesh, settings.engine_mesh):
    assert model.num_kv_heads % mesh.tensor == 0 and model.vocab_size % mesh.tensor == 0
  assert settings.chat == "chatml" and settings.model is None
  # SkillMaster's numbers (docs/paper_map.md).
  assert (settings.train.group_size, settings.feed.tasks_per_update) == (8, 8)
  assert (settings.probes.num_probes, settings.probes.alpha) == (4, 0.3)
  assert settings.credit.edit_weight == 0.2 and settings.train.num_updates == 300
  assert settings.loss.kl_coef == {"alfworld": 0.01, "webshop": 0.05}[settings.env_name]
  if settings.lora is None:
    assert settings.learner.learning_rate == 1e-6
    assert settings.numerics.param_dtype == "float32"


def test_a_place_that_a_config_does_not_have():
  with pytest.raises(config.ConfigError, match=r"on='v4_8' must be one of v5p_8, v6e_16"):
    config.load("configs/alfworld_qwen25_7b.py:on=v4_8")


@pytest.mark.parametrize(
  ("name", "num_params"),
  [
    *(("Qwen2.5-0.5B", 494e6), ("Qwen2.5-1.5B", 1544e6)),
    *(("Qwen2.5-7B", 7616e6), ("Qwen2.5-32B", 32_764e6)),
  ],
)
def test_published_models_have_their_published_sizes(name, num_params):
  assert cases.read_model(name).num_params == pytest.approx(num_params, rel=1e-3)


@pytest.mark.parametrize(
  ("name", "message"),
  [
    ("v9:2x2", r"topology='v9:2x2' must be CHIP:SIZES with CHIP one of v5e, v5p, v6e"),
    ("v5e", r"must be CHIP:SIZES"),
    ("v5e:2x0", r"must be CHIP:SIZES"),
    ("v5p:4x4", r"v5p takes 3 size"),
    ("h100:2x4", r"h100 takes 1 size"),
  ],
)
def test_a_topology_that_cannot_be_read(name, message):
  with pytest.raises(ValueError, match=message):
    read_topology(name)


def test_topologies():
  assert read_topology("v5p:2x2x4").num_chips == 16
  assert read_topology("h200:8").num_chips == 8
  assert read_topology("v6e:4x4").name == "v6e:4x4"


def test_the_compiler_is_asked_for_by_name_where_it_is_absent(monkeypatch):
  monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
  with pytest.raises(ModuleNotFoundError, match=r"v5e:2x2.*pip install -e '\.\[tpu\]'"):
    devices.devices_of(read_topology("v5e:2x2"))


@dataclasses.dataclass(frozen=True)
class Device:
  process_index: int


@pytest.mark.parametrize(
  ("sizes", "hosts", "message"),
  [
    ({"fsdp": 8}, (0,) * 4, r"engine_mesh\.fsdp=8 .* needs 8 chips, there are 4"),
    ({"fsdp": 4}, (0, 0, 0, 0, 1, 1, 1, 1), r"must take all 8 chips of the 2 hosts"),
  ],
)
def test_a_mesh_that_does_not_fit_its_chips(sizes, hosts, message):
  with pytest.raises(ValueError, match=message):
    devices.make_mesh(MeshSettings(**sizes), [Device(i) for i in hosts], "engine_mesh")


def test_a_mesh_larger_than_a_number_of_gpus():
  case = Case("configs/alfworld_qwen25_7b.py:on=gpu_8", "h100:4", "Qwen2.5-7B")
  with pytest.raises(config.ConfigError, match=r"mesh\.fsdp=2 .* needs 8 chips.*has 4"):
    report.check(case)


@pytest.mark.parametrize(
  ("change", "message"),
  [
    ({"mesh.tensor": 8}, r"mesh\.tensor=8 must divide model\.num_kv_heads=4"),
    ({"engine_mesh.tensor": 8}, r"tensor=8 must divide model\.num_kv_heads=4"),
    ({"mesh.fsdp": 3}, r"mesh\.fsdp=3 must divide learner\.rows_per_batch=2"),
    ({"engine.num_slots": 33}, r"must divide engine\.num_slots=33"),
  ],
)
def test_a_mesh_that_does_not_divide_what_it_splits(change, message):
  case = cases.CASES[3]
  settings = read_settings(config.load(case.config, change))
  with pytest.raises(config.ConfigError, match=message):
    report.check_sizes(settings, cases.read_model(case.model), read_topology("h100:64"))


def test_an_unknown_model():
  with pytest.raises(ValueError, match=r"model='Qwen9' must be one of Qwen2\.5-0\.5B"):
    cases.read_model("Qwen9")
  assert cases.model_of("configs/webshop_qwen25_7b.py:on=v6e_16") == "Qwen2.5-7B"
  assert cases.model_of("configs/household.py") == ""


def test_collectives_are_counted_once_each():
  text = """
    %all-gather.3 = bf16[8,128]{1,0} all-gather(%p), dimensions={0}
    %ag = (f32[4], f32[8]) all-gather-start(%q), dimensions={0}
    %agd = f32[8] all-gather-done(%ag)
    %one = bf16[8] all-gather(%a), channel_id=7, dimensions={0}
    %two = bf16[8] all-gather(%b), channel_id=7, dimensions={0}
    ROOT %r = f32[8] reduce-scatter(%agd), to_apply=%add
    %f = f32[8] fusion(%all-reduce.1), calls=%fused
  """
  assert compiled.count_collectives(text) == {"all-gather": 3, "reduce-scatter": 1}


def test_what_a_refused_program_needs_is_read_from_the_message():
  text = "RESOURCE_EXHAUSTED: ... Used 20.50G of 15.75G hbm. Exceeded hbm capacity by"
  assert compiled.over_bytes(text) == int(20.5 * 2**30)
  assert compiled.over_bytes("INTERNAL: something else") == 0


def test_a_chip_holds_learner_and_sampler_in_every_phase():
  found = {
    "score": Compiled(argument_bytes=10, temp_bytes=1),
    "gradient": Compiled(argument_bytes=10, output_bytes=8, temp_bytes=20),
    "accumulate": Compiled(argument_bytes=16, output_bytes=8, alias_bytes=8),
    "step": Compiled(argument_bytes=38, output_bytes=30, alias_bytes=30, temp_bytes=2),
    "decode": Compiled(argument_bytes=7, output_bytes=3, alias_bytes=3, temp_bytes=4),
    "extend": Compiled(argument_bytes=7, over_bytes=900),
  }
  # Learner: 38 - 8 of the step, 10 of the reference; sampler: 7.
  assert report.phases(found) == {
    "score": 48,
    "gradient": 47 + 8 + 28,
    "accumulate": 47 + 16,
    "step": 47 + 8 + 2,
    "decode": 51,
    "extend": 900,
  }


def test_the_formula_counts_what_is_held():
  settings = settings_of(SMALL)
  plan = report.check(SMALL).formula
  num = cases.read_model(SMALL.model).num_params
  held, sampler, cache, gradients, *_ = plan.values()
  assert held == 4 * 4 * num and gradients == 2 * 4 * num and sampler == 2 * num
  assert cache == settings.engine.num_slots * settings.engine.max_len * 12_288


@pytest.mark.parametrize(
  ("change", "smaller"),
  [
    ({"learner.moment_dtype": "bfloat16"}, "policy, reference, moments"),
    ({"engine.num_slots": 32}, "KV cache"),
    ({"learner.logprob_chunk": 64}, "logits"),
  ],
)
def test_a_smaller_setting_needs_less_where_it_says(change, smaller):
  model = cases.read_model(SMALL.model)

  def plan(overrides):
    settings = read_settings(config.load(SMALL.config, overrides))
    return assembly.memory_plan(settings, model)

  before, after = plan({"learner.moment_dtype": "float32"}), plan(change)
  (name,) = (name for name in before if name.startswith(smaller))
  assert after[name] < before[name]
  assert {k: v for k, v in after.items() if k != name} == {
    k: v for k, v in before.items() if k != name
  }


@dataclasses.dataclass
class Lowered:
  """A program of another text, and whether it was compiled."""

  text: str
  compiled: bool = False

  def as_text(self):
    return self.text


def compile_all(
  monkeypatch, folder, text="module", order="ab", compiles=True, **versions
):
  """What a case gives whose programs are two texts; and which of them were compiled."""
  lowered = {"score": Lowered("module"), "step": Lowered(text)}
  programs = dict(lowered)
  chips = np.array(list(order))
  meshes = (types.SimpleNamespace(devices=chips),)
  monkeypatch.setattr(report.programs, "lower", lambda *given: programs)
  monkeypatch.setattr(report.programs, "meshes", lambda *given: meshes)
  monkeypatch.setattr(report, "_versions", lambda: {"libtpu": "1", **versions})

  def compile_program(program):
    program.compiled = True
    return Compiled(temp_bytes=len(program.text), collectives={"all-gather": 2})

  monkeypatch.setattr(report.compiled, "compile_program", compile_program)
  found = report.compile_all(
    *(None, None, None), kept=kept.Kept(folder), compiles=compiles
  )
  return found, [name for name, program in lowered.items() if program.compiled]


def test_a_program_is_kept_until_anything_that_decides_changes(tmp_path, monkeypatch):
  def call(**changes):
    return compile_all(monkeypatch, tmp_path, **changes)

  assert call(compiles=False) == ({}, [])
  first, made = call()
  assert made == ["score", "step"] and first["step"].temp_bytes == len("module")
  assert call() == (first, []) and call(compiles=False) == (first, [])
  # Another text is another program; the others stay.
  assert call(text="other", compiles=False) == ({}, [])
  assert call(text="other")[1] == ["step"]
  assert call(text="other", libtpu="2")[1] == ["score", "step"]
  assert call(text="other", libtpu="2", order="ba")[1] == ["score", "step"]
  monkeypatch.setenv("LIBTPU_INIT_ARGS", "--xla_flag")
  assert call(text="other", libtpu="2", order="ba")[1] == ["score", "step"]
  assert call(text="other", libtpu="2", order="ba")[1] == []


def test_the_roofline_by_hand():
  settings = settings_of(SMALL)
  model, chip = cases.read_model(SMALL.model), CHIPS["h100"]
  load = roofline.Workload(turns=2, opening=100, observation=30, response=20, probes=0.5)
  assert load.tokens == 200
  times = roofline.predict(settings, model, chip, workload=load)
  num, speed = model.num_params, 989e12 * 0.4
  assert times.gradient_s == pytest.approx(8 * num * 64 * 200 / speed)
  assert times.reference_s == pytest.approx(2 * num * 64 * 200 / speed)
  # 64 episodes and half of 64 x 2 x 4 probes; 40 tokens each, on 64 slots.
  assert times.prefill_s == pytest.approx(2 * num * 320 * 200 / speed)
  step = (64 * 100 * 12_288 + 2 * num) / 3.35e12
  assert times.decode_s == pytest.approx(320 / 64 * 40 * step)


def test_the_command_says_what_is_missing(repo_root):
  def call(*arguments):
    return subprocess.run(
      [sys.executable, "-m", "experiments.fit", *arguments],
      cwd=repo_root,
      capture_output=True,
      text=True,
    )

  assert "fit: give either --all, or --config" in call("--noall").stderr
  assert "topology='' must be CHIP:SIZES" in call(f"--config={SMALL.config}").stderr
  done = call(f"--config={SMALL.config}", "--topology=h200:1")
  assert done.returncode == 0 and "fits (by formula)" in done.stdout


def test_a_row_says_what_the_compiler_and_what_the_formula_found():
  learned = {"score": Compiled(argument_bytes=GIB), "gradient": Compiled()}
  learned["accumulate"] = Compiled()
  learned["step"] = Compiled(temp_bytes=2 * GIB)
  collectives = {"all-gather": 18, "all-reduce": 2, "collective-permute": 1}
  learned["gradient"] = Compiled(temp_bytes=49 * GIB, collectives=collectives)
  sampler = {"extend": Compiled(collectives={"all-reduce": 57}), "decode": Compiled()}
  formula = report.check(SMALL)
  made = dataclasses.replace(
    formula, programs={**learned, **sampler}, versions={"jax": "1.2", "libtpu": "3.4"}
  )
  cells = dict(zip(page.COLUMNS, page.row(made), strict=True))
  share = f"{(formula.peak_bytes / GIB / 50 - 1) * 100:+.0f}".replace("-", "−")
  assert cells["peak"] == "50.0" and cells["by"] == "compiler"
  assert cells["formula"] == f"{formula.peak_bytes / GIB:.1f} ({share}%)"
  assert cells["collectives"] == "18g 2r 1p / 57r / 0"
  assert page.table([formula, made]).endswith("\n\nCompiled by jax 1.2, libtpu 3.4.")
  cells = dict(zip(page.COLUMNS, page.row(formula), strict=True))
  assert cells["by"] == "formula" and not cells["collectives"]
  assert cells["peak"] == cells["formula"]
  told = page.details(made)
  assert "50.0 GiB  gradient  (collectives: 18 all-gather, 2 all-reduce, 1 coll" in told
  assert f"{formula.peak_bytes / GIB:.1f} GiB by formula" in told


def rows_of(repo_root):
  """The table of docs/pods.md: a dictionary for each row."""
  text = (repo_root / "docs" / "pods.md").read_text()
  inside = text.partition(page.BEGIN)[2].partition(page.END)[0].strip().splitlines()
  lines = [line for line in inside if line.startswith("|")]
  rows = [tuple(c.strip() for c in line.strip("|").split("|")) for line in lines]
  assert rows[0] == page.COLUMNS
  return [dict(zip(page.COLUMNS, row, strict=True)) for row in rows[2:]]


def test_the_page_shows_the_configs_as_they_are(repo_root):
  rows = rows_of(repo_root)
  assert [tuple(row[name] for name in page.GIVEN) for row in rows] == [
    page.given(case) for case in cases.CASES
  ], "run: python -m experiments.fit --all --workdir=runs/fit --page=docs/pods.md"
  assert all(float(row["peak"]) <= float(row["of"]) for row in rows)


def test_the_compiler_has_seen_the_tpu_rows_of_the_page(repo_root):
  for case, row in zip(cases.CASES, rows_of(repo_root), strict=True):
    seen = case.place.chip.is_tpu
    assert row["by"] == (report.COMPILER if seen else report.FORMULA), row["config"]
    # One chip alone has nobody to talk to.
    several = seen and row["mesh"] != "1 · 1 · 1"
    assert bool(re.search(r"\dg", row["collectives"])) == several, row["config"]
