"""Metrics: one JSON object a step, TensorBoard event files, progress on the terminal.

Purpose: record what a run measured so that a resumed run's file equals a straight run's,
byte for byte. Wall-clock numbers (`perf/`) therefore go into a file of their own.
Must not know about: what any metric means (docs/metrics.md does).
"""

import json
import math
import os
import resource
import sys
import time
import types
from collections.abc import Mapping
from typing import TextIO

from rich import console as rich_console
from rich import progress as rich_progress

PREFIXES = ("train/", "rollout/", "env/", "skill/", "eval/", "perf/")
PROC_STATUS = "/proc/self/status"


def check_name(name: str) -> None:
  """Raises a ValueError unless the metric's name starts with a known prefix."""
  prefix, slash, rest = name.partition("/")
  if prefix + slash not in PREFIXES or not rest:
    raise ValueError(f"metric name {name!r} must start with one of {', '.join(PREFIXES)}")


def check_value(name: str, value: float) -> float:
  """Returns the value as a float; raises a ValueError unless it is finite."""
  number = float(value)
  if not math.isfinite(number):
    raise ValueError(
      f"metric {name} = {number} is not finite; leave it out where unknown"
    )
  return number


class MetricWriter:
  """Writes `metrics.jsonl`, `perf.jsonl` and event files into a folder.

  Each line of the two files is one step: {"step": 3, "train/loss": 0.5, …}, names sorted.
  """

  def __init__(self, folder: str | os.PathLike, *, resume_step: int | None = None):
    """Opens the files.

    Args:
      folder: created if absent.
      resume_step: update count of the restored checkpoint. Rows of later steps, which
        the run is going to write again, and a half-written last line are removed. None
        starts afresh and removes every row.
    """
    os.makedirs(folder, exist_ok=True)
    self._paths = {
      "metrics": os.path.join(folder, "metrics.jsonl"),
      "perf": os.path.join(folder, "perf.jsonl"),
    }
    last = -1 if resume_step is None else resume_step
    for path in self._paths.values():
      truncate_rows(path, last)
    self._last_step = last
    self._files = {
      name: open(path, "ab", buffering=0)  # noqa: SIM115 (open as long as the writer)
      for name, path in self._paths.items()
    }
    # TensorBoard drops events at or past `purge_step` of earlier files of the folder.
    self._events = _tensorboard().SummaryWriter(
      os.path.join(folder, "tensorboard"), purge_step=last + 1
    )

  def write(self, step: int, values: Mapping[str, float]) -> None:
    """Appends one row a file, each with a single write of the operating system.

    Args:
      step: update count, larger than the last one written.
      values: metric name → finite number (a Python, numpy or 0-d jax number).
    Raises:
      ValueError: a name without a known prefix, a value that is not finite, or a step
        that does not grow. Nothing is written then.
    """
    if step <= self._last_step:
      raise ValueError(f"step = {step} must be > {self._last_step}, the last one written")
    rows: dict[str, dict[str, float]] = {name: {} for name in self._files}
    for name in sorted(values):
      check_name(name)
      kind = "perf" if name.startswith("perf/") else "metrics"
      rows[kind][name] = check_value(name, values[name])
    for kind, row in rows.items():
      if row:
        line = json.dumps({"step": step, **row}) + "\n"
        self._files[kind].write(line.encode())
      for name, value in row.items():
        self._events.add_scalar(name, value, step)
    self._last_step = step

  def close(self) -> None:
    """Flushes the event files and closes everything."""
    self._events.close()
    for file in self._files.values():
      file.close()


def truncate_rows(path: str, last_step: int) -> None:
  """Cuts a JSONL file after the last whole row with step <= `last_step`.

  Raises:
    ValueError: a row before the cut is not a JSON object with a step.
  """
  if not os.path.exists(path):
    return
  keep = 0
  with open(path, "rb") as file:
    for number, line in enumerate(file, start=1):
      if not line.endswith(b"\n"):
        break
      try:
        step = json.loads(line)["step"]
      except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"{path}, line {number} is damaged: {line[:80]!r}") from error
      if step > last_step:
        break
      keep += len(line)
  os.truncate(path, keep)


