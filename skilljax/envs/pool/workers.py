"""Environments in worker processes: placement, time-outs, restarts, recycling.

A worker answers its requests in the order in which they were sent. It is sent several at
once, so that it need not wait for the caller between two of them; a time-out still
measures one request, from when the one before it was answered.

The first reset of a task goes ahead alone, and the others of its group wait for it. So
what a new game costs (a translation, which all workers then find on disk) is paid once,
and so is what a broken one costs.

Must not know about: tickets, which environment it hosts.
"""

import collections
import contextlib
import dataclasses
import functools
import itertools
import selectors
import time
import weakref
from collections.abc import Callable
from typing import Any

from skilljax.envs.base import Env
from skilljax.envs.pool.episode import Answer, Episode
from skilljax.envs.pool.guard import Guard
from skilljax.envs.pool.process import WorkerLost, WorkerProcess, decode_answer, stop_all
from skilljax.envs.pool.records import Request, Slot, TaskMemory, Worker, WorkerLimits
from skilljax.types import Fault

# Well below a socket's buffer, so that sending never waits for the child.
_MAX_CHARS_IN_PIPE = 32_768
# A worker that has just written half a message is alive, whatever its deadline says.
_HALF_MESSAGE_GRACE_S = 1.0
# A worker that was asked to exit closes its environments first.
_EXIT_GRACE_S = 10.0
# So many resets of one task in a row may hang or break a worker; the rest of its group
# then fails at once, instead of breaking as many workers more.
_MAX_BROKEN_RESETS = 2


