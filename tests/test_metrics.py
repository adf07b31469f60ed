import io
import os
import pathlib
import re
import struct
import subprocess
import sys
import textwrap

import jax.numpy as jnp
import numpy as np
import pytest
from tensorboardX.proto import event_pb2

from skilljax import metrics


def row(step):
  return {"train/loss": 1 / (step + 3), "perf/decode_tok_s": 100.0 + step}


def write_steps(folder, steps, resume_step=None):
  writer = metrics.MetricWriter(folder, resume_step=resume_step)
  for step in steps:
    writer.write(step, row(step))
  writer.close()


def test_rows_and_clock_numbers_go_into_two_files(tmp_path):
  write_steps(tmp_path, [0, 1])
  assert metrics.read_rows(tmp_path / "metrics.jsonl") == [
    {"step": 0, "train/loss": 1 / 3},
    {"step": 1, "train/loss": 1 / 4},
  ]
  assert metrics.read_rows(tmp_path / "perf.jsonl")[1]["perf/decode_tok_s"] == 101.0


def test_names_are_sorted_and_jax_numbers_are_taken(tmp_path):
  writer = metrics.MetricWriter(tmp_path)
  writer.write(0, {"train/loss": jnp.float32(0.5), "env/faults": np.int64(2)})
  writer.close()
  text = (tmp_path / "metrics.jsonl").read_text()
  assert text == '{"step": 0, "env/faults": 2.0, "train/loss": 0.5}\n'


def test_resumed_file_equals_straight_file(tmp_path):
  write_steps(tmp_path / "straight", range(1, 7))
  # Killed in step 5 while the row was being written; the checkpoint is of step 3.
  write_steps(tmp_path / "resumed", range(1, 6))
  for name in ("metrics.jsonl", "perf.jsonl"):
    with open(tmp_path / "resumed" / name, "ab") as file:
      file.write(b'{"step": 6, "train/lo')
  write_steps(tmp_path / "resumed", range(4, 7), resume_step=3)
  for name in ("metrics.jsonl", "perf.jsonl"):
    straight = (tmp_path / "straight" / name).read_bytes()
    assert (tmp_path / "resumed" / name).read_bytes() == straight
    assert straight.count(b"\n") == 6


def test_a_half_written_row_right_after_the_checkpoint_is_removed(tmp_path):
  write_steps(tmp_path, [1, 2])
  path = tmp_path / "metrics.jsonl"
  whole = path.read_bytes()
  path.write_bytes(whole + b'{"step": 3, "tr')
  write_steps(tmp_path, [], resume_step=2)
  assert path.read_bytes() == whole


def test_a_fresh_run_removes_old_rows(tmp_path):
  write_steps(tmp_path, [1, 2])
  write_steps(tmp_path, [1])
  assert [r["step"] for r in metrics.read_rows(tmp_path / "metrics.jsonl")] == [1]


def test_a_damaged_row_is_an_error(tmp_path):
  (tmp_path / "metrics.jsonl").write_text('{"step": 1}\nnot json\n{"step": 2}\n')
  with pytest.raises(ValueError, match=r"metrics\.jsonl, line 2 is damaged"):
    metrics.MetricWriter(tmp_path, resume_step=2)


@pytest.mark.parametrize(
  ("values", "message"),
  [
    ({"loss": 1.0}, "metric name 'loss' must start with one of train/, rollout/"),
    ({"training/loss": 1.0}, "must start with"),
    ({"train/": 1.0}, "must start with"),
    ({"train/loss": float("nan")}, "metric train/loss = nan is not finite"),
    ({"perf/x": np.float32(np.inf)}, "metric perf/x = inf is not finite"),
  ],
)
def test_refused_rows_leave_no_trace(tmp_path, values, message):
  writer = metrics.MetricWriter(tmp_path)
  with pytest.raises(ValueError, match=message):
    writer.write(0, {"env/steps": 1.0, **values})
  writer.write(0, {"env/steps": 2.0})
  with pytest.raises(ValueError, match="step = 0 must be > 0"):
    writer.write(0, {"env/steps": 2.0})
  writer.close()
  rows = metrics.read_rows(tmp_path / "metrics.jsonl")
  assert rows == [{"step": 0, "env/steps": 2.0}]


