"""An evaluation run: arms, tables, intervals and records of one policy, in one folder.

  <folder>/config.json     the resolved config
  <folder>/records.json    one row an episode
  <folder>/summary.json    success by arm with intervals, paired differences
  <folder>/edits.jsonl     edits of the evolving arm, pass by pass
  <folder>/banks/          banks that the arms ended with
  <folder>/passes/         finished passes of an evaluation that is not written yet

A killed one goes on after its last finished pass. Must not know about: flags, training.
"""

import contextlib
import dataclasses
import functools
import itertools
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from skilljax import assembly, folders, hosts, preflight
from skilljax.checkpoint import run_stamp
from skilljax.config import ConfigError
from skilljax.envs import base as envs
from skilljax.evaluation import exact, paired
from skilljax.metrics import Progress
from skilljax.rollout.results import Rollout
from skilljax.runs import origin
from skilljax.runs.claim import claims_folder
from skilljax.runs.passes import FOLDER, Passes
from skilljax.runs.records import edit_fields
from skilljax.runs.training import read_banks, write_banks
from skilljax.settings import Settings
from skilljax.skills.bank import SkillBank
from skilljax.skills.files import write_atomically
from skilljax.types import Task, Trajectory

FILES = ("config.json", "summary.json", "records.json", "edits.jsonl")
FOLDERS = ("banks", FOLDER)

Tasks = Mapping[str, Sequence[Task]]  # by scope


@claims_folder
def run(
  settings: Settings,
  policy_folder: str | Path,
  folder: str | Path,
  *,
  banks_folder: str | Path | None = None,
) -> dict[str, Any]:
  """Evaluates a policy folder; returns the summary that it also writes.

  Args:
    settings: section `eval` says what is played.
    policy_folder: Hugging Face layout.
    folder: of the results.
    banks_folder: banks of the frozen and evolving arms, one file a scope; None: empty.
  Raises:
    ConfigError: the config does not fit the policy or the devices, hosts disagree, a
      folder cannot be read or written, the environment's data are absent or damaged, the
      only arm has nothing to show, or the folder holds passes of another evaluation.
  """
  folders.check_writable(folder, folders=FOLDERS, files=FILES)
  folder = Path(folder)
  preflight.check_hosts(
    settings, policy=policy_folder, banks=banks_folder, workdir=folder
  )
  preflight.check_policy(settings, policy_folder, trained=False)
  source = assembly.open_source(settings, settings.eval.split, key="eval.split")
  tasks, warmup = choose_tasks(source, settings.eval)
  banks = given_banks(banks_folder, tasks)
  played = without_empty_arms(settings.eval, banks_folder=banks_folder)
  made_with = {
    "the policy": origin.of_policy(policy_folder),
    "--banks": {scope: bank.version for scope, bank in banks.items()},
  }
  kept = Passes(folder, settings, made_with)
  if (summary := kept.finished()) is not None:
    return summary
  finished = kept.begin()[: played.passes]
  policy = assembly.load_policy(
    policy_folder,
    numerics=settings.numerics,
    mesh=assembly.make_mesh(settings.mesh),
  )
  engine = assembly.make_engine(settings, policy)
  engine.publish(policy.params, 0)
  engine.warmup()
  with assembly.make_pool(settings) as pool:
    runner = assembly.make_runner(
      settings, engine=engine, tokenizer=policy.tokenizer, pool=pool
    )
    # Warm-up has compiled everything: from here on a host that stands still hangs.
    show = progress(tasks, warmup, played, len(finished))
    with hosts.phase(hosts.STEADY), show as on_episode:
      evaluation = exact.evaluate(
        tasks,
        runner=runner,
        settings=played,
        banks=banks,
        warmup=warmup,
        on_episode=on_episode,
        finished=finished,
        on_pass=functools.partial(keep, kept),
      )
  return finish(
    kept,
    settings,
    evaluation,
    tasks=tasks,
    policy=str(policy_folder),
    banks="" if banks_folder is None else str(banks_folder),
  )


