"""Two processes of some devices each, as a user would start them on two machines."""

import json
import os
import pathlib
import random
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest
from safetensors.numpy import load_file

from skilljax import hosts
from skilljax.runs import cold_start
from tests.test_runs import settings_of

CONFIG = "tests/multihost_config.py"
# Devices of one host -> the mesh over two hosts, and that of each host's sampler.
MESHES = {
  2: "data=2,fsdp=1,tensor=2,slots=1,own=2",
  4: "data=2,fsdp=2,tensor=2,slots=2,own=2",
}


class Job:
  """The same command on several hosts of one machine."""

  def __init__(
    self, repo_root, policy, folder, *, num=2, devices=2, updates=3, **changes
  ):
    """`policy=None` is a cold start, else a training run; `config1` is the other's."""
    self.folder = folder
    command = ("experiments.train", f"--policy={policy}")
    if policy is None:
      command = ("experiments.sft",)
    with socket.socket() as free:
      free.bind(("127.0.0.1", 0))
      address = f"127.0.0.1:{free.getsockname()[1]}"
    own = [
      changes.get(f"config{i}", f"{CONFIG}:{MESHES[devices]},updates={updates}")
      for i in (0, 1)
    ]
    self.hosts = [
      subprocess.Popen(
        [
          *(sys.executable, "-m", *command, f"--config={own[index]}"),
          *(f"--workdir={folder}", "--quiet_s=15", f"--hosts={address},{num},{index}"),
        ],
        cwd=repo_root,
        env={
          **os.environ,
          "JAX_PLATFORMS": "cpu",
          "JAX_NUM_CPU_DEVICES": str(devices),
          "PYTHONFAULTHANDLER": "1",
        },
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
      )
      for index in range(num)
    ]

  def wait(self, timeout=400):
    """What each host wrote, by index."""
    return [host.communicate(timeout=timeout)[1] for host in self.hosts]

  def end_of(self, host, after):
    """What a host wrote that ends by itself; else where all of them are."""
    try:
      return self.hosts[host].communicate(timeout=120)[1]
    except subprocess.TimeoutExpired:
      for one in self.hosts:
        one.send_signal(signal.SIGABRT)
        one.send_signal(signal.SIGCONT)
      time.sleep(3)
      for one in self.hosts:
        one.kill()
      raise AssertionError(f"after {after}: {[t[-6000:] for t in self.wait()]}") from None

  def wait_for_checkpoint(self, step):
    end = time.monotonic() + 300
    while not (self.folder / "checkpoints" / str(step)).exists():
      assert time.monotonic() < end and all(host.poll() is None for host in self.hosts)
      time.sleep(0.1)


@pytest.fixture(scope="module")
def policy(repo_root, tmp_path_factory) -> pathlib.Path:
  settings = settings_of(CONFIG, repo_root)
  return cold_start.run(settings, tmp_path_factory.mktemp("cold"))


@pytest.mark.timeout(900)
@pytest.mark.slow  # three runs, two of them as two processes: minutes on two cores
@pytest.mark.parametrize(("devices", "updates"), [(2, 2), (4, 3)])
def test_a_host_dies_the_other_names_it_and_the_run_goes_on_as_one_hosts(
  repo_root, policy, tmp_path, devices, updates
):
  one = tmp_path / "one"
  train_alone(repo_root, policy, one, updates)
  two = tmp_path / "two"
  job = Job(repo_root, policy, two, devices=devices, updates=updates)
  job.wait_for_checkpoint(1)
  job.hosts[1].kill()
  begin = time.monotonic()
  message = job.wait()[0]
  assert time.monotonic() - begin < 60
  assert job.hosts[0].returncode == 1
  assert "skilljax: host 1 is gone: no sign of life" in message

  again = Job(repo_root, policy, two, devices=devices, updates=updates)
  texts = again.wait()
  assert [host.returncode for host in again.hosts] == [0, 0], texts
  expect_equal_runs(two, one)


