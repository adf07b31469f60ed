"""Reports as text: the details of one case, and the table of docs/pods.md.

Must not know about: how a report came about.
"""

from collections.abc import Sequence
from pathlib import Path

from skilljax import config as config_lib
from skilljax.fit.cases import Case
from skilljax.fit.chips import GIB
from skilljax.fit.compiled import Compiled
from skilljax.fit.report import COMPILER, Report, phases
from skilljax.settings import read_settings

BEGIN, END = "<!-- fit: begin -->", "<!-- fit: end -->"
COLUMNS = (
  *("config", "chips", "mesh", "sampler", "rows × tokens", "slots"),
  *("learner", "sampler holds", "peak", "of", "by", "formula", "collectives"),
  *("update", "chip-hours"),
)
# Those that follow from a config, without a compiler.
GIVEN = COLUMNS[:6]
# The programs of the column of collectives, and the letters of their kinds there.
COUNTED = ("gradient", "extend", "decode")
LETTERS = {
  **{"all-gather": "g", "all-reduce": "r", "reduce-scatter": "s"},
  **{"all-to-all": "a", "collective-permute": "p"},
}


def given(case: Case) -> tuple[str, ...]:
  """The cells of a row that the config decides."""
  settings = read_settings(config_lib.load(case.config))
  learner, engine = settings.learner, settings.engine
  return (
    f"`{case.config.removeprefix('configs/').replace('.py', '')}`",
    case.topology,
    _sizes(settings.mesh),
    _sizes(settings.engine_mesh),
    f"{learner.rows_per_batch} × {learner.row_len:,}",
    str(engine.num_slots),
  )


def row(report: Report) -> tuple[str, ...]:
  """The cells of a report."""
  learner, sampler = _held(report)
  return (
    *given(report.case),
    _gib(learner),
    _gib(sampler),
    f"{_gib(report.peak_bytes)}{'' if report.fits else ' **does not fit**'}",
    _gib(report.memory_bytes),
    report.source,
    _formula(report),
    _collectives(report),
    f"{report.times.update_s:,.0f} s",
    f"{report.chip_hours:,.0f}",
  )


def table(reports: Sequence[Report]) -> str:
  """A Markdown table, memory in GiB a chip; below it what compiled."""
  lines = [COLUMNS, ("---",) * len(COLUMNS), *map(row, reports)]
  text = "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
  versions = next((report.versions for report in reports if report.versions), {})
  told = ", ".join(f"{name} {version}" for name, version in versions.items())
  return f"{text}\n\nCompiled by {told}." if told else text


def details(report: Report) -> str:
  """All that is known of one case, for a terminal."""
  lines = [f"{report.case.config} on {report.case.topology}, {report.case.model}"]
  for name, size in phases(report.programs).items() if report.programs else ():
    lines.append(f"  {_gib(size):>8} GiB  {name}{_work(report.programs[name])}")
  lines.append(f"  {_gib(report.formula_bytes):>8} GiB by formula, which adds up")
  for purpose, size in report.formula.items():
    lines.append(f"  {_gib(size):>8} GiB  {purpose}")
  verdict = "fits" if report.fits else "does not fit"
  lines.append(
    f"  {_gib(report.peak_bytes):>8} GiB of {_gib(report.memory_bytes)}: {verdict} "
    f"(by {report.source})"
  )
  times = report.times
  lines.append(
    f"  at least {times.update_s:.0f} s an update: prefill {times.prefill_s:.0f}, decode "
    f"{times.decode_s:.0f}, reference {times.reference_s:.0f}, gradient "
    f"{times.gradient_s:.0f}; {report.chip_hours:.0f} chip-hours in all"
  )
  return "\n".join(lines)


def replace(path: Path, reports: Sequence[Report]) -> None:
  """Puts the table between the marks of a page.

  Raises:
    ValueError: the page has no marks.
  """
  text = path.read_text()
  head, begin, rest = text.partition(BEGIN)
  _, end, tail = rest.partition(END)
  if not (begin and end):
    raise ValueError(f"page={str(path)!r} lacks {BEGIN} and {END} (flag --page)")
  path.write_text(f"{head}{BEGIN}\n{table(reports)}\n{END}{tail}")


def _held(report: Report) -> tuple[int, int]:
  """Bytes that the learner, and the sampler, hold between programs."""
  if report.source == COMPILER:
    found = report.programs
    gradient = found["accumulate"].argument_bytes // 2
    learner = found["step"].argument_bytes - gradient + found["score"].argument_bytes
    return learner, found["decode"].argument_bytes
  first, *sampler = list(report.formula.values())[:3]
  return first, sum(sampler)


def _formula(report: Report) -> str:
  """The formula's peak, and how far it is from the compiler's."""
  if report.source != COMPILER:
    return _gib(report.formula_bytes)
  share = report.formula_bytes / report.peak_bytes - 1
  return f"{_gib(report.formula_bytes)} ({share:+.0%})".replace("-", "−")


def _collectives(report: Report) -> str:
  """'18g 2r / 57r / 57r': of the programs of `COUNTED`; '' where nothing was compiled."""
  return " / ".join(
    " ".join(f"{n}{LETTERS[kind]}" for kind, n in one.collectives.items()) or "0"
    for name in COUNTED
    if (one := report.programs.get(name))
  )


def _work(one: Compiled) -> str:
  """Collectives and cost of a program."""
  if one.over_bytes:
    return "  (refused by the compiler)"
  calls = ", ".join(f"{n} {kind}" for kind, n in one.collectives.items()) or "none"
  seconds = f", {one.optimal_s * 1e3:.1f} ms" if one.optimal_s > 0 else ""
  return (
    f"  (collectives: {calls}; cost model, each loop once: {one.flops / 1e12:.2f} Tflop, "
    f"{one.bytes_accessed / 1e9:.1f} GB{seconds})"
  )


def _sizes(mesh) -> str:
  return f"{mesh.data} · {mesh.fsdp} · {mesh.tensor}"


def _gib(size: float) -> str:
  return f"{size / GIB:.1f}"
