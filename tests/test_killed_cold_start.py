"""A cold start that is killed ends like one that was not."""

import contextlib
import pathlib

import pytest

from skilljax import cold_start as cold_start_lib
from skilljax import config, hosts
from skilljax.runs import cold_start
from skilljax.settings import read_settings
from tests.test_runs import HOUSEHOLD

RESULTS = (
  *("metrics.jsonl", "config.json", "policy/model.safetensors", "policy/config.json"),
  *("policy/tokenizer.json", "dataset.json"),
)


class Killed(BaseException):
  """Nothing catches it."""


# Muon takes long to compile.
QUICK = {"sft.optimizer": "adamw", "cold_start.episodes": 32}


def read(repo_root, changes=None):
  """The debug variant with a checkpoint after every second of its six steps."""
  values = config.load(str(repo_root / HOUSEHOLD), QUICK | (changes or {}))
  with values.unlocked():
    values.cold_start.checkpoint_every = 2
  return read_settings(values)


@pytest.fixture(scope="module")
def settings(repo_root):
  return read(repo_root)


@pytest.fixture(scope="module")
def straight(settings, tmp_path_factory) -> pathlib.Path:
  """Never killed."""
  folder = tmp_path_factory.mktemp("straight")
  cold_start.run(settings, folder)
  return folder


@pytest.fixture(scope="module")
def killed(settings, tmp_path_factory) -> pathlib.Path:
  """Killed after the row of step 5 of 6, which follows a checkpoint of step 4."""
  folder = tmp_path_factory.mktemp("killed")
  # Of an earlier death, before anything vouched for the dataset.
  (folder / "demonstrations" / "1.0.0").mkdir(parents=True)
  checkpointers, write = [], cold_start.MetricWriter.write

  class Kept(cold_start.checkpoint_lib.Checkpointer):
    def __init__(self, *args, **options):
      super().__init__(*args, **options)
      checkpointers.append(self)

  def write_and_die(writer, step, values):
    write(writer, step, values)
    if step == 5:
      checkpointers[0].wait()
      raise Killed

  with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
    patch.setattr(cold_start.checkpoint_lib, "Checkpointer", Kept)
    patch.setattr(cold_start.MetricWriter, "write", write_and_die)
    cold_start.run(settings, folder)
  assert not (folder / "policy" / "config.json").exists()
  return folder


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"cold_start.episodes": 33}, r"demonstrations in .* of cold_start\.episodes; rest"),
    ({"engine.max_len": 600}, r"demonstrations in .* engine\.max_len"),
    ({"sft.learning_rate": 0.02}, r"checkpoint .*/4 was made .* sft\.learning_rate"),
  ],
)
def test_another_config_does_not_continue_it(repo_root, killed, changes, message):
  told = (killed / "config.json").read_bytes()
  with pytest.raises(config.ConfigError, match=message):
    cold_start.run(read(repo_root, changes), killed)
  assert (killed / "config.json").read_bytes() == told


def test_it_goes_on_and_writes_the_same_bytes(settings, straight, killed, monkeypatch):
  steps, write = [], cold_start.MetricWriter.write

  def written(writer, step, values):
    steps.append(step)
    write(writer, step, values)

  def play_again(*args, **options):
    raise AssertionError("demonstrations are kept")

  monkeypatch.setattr(cold_start.MetricWriter, "write", written)
  monkeypatch.setattr(cold_start_lib, "demonstrate", play_again)
  cold_start.run(settings, killed)
  assert steps == [5, 6]
  for name in RESULTS:
    assert (killed / name).read_bytes() == (straight / name).read_bytes(), name


class Diary:
  """Stands in for the watcher of several hosts: what the main thread says to it."""

  def __init__(self):
    self.lines, self.phase = [], hosts.START

  def tick(self):
    self.lines.append("step")

  def enter(self, phase):
    before, self.phase = self.phase, phase
    self.lines.append(phase)
    return before

  @contextlib.contextmanager
  def waiting(self, what):
    self.lines.append(f"{what} {self.phase}")
    yield


def test_it_tells_other_hosts_where_it_is(settings, tmp_path, monkeypatch):
  diary = Diary()
  monkeypatch.setattr(hosts, "_watcher", diary)
  cold_start.run(settings, tmp_path)
  steps = diary.lines[diary.lines.index(f"{hosts.LEARNING} {hosts.START}") :]
  # The first step compiles; those after it stand in the run. Every second one is saved.
  learning = f"{hosts.LEARNING} {hosts.STEADY}"
  saving = [hosts.SAVE, hosts.STEADY]  # and back
  assert steps[:3] == [f"{hosts.LEARNING} {hosts.START}", "step", hosts.STEADY]
  assert steps[3:8] == [learning, "step", *saving, hosts.STEADY]
  assert steps[8:11] == [learning, "step", hosts.STEADY]
  assert steps.count(learning) == settings.cold_start.steps - 1
  assert diary.phase == hosts.SAVE  # the policy is written