@pytest.mark.timeout(5400)
@pytest.mark.slow  # about an hour on two cores
def test_twenty_deaths_at_random_moments_lose_only_the_steps_since(
  repo_root, policy, tmp_path
):
  # A shell that starts tests in the background lets them ignore this signal.
  signal.signal(signal.SIGINT, signal.default_int_handler)
  deaths, updates = 20, 60
  rng = random.Random(0)
  folder = tmp_path / "run"
  seen = []
  for death in range(deaths):
    job = Job(repo_root, policy, folder, updates=updates)
    steps = completed(folder)
    job.wait_for_checkpoint(max(steps, default=0) + 1)
    time.sleep(rng.random() * 4)  # an update and its checkpoint take about as long
    victim, kind = rng.randrange(2), rng.choice(["KILL", "STOP", "INT"])
    job.hosts[victim].send_signal(getattr(signal, f"SIG{kind}"))
    begin = time.monotonic()
    message = job.end_of(1 - victim, f"{kind} of host {victim}")
    took = time.monotonic() - begin
    job.hosts[victim].kill()
    job.hosts[victim].communicate()
    print(f"{death}: {kind} of host {victim}, at {max(completed(folder))}, {took:.1f} s")
    assert took < 60 and job.hosts[1 - victim].returncode == 1
    # Where the coordinator is gone JAX itself may end the other first; it says so too.
    assert f"host {victim} " in message or "coordin" in message.lower(), message[-2000:]
    assert max(completed(folder)) >= max(steps, default=0) + 1  # nothing durable is lost
    seen.append(kind)
  assert set(seen) == {"KILL", "STOP", "INT"}
  Job(repo_root, policy, folder, updates=updates).wait(timeout=1800)
  one = tmp_path / "one"
  train_alone(repo_root, policy, one, updates)
  expect_equal_runs(folder, one)


def completed(folder) -> list[int]:
  """Steps whose checkpoints are complete."""
  return [int(p.name) for p in (folder / "checkpoints").glob("*") if p.name.isdigit()]


def train_alone(repo_root, policy, folder, updates):
  """The run of a single process of one device."""
  config = f"{CONFIG}:updates={updates}"
  subprocess.run(
    [
      *(sys.executable, "-m", "experiments.train", f"--config={config}"),
      *(f"--policy={policy}", f"--workdir={folder}"),
    ],
    cwd=repo_root,
    env={**os.environ, "JAX_PLATFORMS": "cpu"},
    capture_output=True,
    check=True,
  )


def expect_equal_runs(two, one):
  for name in ("edits.jsonl", "episodes.jsonl", "commits.jsonl"):
    assert (two / name).read_bytes() == (one / name).read_bytes()
  expect_equal_policies(two / "policy", one / "policy")


def expect_equal_policies(two, one, atol=1e-5):
  ours, theirs = (load_file(folder / "model.safetensors") for folder in (two, one))
  for name, tensor in theirs.items():
    np.testing.assert_allclose(ours[name], tensor, atol=atol, err_msg=name)


@pytest.mark.timeout(300)
def test_a_cold_start_on_two_hosts_is_that_of_one(repo_root, policy, tmp_path):
  job = Job(repo_root, None, tmp_path)
  texts = job.wait()
  assert [host.returncode for host in job.hosts] == [0, 0], texts
  expect_equal_policies(tmp_path / "policy", policy, atol=1e-4)  # steps of 6e-3
  lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
  steps = [json.loads(line)["step"] for line in lines]
  assert steps == sorted(set(steps))  # one host writes


@pytest.mark.timeout(300)
def test_hosts_that_disagree_about_the_config_stop_and_say_so(
  repo_root, policy, tmp_path
):
  other = f"{CONFIG}:{MESHES[2]},updates=4"
  job = Job(repo_root, policy, tmp_path, config1=other)
  for text in job.wait():
    assert "that of host 1 has train.num_updates=4 (host 0: 3). All hosts" in text
    assert "Traceback" not in text.partition("config error")[0]
  assert all(host.returncode for host in job.hosts)
  assert not (tmp_path / "config.json").exists()


@pytest.mark.parametrize(
  "place",
  ["127.0.0.1", "127.0.0.1:1,2", "a:1,two,0", "a:1,2,2", "a:1,2,0,0", "somewhere"],
)
def test_a_place_that_cannot_be_read_names_the_flag(place):
  with pytest.raises(ValueError, match="flag --hosts"):
    hosts.connect(place)


def test_alone_nothing_is_exchanged():
  hosts.connect("")
  value = {"a": [1, 2]}
  assert hosts.gather(value) == [value] and hosts.gather(value)[0] is value
  assert hosts.from_first(lambda: 7) == 7
  hosts.check_same("the config", {"seed": 0})
  hosts.tick()
  with hosts.waiting():
    pass
  hosts.end(ValueError("goes on"))
  hosts.leave()
  assert (hosts.index(), hosts.count(), hosts.is_first()) == (0, 1, True)