@contextlib.contextmanager
def progress(
  tasks: Tasks, warmup: Tasks, settings: exact.EvalSettings, num_finished: int
) -> Iterator[Callable[[Trajectory], None]]:
  """Shows how many episodes are played; gives what to call after each."""
  total = exact.num_episodes(tasks, settings=settings, warmup=warmup)
  a_pass = len(settings.arms) * sum(map(len, tasks.values()))
  done = total - a_pass * (settings.passes - num_finished) if num_finished else 0
  with Progress("evaluation", total=total, done=done) as progress:
    played = itertools.count(done + 1)
    yield lambda trajectory: progress.update(next(played))


def keep(kept: Passes, index: int, finished: exact.Pass) -> None:
  """Writes down what a finished pass leaves."""
  if hosts.is_first():
    path = kept.results / "edits.jsonl"
    there = index > 0 and path.exists()
    lines = path.read_text().splitlines(keepends=True) if there else []
    # One that was killed right here wrote the edits of this pass before.
    earlier = [line for line in lines if json.loads(line).get("pass", 0) < index]
    write_atomically(path, "".join(earlier) + edit_lines(finished.rollouts, index))
  kept.keep(index, finished)


def without_empty_arms(
  settings: exact.EvalSettings, *, banks_folder: str | Path | None
) -> exact.EvalSettings:
  """Leaves the frozen arm out, with a line, where it could only repeat `no_bank`.

  Raises:
    ConfigError: no other arm is asked for.
  """
  if "frozen" not in settings.arms or settings.warmup_tasks or banks_folder is not None:
    return settings
  arms = tuple(arm for arm in settings.arms if arm != "frozen")
  what = "there is no bank to freeze: set eval.warmup_tasks, or give --banks"
  if not arms:
    raise ConfigError(f"eval.arms={settings.arms}: {what}")
  if hosts.is_first():
    print(f"frozen arm left out, {what}", flush=True)
  return dataclasses.replace(settings, arms=arms)


def finish(
  kept: Passes,
  settings: Settings,
  evaluation: exact.Evaluation,
  *,
  tasks: Tasks,
  policy: str,
  banks: str = "",
) -> dict[str, Any]:
  """Writes a whole evaluation into its folder; returns the summary.

  Args:
    kept: its finished passes, which are not needed any more.
    settings: of the run.
    evaluation: what was played.
    tasks: that were asked for.
    policy: folder, or name of a player.
    banks: folder of the given banks; '' without.
  """
  name = f"{settings.env_name}_{settings.eval.split}"
  clusters = {task.key: task.cluster for stream in tasks.values() for task in stream}
  evaluation = dataclasses.replace(
    evaluation, records=paired.with_clusters(evaluation.records, clusters)
  )
  summary = summarise(evaluation, name=name, tasks=tasks, policy=policy)
  summary |= {"given_banks": banks, **kept.about()}
  if hosts.is_first():
    write(kept.results, evaluation, summary)
    kept.remove()
  return summary


def given_banks(folder: str | Path | None, scopes: Iterable[str]) -> dict[str, SkillBank]:
  """The banks of `--banks`; {} without one.

  Raises:
    ConfigError: no such folder, a file in it is damaged, or there is none of a scope
      that is played, so that the frozen arm would be that without a bank.
  """
  if folder is None:
    return {}
  folders.check_local(folder, key="--banks")
  if not Path(folder).is_dir():
    raise ConfigError(f"--banks={folder} is no folder; it must hold one file a scope")
  try:
    banks = read_banks(Path(folder))
  except ValueError as error:
    raise ConfigError(f"--banks={folder}: {error}") from error
  scopes = sorted(scopes)
  if not banks.keys() & set(scopes):
    there = ", ".join(f"{scope}.json" for scope in sorted(banks)[:3]) or "no bank"
    raise ConfigError(
      f"--banks={folder} holds {there}; it must hold a file of a scope that is played, "
      f"for example {scopes[0]}.json"
    )
  return banks


