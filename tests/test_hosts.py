"""Two processes of some devices each, as a user would start them on two machines."""

import json
import os
import pathlib
import random
import re
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest
from safetensors.numpy import load_file

from skilljax import checkpoint, hosts, preflight, watch
from skilljax.config import ConfigError
from skilljax.runs import training
from tests import one_device
from tests.one_device import CONFIG
from tests.test_runs import settings_of

# Devices of one host -> the mesh over two hosts, and that of each host's sampler. Among
# processes all collectives of CPUs go through sockets, also those of one host's devices:
# with several of them an update takes ten times as long.
MESHES = {
  1: "data=1,fsdp=2,tensor=1,slots=1,own=1",
  2: "data=2,fsdp=1,tensor=2,slots=1,own=2",
  4: "data=2,fsdp=2,tensor=2,slots=2,own=2",
}


# For jobs of two processes on two cores, where a step takes seconds.
PATIENCE = ("--quiet_s=15", "--save_s=40")


class Job:
  """The same command on several hosts of one machine."""

  def __init__(self, repo_root, command, *, num=2, devices=2, started=None, **configs):
    """`config` is that of all hosts, `config1` the other's; `started`: only so many."""
    with socket.socket() as free:
      free.bind(("127.0.0.1", 0))
      address = f"127.0.0.1:{free.getsockname()[1]}"
    own = [configs.get(f"config{i}", configs.get("config")) for i in range(num)]
    self.hosts = [
      subprocess.Popen(
        [
          *(sys.executable, "-m"),
          *(part.format(place=f"{address},{num},{i}", config=own[i]) for part in command),
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
      for i in range(num if started is None else started)
    ]

  def wait(self, timeout=400):
    """What each host wrote, by index."""
    return [host.communicate(timeout=timeout)[1] for host in self.hosts]

  def statuses(self):
    """Exit statuses, by index."""
    return [host.returncode for host in self.hosts]


class Run(Job):
  """A cold start (`policy=None`) or a training run on several hosts, in one folder."""

  def __init__(
    self,
    repo_root,
    policy,
    folder,
    *,
    devices=1,
    updates=3,
    program="experiments.train",
    patience=PATIENCE,
    **configs,
  ):
    self.folder = folder
    command = (program, f"--policy={policy}")
    if policy is None:
      command = ("experiments.sft",)
    flags = ("--config={config}", f"--workdir={folder}", "--hosts={place}", *patience)
    variant = f"{MESHES[devices]},updates={updates},cold={policy is None}"
    configs = {"config": f"{CONFIG}:{variant}", **configs}
    super().__init__(repo_root, (*command, *flags), devices=devices, **configs)

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
def policy(made_once, repo_root) -> pathlib.Path:
  return one_device.policy(made_once, repo_root)


@pytest.mark.timeout(600)
def test_a_host_is_killed_the_other_names_it_and_one_host_goes_on(
  made_once, repo_root, policy, tmp_path
):
  two = tmp_path / "two"
  job = Run(repo_root, policy, two, updates=2, patience=("--quiet_s=5",))
  job.wait_for_checkpoint(1)
  job.hosts[1].kill()
  begin = time.monotonic()
  message = job.wait()[0]
  assert time.monotonic() - begin < 60
  assert job.statuses() == [watch.OTHER_HOST_FAILED, -signal.SIGKILL]
  assert "skilljax: host 1 is gone: no sign of life for 5 s" in message
  assert completed(two) == [1]

  # This process is one host of one device, and goes on from the halves of two hosts.
  alone = settings_of(f"{CONFIG}:updates=2", repo_root)
  shorter = settings_of(f"{CONFIG}:updates=2", repo_root, {"engine.max_len": 512})
  with pytest.raises(ConfigError, match=r"engine.max_len=512 \(there: 640\); restore"):
    training.run(shorter, policy, two)
  training.run(alone, policy, two)
  one = one_device.run(made_once, repo_root, updates=2)
  expect_equal_runs(two, one)
  assert moved(policy, one / "policy") > 3e-4  # thirty times the tolerance


@pytest.mark.timeout(900)
@pytest.mark.slow  # three runs, two of them as two processes: minutes on two cores
def test_a_run_on_two_hosts_that_was_killed_ends_as_the_one_of_one_host(
  repo_root, policy, tmp_path
):
  one = tmp_path / "one"
  one_device.train(repo_root, policy, one, "updates=3")
  two = tmp_path / "two"
  job = Run(repo_root, policy, two, devices=4)
  job.wait_for_checkpoint(1)
  job.hosts[0].kill()
  begin = time.monotonic()
  message = job.wait()[1]
  assert time.monotonic() - begin < 60
  assert job.statuses() == [-signal.SIGKILL, watch.OTHER_HOST_FAILED]
  assert names(message, 0), message[-2000:]

  again = Run(repo_root, policy, two, devices=4)
  texts = again.wait()
  assert again.statuses() == [0, 0], texts
  expect_equal_runs(two, one)


@pytest.mark.timeout(900)
@pytest.mark.slow  # a run as two processes, and the default patience
@pytest.mark.parametrize("victim", [0, 1])
def test_a_host_that_hangs_in_a_run_ends_all_within_a_minute(
  repo_root, policy, tmp_path, victim
):
  program = "tests.hanging_train"
  job = Run(repo_root, policy, tmp_path, updates=60, program=program, patience=())
  job.wait_for_checkpoint(2)
  job.hosts[victim].send_signal(signal.SIGUSR1)
  begin = time.monotonic()
  texts = [job.end_of(host, "a hang") for host in (0, 1)]
  assert time.monotonic() - begin < 60
  assert job.statuses() == [watch.OTHER_HOST_FAILED] * 2
  for text in texts:  # inside an exchange, who hangs looks like who waits for it
    assert f"host {victim} hangs: no progress" in text or "all hosts wait" in text


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
    job = Run(repo_root, policy, folder, updates=updates, program="tests.hanging_train")
    steps = completed(folder)
    job.wait_for_checkpoint(max(steps, default=0) + 1)
    time.sleep(rng.random() * 4)  # an update and its checkpoint take about as long
    victim, kind = rng.randrange(2), rng.choice(["KILL", "STOP", "INT", "TERM", "USR1"])
    job.hosts[victim].send_signal(getattr(signal, f"SIG{kind}"))
    begin = time.monotonic()
    message = job.end_of(1 - victim, f"{kind} of host {victim}")
    took = time.monotonic() - begin
    job.hosts[victim].kill()
    job.hosts[victim].communicate()
    print(f"{death}: {kind} of host {victim}, at {max(completed(folder))}, {took:.1f} s")
    assert took < 60 and job.hosts[1 - victim].returncode == watch.OTHER_HOST_FAILED
    everyone = kind == "USR1" and "skilljax: all hosts wait for each other" in message
    assert names(message, victim) or everyone, message[-2000:]
    assert max(completed(folder)) >= max(steps, default=0) + 1  # nothing durable is lost
    seen.append(kind)
  assert set(seen) == {"KILL", "STOP", "INT", "TERM", "USR1"}
  undisturbed = tmp_path / "undisturbed"
  for each in (folder, undisturbed):
    job = Run(repo_root, policy, each, updates=updates)
    texts = job.wait(timeout=1800)
    assert job.statuses() == [0, 0], texts
  lines = (folder / "metrics.jsonl").read_text().splitlines()
  assert [json.loads(line)["step"] for line in lines] == list(range(1, updates + 1))
  # Of the same hosts, so to the last bit: one host's sums round differently, and within
  # 60 updates some token lies that near to its neighbour (experiments/LOG.md).
  expect_equal_runs(folder, undisturbed, atol=0)


def names(message, victim) -> bool:
  """Whether the last line that a host wrote for its user blames this one."""
  told = [line for line in message.splitlines() if line.startswith("skilljax: ")]
  return bool(told) and re.match(rf"skilljax: host {victim}\b", told[-1]) is not None


def moved(before, after) -> float:
  """By how much the weight changed that changed most."""
  ours, theirs = (load_file(folder / "model.safetensors") for folder in (before, after))
  return max(float(np.abs(ours[name] - theirs[name]).max()) for name in theirs)


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
  ("kind", "said"),
  [
    (
      "sleeps",
      "host 1 hangs: no progress for 3 s while it is in the run (flag --hang_s)",
    ),
    (
      "waits",
      "all hosts wait for each other in an exchange: no progress for 3 s (far longer "
      "than ever before, flag --hang_s)",
    ),
  ],
)
def test_a_main_thread_that_stands_still_ends_both_though_signs_of_life_go_on(
  repo_root, kind, said
):
  job = Job(repo_root, ("tests.hosts_job", "{place}", kind), devices=1)
  texts = job.wait(timeout=60)
  assert job.statuses() == [watch.OTHER_HOST_FAILED] * 2, texts
  assert all(said in text for text in texts)


@pytest.mark.timeout(120)
def test_a_host_that_is_told_to_end_ends_both_at_once(repo_root):
  job = Job(repo_root, ("tests.hosts_job", "{place}", "is told"), devices=1)
  texts = job.wait(timeout=60)
  assert job.statuses() == [watch.OTHER_HOST_FAILED, 128 + signal.SIGTERM], texts
  assert "skilljax: host 1 ended: told to end (SIGTERM)" in texts[0]
  assert "skilljax: this host was told to end (SIGTERM)" in texts[1]


@pytest.mark.timeout(120)
@pytest.mark.parametrize("index", [0, 1])
def test_a_host_that_nobody_joins_ends_and_says_so(repo_root, index):
  with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    place = f"127.0.0.1:{free.getsockname()[1]},2,{index}"
  done = subprocess.run(
    [sys.executable, "-m", "tests.hosts_job", place, "never"],
    cwd=repo_root,
    env={**os.environ, "JAX_PLATFORMS": "cpu"},
    capture_output=True,
    text=True,
    timeout=60,  # far below the 300 s of JAX
    check=False,
  )
  assert done.returncode == watch.OTHER_HOST_FAILED
  said = f"not all hosts of --hosts={place} have joined within 4 s (flag --join_s)"
  assert said in done.stderr.splitlines()[-1]


def completed(folder) -> list[int]:
  """Steps whose checkpoints are complete."""
  return [int(p.name) for p in (folder / "checkpoints").glob("*") if p.name.isdigit()]


def expect_equal_runs(two, one, atol=1e-5):
  names = ("edits.jsonl", "episodes.jsonl", "commits.jsonl")
  for name in (*names, "metrics.jsonl") if atol == 0 else names:
    assert (two / name).read_bytes() == (one / name).read_bytes(), name
  expect_equal_policies(two / "policy", one / "policy", atol=atol)


def expect_equal_policies(two, one, atol=1e-5):
  ours, theirs = (load_file(folder / "model.safetensors") for folder in (two, one))
  for name, tensor in theirs.items():
    np.testing.assert_allclose(ours[name], tensor, rtol=0, atol=atol, err_msg=name)


@pytest.mark.timeout(300)
def test_a_cold_start_on_two_hosts_is_that_of_one(repo_root, policy, tmp_path):
  job = Run(repo_root, None, tmp_path, devices=2)
  texts = job.wait()
  assert job.statuses() == [0, 0], texts
  expect_equal_policies(tmp_path / "policy", policy, atol=1e-4)  # steps of 6e-3
  lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
  steps = [json.loads(line)["step"] for line in lines]
  assert steps == sorted(set(steps))  # one host writes


@pytest.mark.timeout(300)
def test_hosts_that_disagree_about_the_config_stop_and_say_so(
  repo_root, policy, tmp_path
):
  other = f"{CONFIG}:{MESHES[1]},updates=4"
  job = Run(repo_root, policy, tmp_path, config1=other)
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
  hosts.enter(hosts.STEADY)
  with hosts.waiting(), hosts.phase(hosts.SAVE):
    pass
  hosts.end(ValueError("goes on"))
  hosts.leave()
  assert (hosts.index(), hosts.count(), hosts.is_first()) == (0, 1, True)


def test_hosts_of_another_commit_or_another_jax_are_told_apart(repo_root, monkeypatch):
  settings = settings_of(CONFIG, repo_root)
  stamp = checkpoint.run_stamp()
  compared = []
  monkeypatch.setattr(hosts, "gather", lambda value: compared.append(value) or [value])
  preflight.check_hosts(settings, policy="p")
  ours = compared[0]
  assert ours["git commit"] == stamp["git_commit"]
  assert ours["version of jax"] == stamp["versions"]["jax"]
  theirs = {**ours, "git commit": "abc", "version of jax": "0.1"}
  monkeypatch.setattr(hosts, "gather", lambda value: [value, theirs])
  with pytest.raises(ConfigError, match=r"host 1 has git commit='abc' .*jax='0.1'"):
    preflight.check_hosts(settings, policy="p")


def test_an_exchange_that_broke_is_told_from_an_error_of_ones_own():
  broken = ValueError("UNKNOWN: Gloo AllGather failed: Connection closed by peer")
  wrapped = RuntimeError("step 3: cannot read arrays")
  wrapped.__cause__ = broken
  assert hosts._is_broken_exchange(broken) and hosts._is_broken_exchange(wrapped)
  assert not hosts._is_broken_exchange(ValueError("UNKNOWN name: x"))
