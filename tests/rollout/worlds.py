"""Runners without a network: `household` with reading agents, and a world of one turn.

Agents are seeded by the sampling key of their episode, as a real engine's samples are. So
two runs of a probe pair explore alike exactly if the code gives them equal keys.
"""

import collections
import functools
import random
import zlib

import numpy as np

from skilljax import cold_start
from skilljax.agents import chat, prompts
from skilljax.data.tokenizer import train_tokenizer
from skilljax.engine.base import GenerateResult
from skilljax.engine.scripted import ScriptedEngine
from skilljax.envs.household import (
  HouseholdAgent,
  HouseholdEnv,
  HouseholdSettings,
  HouseholdSource,
  HouseholdTeacher,
)
from skilljax.envs.pool import EnvPool
from skilljax.rollout.runner import Runner, RunnerSettings
from skilljax.skills.edits import EditLimits
from skilljax.skills.retrieval import category
from skilljax.types import Observation, Task

SETTINGS = HouseholdSettings(train_estates=40, dev_estates=4, test_estates=12)
SOURCE = HouseholdSource(SETTINGS)
TEACHER = HouseholdTeacher(SETTINGS)


@functools.cache
def tokenizer():
  """Small, but its words are those of the world."""
  tasks = [SOURCE.task(estate, 0) for estate in SOURCE.estates("train")[:60]]
  texts = cold_start.sample_texts(
    tasks, env=HouseholdEnv(SETTINGS), teacher=TEACHER, style=prompts.COMPACT, seed=0
  )
  return train_tokenizer(texts, vocab_size=560)


def reader(sequence, key):
  """The scripted player that reads skills; `key` decides how it explores."""
  del sequence
  return HouseholdAgent(seed=zlib.crc32(repr(key).encode()))


class KeyedEngine:
  """A `ScriptedEngine` whose agents know the sampling key of their episode.

  Like the decoder it ends a response at `max_len`, and gives each token a log-prob of its
  own, so that a shifted array cannot pass for the right one.
  """

  def __init__(self, make_agent=reader, *, num_slots=16, max_len=4096):
    self._keys = {}
    self._length = collections.Counter()
    self._inner = ScriptedEngine(
      lambda name: make_agent(name, self._keys[name]),
      tokenizer(),
      num_slots,
      chat.compact(tokenizer()).end_id,
      max_len=max_len,
    )
    self.log = []  # requests and results, in order
    self.most_open = self.num_steps = 0

  policy_version = property(lambda self: self._inner.policy_version)
  num_free = property(lambda self: self._inner.num_free)
  max_len = property(lambda self: self._inner.max_len)

  def publish(self, params, version):
    self._inner.publish(params, version)

  def submit(self, request):
    self._keys.setdefault(request.sequence, request.key[:-1])  # without the turn
    self._inner.submit(request)
    self._length[request.sequence] += len(request.tokens)
    self.log.append(request)
    self.most_open = max(self.most_open, len(self._keys))

  def step(self):
    self.num_steps += 1
    return [self._finish(result) for result in self._inner.step()]

  def release(self, sequence):
    self._inner.release(sequence)
    del self._keys[sequence], self._length[sequence]

  def _finish(self, result):
    room = self.max_len - self._length[result.sequence]
    tokens = result.tokens[:room]
    result = GenerateResult(
      result.sequence,
      tokens,
      behavior_logprobs=behavior_of(tokens),
      sampled_logprobs=behavior_of(tokens) / 2,
      finish=result.finish if len(result.tokens) <= room else "full",
    )
    self._length[result.sequence] += len(tokens)
    self.log.append(result)
    return result


def behavior_of(tokens):
  """The made-up log-prob of each token."""
  return -np.asarray(tokens, np.float32) / 1024


class ShuffledPool:
  """A pool whose answers arrive late and in an order drawn from a seed."""

  def __init__(self, inner, seed):
    self._inner = inner
    self._rng = random.Random(seed)
    self._held = []
    self.arrivals = []

  capacity = property(lambda self: self._inner.capacity)
  num_free = property(lambda self: self._inner.num_free)

  def start(self, ticket, task):
    self._inner.start(ticket, task)

  def step(self, ticket, action):
    self._inner.step(ticket, action)

  def release(self, ticket):
    self._inner.release(ticket)

  def poll(self, timeout_s):
    self._held += self._inner.poll(timeout_s)
    self._rng.shuffle(self._held)
    number = self._rng.randint(0, len(self._held))
    out, self._held = self._held[:number], self._held[number:]
    self.arrivals += [ticket for ticket, answer in out]
    return out