def read_rows(path: str | os.PathLike) -> list[dict[str, float]]:
  """All rows of a metrics file, in order."""
  with open(path, encoding="utf-8") as file:
    return [json.loads(line) for line in file]


class Progress:
  """Where a run stands: a live bar on a terminal, plain lines anywhere else.

  with Progress("reinforcement learning", total=60) as progress:
    progress.update(1, "success 0.41")
  """

  def __init__(
    self,
    title: str,
    *,
    total: int,
    done: int = 0,
    stream: TextIO | None = None,
    line_interval_s: float = 10.0,
  ):
    """Prepares a bar; nothing is shown before `update` or `with`.

    Args:
      title: one or two words.
      total: number of units of work, >= 1.
      done: units finished before this process (a resumed run).
      stream: where to write; standard output if None.
      line_interval_s: at least so long between two plain lines (the last is always
        shown).
    """
    if total < 1:
      raise ValueError(f"total = {total} must be >= 1")
    self._title, self._total, self._done, self._first = title, total, done, done
    self._stream = sys.stdout if stream is None else stream
    self._line_interval_s = line_interval_s
    self._start_s = time.monotonic()
    self._last_line_s = -math.inf
    self._bar: rich_progress.Progress | None = None
    if self._stream.isatty():
      self._bar = rich_progress.Progress(
        rich_progress.TextColumn("{task.description}"),
        rich_progress.BarColumn(),
        rich_progress.MofNCompleteColumn(),
        rich_progress.TimeElapsedColumn(),
        rich_progress.TimeRemainingColumn(),
        rich_progress.TextColumn("{task.fields[note]}"),
        console=rich_console.Console(file=self._stream),
      )
      self._task = self._bar.add_task(title, total=total, completed=done, note="")

  def __enter__(self) -> "Progress":
    if self._bar is not None:
      self._bar.start()
    return self

  def __exit__(self, *error: object) -> None:
    if self._bar is not None:
      self._bar.stop()

  def update(self, done: int, note: str = "") -> None:
    """Shows that `done` of `total` units are finished; `note` is one short line."""
    self._done = done
    if self._bar is not None:
      self._bar.update(self._task, completed=done, note=note)
      return
    now_s = time.monotonic()
    if done < self._total and now_s - self._last_line_s < self._line_interval_s:
      return
    self._last_line_s = now_s
    print(self._line(now_s - self._start_s, note), file=self._stream, flush=True)

  def _line(self, elapsed_s: float, note: str) -> str:
    """'title 3/60, 0:12 elapsed, 3:48 left, note'."""
    parts = [f"{self._title} {self._done}/{self._total}", f"{clock(elapsed_s)} elapsed"]
    worked = self._done - self._first
    if worked > 0 and self._done < self._total:
      left_s = elapsed_s / worked * (self._total - self._done)
      parts.append(f"{clock(left_s)} left")
    return ", ".join(parts + ([note] if note else []))


def clock(seconds: float) -> str:
  """'0:05', '12:00', '1:02:03'."""
  minutes, second = divmod(round(seconds), 60)
  hours, minute = divmod(minutes, 60)
  return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"


def rss_bytes() -> int:
  """Resident memory of this process now, in bytes; the peak where there is no /proc."""
  return status_bytes("VmRSS")


def peak_rss_bytes() -> int:
  """Largest resident memory of this process so far, in bytes."""
  return status_bytes("VmHWM")


def status_bytes(field: str) -> int:
  """One size of /proc/self/status; elsewhere (macOS) the peak.

  Linux does not use getrusage: its peak there starts at the parent process' size.
  """
  if not os.path.exists(PROC_STATUS):
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
  with open(PROC_STATUS, encoding="ascii") as file:
    sizes = dict(line.split(":", 1) for line in file)
  return int(sizes[field].split()[0]) * 1024  # the kernel reports kibibytes


def _tensorboard() -> types.ModuleType:
  """tensorboardX, without the torch that it imports wherever there is one.

  It only asks whether a value is a torch tensor; the import takes seconds and hundreds of
  megabytes of every process that trains.
  """
  absent = "torch" not in sys.modules
  if absent:
    sys.modules["torch"] = None  # an import raises ImportError, which it expects
  try:
    import tensorboardX
  finally:
    if absent:
      del sys.modules["torch"]
  return tensorboardX