def choose_tasks(
  source: envs.TaskSource, settings: exact.EvalSettings
) -> tuple[dict[str, Sequence[Task]], dict[str, Sequence[Task]]]:
  """(tasks by scope, warm-up tasks by scope); the warm-up takes the end of a stream.

  Raises:
    ConfigError: a stream is shorter than what is asked of it.
  """
  scopes = source.scopes(settings.split)
  if settings.num_scopes > len(scopes):
    raise ConfigError(
      f"num_scopes={settings.num_scopes} must be <= {len(scopes)}, the scopes of split "
      f"{settings.split!r} (config key eval.num_scopes)"
    )
  tasks, warmup = {}, {}
  for scope in scopes[: settings.num_scopes or len(scopes)]:
    stream = source.stream(scope, settings.split)
    played = settings.tasks_per_scope or len(stream)
    if played + settings.warmup_tasks > len(stream):
      raise ConfigError(
        f"tasks_per_scope={played} and warmup_tasks={settings.warmup_tasks} must add up "
        f"to at most {len(stream)}, the stream of {scope} (config keys eval.*)"
      )
    tasks[scope] = stream[:played]
    if settings.warmup_tasks:
      warmup[scope] = stream[len(stream) - settings.warmup_tasks :]
  return tasks, warmup


def summarise(
  evaluation: exact.Evaluation, *, name: str, tasks: Tasks, policy: str
) -> dict[str, Any]:
  """Success by arm and family with intervals, paired differences, and the cost."""
  records = evaluation.records
  arms = paired.by_arm(records)
  families = sorted({r.family for r in records})
  return {
    "name": name,
    "policy": policy,
    "stamp": run_stamp(),
    "num_tasks": sum(len(stream) for stream in tasks.values()),
    "interactions": evaluation.num_episodes,
    "faults": sum(bool(r.fault) for r in records),
    "not_covered": {r.task: r.fault for r in records if r.fault},
    "arms": {
      arm: {
        "success": dataclasses.asdict(paired.mean(group)),
        "return": dataclasses.asdict(paired.mean(group, paired.returned)),
        "turns": sum(r.num_turns for r in group) / len(group),
        "families": {
          family: dataclasses.asdict(
            paired.mean([r for r in group if r.family == family])
          )
          for family in families
        },
        "by_position": by_position(group),
      }
      for arm, group in arms.items()
    },
    "differences": {
      f"{arm} - no_bank": dataclasses.asdict(paired.difference(records, arm, "no_bank"))
      for arm in arms
      if arm != "no_bank" and "no_bank" in arms
    },
    "return_differences": {
      f"{arm} - no_bank": dataclasses.asdict(
        paired.difference(records, arm, "no_bank", measure=paired.returned)
      )
      for arm in arms
      if arm != "no_bank" and "no_bank" in arms
    },
    "metrics": paired.metrics(
      records, name=name, num_tasks=sum(len(stream) for stream in tasks.values())
    ),
    "table": paired.table(records),
  }


def by_position(records: Sequence[exact.EpisodeRecord]) -> list[float]:
  """Mean success at each position of the streams: how an evolving bank pays off."""
  groups: dict[int, list[bool]] = {}
  for record in records:
    groups.setdefault(record.position, []).append(record.success)
  return [sum(groups[p]) / len(groups[p]) for p in sorted(groups)]


def write(folder: Path, evaluation: exact.Evaluation, summary: dict[str, Any]) -> None:
  """Writes the files of an evaluation, its edits apart."""
  rows = [dataclasses.asdict(record) for record in evaluation.records]
  (folder / "records.json").write_text(json.dumps(rows))
  for arm, banks in evaluation.banks.items():
    if arm != "no_bank":
      write_banks(folder / "banks" / arm, banks)
  # Last: who finds it finds all of them.
  write_atomically(folder / "summary.json", json.dumps(summary, indent=2))


def edit_lines(rollouts: Mapping[str, Rollout], pass_index: int) -> str:
  """One JSON line an edit of the evolving arm in one pass."""
  lines = []
  for arm, rollout in rollouts.items():
    for node_id, outcome in rollout.edits.items():
      row = {
        "arm": arm,
        "pass": pass_index,
        "node": node_id,
        "task": rollout.trajectories[node_id].task.key,
        "edit": edit_fields(outcome.edit),
        "status": outcome.status,
        "bank": outcome.bank.version,
      }
      lines.append(json.dumps(row) + "\n")
  return "".join(lines)