class TricklePool(ShuffledPool):
  """One answer a poll; none for `stuck` while another episode is open."""

  def __init__(self, inner, stuck=None):
    super().__init__(inner, seed=0)
    self._stuck, self._open = stuck, set()

  def start(self, ticket, task):
    self._open.add(ticket)
    super().start(ticket, task)

  def release(self, ticket):
    self._open.discard(ticket)
    super().release(ticket)

  def poll(self, timeout_s):
    self._held += self._inner.poll(timeout_s)
    ready = [h for h in self._held if h[0] != self._stuck or self._open == {h[0]}]
    for answer in ready[:1]:
      self._held.remove(answer)
    return ready[:1]


def make_runner(
  make_agent=reader,
  *,
  num_slots=16,
  capacity=16,
  max_len=4096,
  make_env=None,
  shuffle=None,
  limits=None,
  retriever=None,
  goal_of=SOURCE.goal,
  act_tokens=48,
  edit_tokens=128,
):
  """A runner of its own engine and pool; household and the reading agent by default."""
  pool = EnvPool(make_env or (lambda: HouseholdEnv(SETTINGS)), envs_per_worker=capacity)
  return Runner(
    engine=KeyedEngine(make_agent, num_slots=num_slots, max_len=max_len),
    pool=pool if shuffle is None else ShuffledPool(pool, shuffle),
    tokenizer=tokenizer(),
    chat=chat.compact(tokenizer()),
    style=prompts.COMPACT,
    retriever=retriever or category(top_k=64, general_k=64),
    goal_of=goal_of,
    limits=limits or EditLimits(),
    settings=RunnerSettings(act_tokens=act_tokens, edit_tokens=edit_tokens),
  )


def train_tasks(num, *, family=None, first=0):
  """One train task of each of `num` estates, of one family if given."""
  tasks = []
  for estate in SOURCE.estates("train")[first : first + num]:
    stream = SOURCE.stream(estate, "train")
    index = estate % 6
    tasks.append(
      stream[index] if family is None else next(t for t in stream if t.family == family)
    )
  return tasks


# A world of one turn, in which an agent writes down its own name.


def note_task(name, *, scope="house"):
  return Task(env="notes", split="train", scope=scope, family="notes", name=name)


class NoteEnv:
  """One turn ends the episode; the actions 'lose' and 'raise' mean what they say."""

  def reset(self, task):
    self._task = task
    if task.name.startswith("broken"):
      raise RuntimeError(f"no world for {task.name}")
    return Observation(f"This is {task.name}.", goal="write a note.", max_turns=3)

  def step(self, action):
    if action == "raise":
      raise RuntimeError(f"{self._task.name} fell apart")
    if action == "wait":
      return Observation("You wait.", reward=0.25)
    won = action != "lose"
    return Observation("The end.", reward=float(won), terminated=True, success=won)

  def close(self):
    pass


class Notes:
  """Plays `action` and proposes a skill that carries the name of its episode."""

  def __init__(self, name, action="write"):
    self._name = name
    self._action = action

  def reply(self, context_text):
    if "Review the episode" not in context_text:
      return f"<think>so</think><action>{self._action}</action>"
    call = (
      '{"name": "propose_skill", "arguments": {"category": "general", '
      f'"title": "note {self._name}", "principle": "remember {self._name}.", '
      '"when_to_apply": "always", "evidence": "played"}}'
    )
    return f"<think>so</think><tool_call>{call}</tool_call>"


def make_note_runner(make_agent=lambda name, key: Notes(name), **options):
  """A runner of the world of one turn."""
  options.setdefault("make_env", NoteEnv)
  options.setdefault("edit_tokens", 400)
  return make_runner(make_agent, goal_of=lambda task: "write a note.", **options)