def read_events(folder):
  """(step, name, value) of all event files; records are length, crc, data, crc."""
  found = []
  for path in sorted(folder.iterdir()):
    data = path.read_bytes()
    while data:
      (length,) = struct.unpack("<Q", data[:8])
      event = event_pb2.Event.FromString(data[12 : 12 + length])
      found += [(event.step, v.tag, v.simple_value) for v in event.summary.value]
      data = data[16 + length :]
  return found


def test_event_files_hold_the_same_numbers(tmp_path):
  write_steps(tmp_path, [0, 1])
  assert read_events(tmp_path / "tensorboard") == [
    (0, "train/loss", np.float32(1 / 3)),
    (0, "perf/decode_tok_s", 100.0),
    (1, "train/loss", 0.25),
    (1, "perf/decode_tok_s", 101.0),
  ]


def test_plain_progress_has_no_control_characters():
  stream = io.StringIO()
  with metrics.Progress("sft", total=3, stream=stream, line_interval_s=0.0) as progress:
    progress.update(1, "loss 0.50")
    progress.update(2)
    progress.update(3, "done")
  lines = stream.getvalue().splitlines()
  assert len(lines) == 3
  assert re.fullmatch(r"sft 1/3, \d:\d\d elapsed, \d:\d\d left, loss 0\.50", lines[0])
  assert re.fullmatch(r"sft 3/3, \d:\d\d elapsed, done", lines[2])
  assert re.search(r"[^\x20-\x7e\n]", stream.getvalue()) is None


def test_plain_progress_is_rate_limited_but_always_shows_the_end():
  stream = io.StringIO()
  progress = metrics.Progress("rl", total=100, stream=stream, line_interval_s=3600)
  for done in range(1, 101):
    progress.update(done)
  assert [line.split(",")[0] for line in stream.getvalue().splitlines()] == [
    "rl 1/100",
    "rl 100/100",
  ]


def test_remaining_time_counts_this_process_only():
  # 60 units, resumed at 40, 10 done here in 20 s: 2 s each, 10 left.
  progress = metrics.Progress("rl", total=60, done=40, stream=io.StringIO())
  progress.update(50)
  assert progress._line(20.0, "") == "rl 50/60, 0:20 elapsed, 0:20 left"


def test_progress_on_a_terminal_draws_a_bar():
  class Terminal(io.StringIO):
    def isatty(self):
      return True

  stream = Terminal()
  with metrics.Progress("rl", total=2, stream=stream) as progress:
    progress.update(2, "success 0.41")
  assert "success 0.41" in stream.getvalue() and "2/2" in stream.getvalue()


def test_clock():
  assert [metrics.clock(s) for s in (4.6, 720, 3723)] == ["0:05", "12:00", "1:02:03"]


def test_memory_readers():
  before = metrics.rss_bytes()
  block = np.ones(40_000_000 // 8)
  assert metrics.rss_bytes() - before > 30_000_000
  del block
  assert metrics.peak_rss_bytes() - before > 30_000_000


def documented_metrics(repo_root: pathlib.Path) -> list[str]:
  text = (repo_root / "docs" / "metrics.md").read_text()
  return re.findall(r"^\| `([^`]+)`", text, flags=re.MULTILINE)


def test_every_documented_metric_has_a_legal_name(repo_root):
  names = documented_metrics(repo_root)
  assert len(names) > 30 and len(names) == len(set(names))
  for name in names:
    metrics.check_name(name)


def test_every_metric_that_the_code_names_is_documented(repo_root):
  prefixes = "|".join(prefix.rstrip("/") for prefix in metrics.PREFIXES)
  literal = re.compile(rf'"((?:{prefixes})/[a-z_]+)"')
  named = {
    name
    for folder in ("skilljax", "experiments")
    for path in (repo_root / folder).rglob("*.py")
    for name in literal.findall(path.read_text())
  }
  assert named - set(documented_metrics(repo_root)) == set()


def test_torch_is_not_imported_where_there_is_one(tmp_path):
  (tmp_path / "torch.py").write_text("raise AssertionError('torch was imported')")
  code = """
    import sys
    from skilljax.metrics import MetricWriter
    writer = MetricWriter(sys.argv[1])
    writer.write(1, {"train/loss": 0.5})
    writer.close()
    assert "torch" not in sys.modules
  """
  subprocess.run(
    [sys.executable, "-c", textwrap.dedent(code), tmp_path / "run"],
    env={**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{os.getcwd()}"},
    check=True,
  )