class WorkerBackend:
  """Plays episodes in `num_workers` processes with `num_slots` environments each."""

  def __init__(
    self, make: Callable[[], Env], num_workers: int, num_slots: int, limits: WorkerLimits
  ):
    """Spawns the workers and returns at once."""
    self.counts = {"faults": 0, "restarts": 0, "recycles": 0}
    self._limits = limits
    self._spawn_process = functools.partial(WorkerProcess, make, num_slots)
    self._num_slots = num_slots
    self._selector = selectors.DefaultSelector()
    self._waiting: collections.deque[Episode] = collections.deque()
    self._answers: list[tuple[Episode, Answer]] = []
    self._place_of: dict[int, tuple[Worker, Slot]] = {}
    # Faults of episodes that owed no answer; the next step of the episode gets them.
    self._unasked: dict[int, Fault] = {}
    self._failed_starts = 0
    self._numbers = itertools.count()
    self._tasks = TaskMemory(max_broken=_MAX_BROKEN_RESETS)
    # (when to lose patience, worker that was asked to exit)
    self._leaving: list[tuple[float, WorkerProcess]] = []
    # Shared with the finalizer, which also runs when the interpreter exits.
    self._processes: set[WorkerProcess] = set()
    self._guard = Guard()
    self._finalizer = weakref.finalize(self, stop_all, self._processes, self._guard)
    self._workers = [self._spawn() for _ in range(num_workers)]

  def start(self, episode: Episode):
    """Queues a reset on the best free environment."""
    self._waiting.append(episode)
    self._place_waiting()

  def step(self, episode: Episode, action: str):
    """Queues one command."""
    if episode.serial in self._unasked:
      self._answers.append((episode, self._unasked.pop(episode.serial)))
      return
    worker, slot = self._place_of[episode.serial]
    self._enqueue(worker, slot, {"action": action}, self._limits.step_timeout_s)
    self._dispatch(worker)

  def release(self, episode: Episode):
    """Frees the environment; one that still computes is free when it has answered."""
    if episode in self._waiting:
      self._waiting.remove(episode)
      return
    self._unasked.pop(episode.serial, None)
    if episode.serial not in self._place_of:
      return
    worker, slot = self._place_of.pop(episode.serial)
    kept = [request for request in worker.queue if request.episode is not episode]
    worker.queue = collections.deque(kept)
    if all(request.slot is not slot for request in worker.sent):
      self._free(worker, slot)

  def poll(self, timeout_s: float) -> list[tuple[Episode, Answer]]:
    """Waits until there is an answer, nobody owes one, or `timeout_s` has passed."""
    end = time.monotonic() + timeout_s
    self._leaving = [entry for entry in self._leaving if not self._has_left(*entry)]
    while True:
      finished = bool(self._answers) or not self._owes() or time.monotonic() >= end
      self._read(0.0 if finished else self._patience(end))
      self._check_deadlines()
      self._place_waiting()
      if finished:
        answers, self._answers = self._answers, []
        return answers

  def close(self):
    """Ends all processes."""
    for worker in self._workers_all():
      self._selector.unregister(worker.process)
    self._selector.close()
    self._selector = selectors.DefaultSelector()
    self._workers.clear()
    self._waiting.clear()
    self._finalizer()

  # Reading

  def _workers_all(self) -> list[Worker]:
    return [key.data for key in self._selector.get_map().values()]

  def _owes(self) -> bool:
    return bool(self._waiting) or any(
      worker.sent or worker.queue for worker in self._workers_all()
    )

  def _patience(self, end: float) -> float:
    deadlines = [worker.deadline for worker in self._workers_all() if worker.waited_for]
    return max(0.0, min([end, *deadlines]) - time.monotonic())

  def _read(self, timeout_s: float):
    for key, _ in self._selector.select(timeout_s):
      worker = key.data
      try:
        messages = worker.process.receive()
        if not messages:
          soon = time.monotonic() + _HALF_MESSAGE_GRACE_S
          worker.deadline = max(worker.deadline, soon)
        for message in messages:
          self._on_message(worker, message)
      except WorkerLost as lost:
        self._on_lost(worker, str(lost))

  def _on_message(self, worker: Worker, message: dict[str, Any]):
    if not worker.ready:
      self._on_first_message(worker, message)
    elif not worker.sent or message.get("number") != worker.sent[0].number:
      raise WorkerLost(f"worker {worker.process.pid} answered what nobody asked")
    else:
      self._on_answer(worker, message)
    self._dispatch(worker)

  def _on_first_message(self, worker: Worker, message: dict[str, Any]):
    if "failed" in message:
      raise WorkerLost(f"the environment could not be built: {message['failed']}")
    if "ready" not in message:
      raise WorkerLost(f"worker {worker.process.pid} did not say ready: {message}")
    worker.ready = True
    self._failed_starts = 0

  def _on_answer(self, worker: Worker, message: dict[str, Any]):
    request = worker.sent[0]
    if "unplayable" in message:
      reason = str(message["unplayable"])
      self._tasks.note_unplayable(request.task_key, reason)
      self._fail(request.episode, reason, asked=True)
    elif "error" in message:
      self._note_broken(request)
      self._fail(request.episode, str(message["error"]), asked=True)
    else:
      answer = decode_answer(message.get("observation"))
      self._answers.append((request.episode, answer))
      if request.is_reset:
        self._tasks.note_loaded(request.task_key)
    worker.sent.popleft()
    if worker.sent:
      worker.deadline = time.monotonic() + worker.sent[0].timeout_s
    if request.episode.serial not in self._place_of:  # failed, or released meanwhile
      self._free(worker, request.slot)
    if "error" in message and not worker.retiring:
      # The engine behind the object may be damaged too: no new episode in this process.
      self.counts["restarts"] += 1
      self._retire(worker)

  def _note_broken(self, request: Request):
    """After too many broken resets of a task, those that wait to try it fail too."""
    key = request.task_key
    if request.is_reset and self._tasks.note_broken(key):
      reason = f"not tried: {_MAX_BROKEN_RESETS} resets of {key} in a row broke"
      for episode in [e for e in self._waiting if e.task.key == key]:
        self._waiting.remove(episode)
        self._fail_waiting(episode, reason)

  # Placement

  def _spawn(self) -> Worker:
    process = self._spawn_process()
    self._processes.add(process)
    self._guard.watch(process.pid)
    worker = Worker(
      process=process,
      slots=[Slot(number) for number in range(self._num_slots)],
      deadline=time.monotonic() + self._limits.start_timeout_s,
    )
    self._selector.register(process, selectors.EVENT_READ, worker)
    # A child that is gone already has closed its pipe, which `receive` will report.
    with contextlib.suppress(WorkerLost):
      process.begin()
    return worker

  def _place_waiting(self):
    if not self._waiting:
      return
    requests = [r for w in self._workers_all() for r in (*w.sent, *w.queue)]
    loading = {r.task_key for r in requests if r.is_reset}
    waiting, self._waiting = self._waiting, collections.deque()
    for episode in waiting:
      key = episode.task.key
      if reason := self._tasks.why_unplayable(key):
        self._fail_waiting(episode, reason)
      elif not self._tasks.is_loaded(key) and key in loading:
        self._waiting.append(episode)
      elif self._place(episode):
        loading.add(key)
      else:
        self._waiting.append(episode)

  def _place(self, episode: Episode) -> bool:
    """Sends an episode to an environment; False if all are in use."""
    key = episode.task.key
    # The least loaded worker; there, an environment that has the task loaded.
    places = [
      (worker.num_open, slot.last_task != key, index, slot.number)
      for index, worker in enumerate(self._workers)
      for slot in worker.slots
      if slot.episode is None
    ]
    if not places:
      return False
    _, _, index, number = min(places)
    worker = self._workers[index]
    slot = worker.slots[number]
    slot.episode, slot.last_task = episode, key
    worker.num_started += 1
    self._place_of[episode.serial] = (worker, slot)
    message = {"task": dataclasses.asdict(episode.task)}
    self._enqueue(worker, slot, message, self._limits.reset_timeout_s)
    if 0 < self._limits.recycle_after_episodes <= worker.num_started:
      self.counts["recycles"] += 1
      self._retire(worker)
    return True

  def _enqueue(
    self, worker: Worker, slot: Slot, message: dict[str, Any], timeout_s: float
  ):
    number = next(self._numbers)
    worker.queue.append(Request(number, slot, slot.episode, message, timeout_s))
    self._dispatch(worker)

  def _dispatch(self, worker: Worker):
    while worker.ready and not worker.lost and worker.queue:
      request = worker.queue[0]
      load = sum(sent.num_chars for sent in worker.sent) + request.num_chars
      if worker.sent and load > _MAX_CHARS_IN_PIPE:
        return
      worker.queue.popleft()
      if not worker.sent:
        worker.deadline = time.monotonic() + request.timeout_s
      worker.sent.append(request)
      place = {"number": request.number, "slot": request.slot.number}
      try:
        worker.process.send({**place, **request.message})
      except WorkerLost as lost:
        self._on_lost(worker, str(lost))

  # Endings

  def _free(self, worker: Worker, slot: Slot):
    slot.episode = None
    if worker.retiring and worker.num_open == 0:
      self._send_off(worker)

  def _retire(self, worker: Worker):
    """A fresh worker takes the place at once; the old one ends with its last episode."""
    worker.retiring = True
    self._workers[self._workers.index(worker)] = self._spawn()
    if worker.num_open == 0:
      self._send_off(worker)

  def _send_off(self, worker: Worker):
    self._selector.unregister(worker.process)
    worker.process.ask_to_exit()
    self._leaving.append((time.monotonic() + _EXIT_GRACE_S, worker.process))

  def _has_left(self, patience_ends: float, process: WorkerProcess) -> bool:
    if not process.reap():
      if time.monotonic() < patience_ends:
        return False
      process.kill()
    self._forget(process)
    return True

  def _forget(self, process: WorkerProcess):
    self._processes.discard(process)
    self._guard.forget(process.pid)

  def _fail_waiting(self, episode: Episode, reason: str):
    self.counts["faults"] += 1
    self._answers.append((episode, Fault(episode.task, reason)))

  def _fail(self, episode: Episode, reason: str, *, asked: bool):
    if self._place_of.pop(episode.serial, None) is None:
      return  # released already
    self.counts["faults"] += 1
    fault = Fault(episode.task, reason)
    if asked:
      self._answers.append((episode, fault))
    else:
      self._unasked[episode.serial] = fault

  def _check_deadlines(self):
    now = time.monotonic()
    for worker in self._workers_all():
      if worker.waited_for and now >= worker.deadline:
        what = "start"
        if worker.sent:
          what = "reset" if worker.sent[0].is_reset else "step"
        limit = self._limits.__dict__[f"{what}_timeout_s"]
        self._on_lost(worker, f"{what} took more than {limit} s (pool.{what}_timeout_s)")

  def _on_lost(self, worker: Worker, reason: str):
    """Faults what the worker was playing, places anew what it had not begun."""
    if worker.lost:
      return
    worker.lost = True
    self._selector.unregister(worker.process)
    worker.process.kill()
    self._forget(worker.process)
    requests = [*worker.sent, *worker.queue]
    asked = [request.episode for request in requests]
    # It works on the first request sent; a reset behind that one can begin elsewhere.
    waiting = requests[1:] if worker.sent else requests
    unbegun = [
      request.episode
      for request in waiting
      if request.is_reset and request.episode.serial in self._place_of
    ]
    for slot in worker.slots:
      if slot.episode in unbegun:
        del self._place_of[slot.episode.serial]
      elif slot.episode is not None:
        self._fail(slot.episode, reason, asked=slot.episode in asked)
    self._waiting.extendleft(reversed(unbegun))
    if worker.sent:
      self._note_broken(worker.sent[0])
    if not worker.ready:
      self._failed_starts += 1
      if self._failed_starts >= self._limits.max_failed_starts:
        raise RuntimeError(
          f"environment workers failed to start {self._failed_starts} times in a row "
          f"(max_failed_starts); the last reason: {reason}"
        )
    if not worker.retiring:
      self.counts["restarts"] += 1
      self._workers[self._workers.index(worker)] = self._spawn()
