"""A training run: the loop with its checkpoints, metrics and records, in one folder.

  <folder>/config.json  metrics.jsonl  perf.jsonl  edits.jsonl  commits.jsonl
  <folder>/episodes.jsonl  faults.jsonl
  <folder>/checkpoints/<update>/     everything that a resume needs
  <folder>/policy/  banks/           the result
  <folder>/teacher.jsonl             answers of a teacher, never cut back

A killed run continues from its last checkpoint and writes the same bytes as one that was
never killed. Must not know about: flags, what an update does.
"""

import dataclasses
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from skilljax import assembly, checkpoint, folders, hosts, preflight
from skilljax import train as train_lib
from skilljax.config import ConfigError, flatten, plain, to_json
from skilljax.engine.engine import DecodeEngine
from skilljax.engine.lanes import LaneEngine
from skilljax.envs import table
from skilljax.envs.pool import EnvPool
from skilljax.metrics import MetricWriter, Progress, peak_rss_bytes, rss_bytes
from skilljax.runs import origin as origins
from skilljax.runs.claim import claims_folder
from skilljax.runs.cold_start import write_policy
from skilljax.runs.initial_banks import fingerprint, read_initial_banks
from skilljax.runs.records import Recorder
from skilljax.settings import Settings
from skilljax.skills import store
from skilljax.skills.bank import SkillBank
from skilljax.skills.stats import stats_from_record

_FOLDERS = ("checkpoints", "policy", "banks", "tensorboard")
_FILES = (
  *("config.json", "metrics.jsonl", "perf.jsonl", "edits.jsonl", "commits.jsonl"),
  *("episodes.jsonl", "faults.jsonl", "teacher.jsonl"),
)


@claims_folder
def run(settings: Settings, policy_folder: str | Path, folder: str | Path) -> Path:
  """Trains from a policy folder, or goes on from the last checkpoint in `folder`.

  Args:
    settings: of the run; a resumed run must have the same, except for `MAY_CHANGE`.
    policy_folder: the cold-start policy, which is also the KL reference.
    folder: of the run.
  Returns:
    The folder of the trained policy.
  Raises:
    ConfigError: the config does not fit the policy, the devices, the memory or the
      checkpoint, hosts disagree, the folder cannot be written, or the environment's data
      are absent or damaged.
  """
  folders.check_writable(folder, folders=_FOLDERS, files=_FILES)
  folder = Path(folder)
  preflight.check_hosts(settings, policy=policy_folder, workdir=folder)
  preflight.check_policy(settings, policy_folder, trained=True)
  source = assembly.open_source(settings, settings.train.split, key="train.split")
  initial = {}
  if settings.train.initial_banks:
    initial = read_initial_banks(
      settings.train.initial_banks,
      source=source,
      split=settings.train.split,
      limits=settings.limits,
    )
  proposer = assembly.make_proposer(settings, folder)
  policy = assembly.load_policy(
    policy_folder,
    numerics=settings.numerics,
    mesh=assembly.make_mesh(settings.mesh),
  )
  reference = policy.params
  policy = assembly.add_adapters(policy, settings)
  learner = assembly.make_learner(settings, policy.model)
  engine = assembly.make_engine(settings, policy)
  checkpointer = checkpoint.Checkpointer(
    folder / "checkpoints", keep=settings.train.keep_checkpoints
  )
  state = train_lib.LoopState(update=0, train=learner.init(policy.params), banks={})
  origin = origins.Origin(
    tokenizer=policy.tokenizer.fingerprint,
    policy=origins.of_policy(policy_folder),
    initial_banks=fingerprint(initial),
  )
  state, resumed = restore(checkpointer, state, settings, origin)
  if hosts.is_first():
    (folder / "config.json").write_text(to_json(settings.resolved))
  engine.publish(state.train.params, state.update)
  engine.warmup()
  with assembly.make_pool(settings) as pool:
    shop = train_lib.Workshop(
      settings=settings,
      source=source,
      teacher=table.make_teacher(settings.env_name, settings.env),
      engine=engine,
      runner=assembly.make_runner(
        settings, engine=engine, tokenizer=policy.tokenizer, pool=pool
      ),
      learner=learner,
      reference=reference,
      proposer=proposer,
      initial_banks=initial,
    )
    desk = _Desk(settings, folder, checkpointer, policy, origin, engine, pool, resumed)
    state = train_lib.run(shop, state, on_update=desk.on_update)
    hosts.enter(hosts.SAVE)
    desk.close()
  save_result(folder, policy, state)
  return folder / "policy"


class _Desk:
  """Writes down each update: metrics, records, checkpoints, progress."""

  def __init__(
    self,
    settings: Settings,
    folder: Path,
    checkpointer: checkpoint.Checkpointer,
    policy: assembly.Policy,
    origin: origins.Origin,
    engine: DecodeEngine | LaneEngine,
    pool: EnvPool,
    resumed: int | None,
  ):
    self._settings = settings
    self._checkpointer = checkpointer
    self._origin = origin
    self._engine = engine
    self._pool = pool
    self._waited_s = pool.waited_s
    self._clock = time.perf_counter()
    self._writes = hosts.is_first()
    if not self._writes:
      return
    self._writer = MetricWriter(folder, resume_step=resumed)
    self._recorder = Recorder(folder, policy.tokenizer, resume_step=resumed)
    self._progress = Progress(
      "training", total=settings.train.num_updates, done=resumed or 0
    )
    self._progress.__enter__()

  def on_update(self, state: train_lib.LoopState, update: train_lib.Update) -> None:
    """Called after each update, with the state that follows it."""
    train = self._settings.train
    with hosts.phase(hosts.SAVE):
      if self._writes:
        self._record(state, update)
      if state.update % train.checkpoint_every == 0 or state.update == train.num_updates:
        self._checkpointer.save(
          state.update, state.train, host_state(state, self._settings, self._origin)
        )
    if update.trained:
      hosts.enter(hosts.STEADY)  # by now everything is compiled

  def _record(self, state: train_lib.LoopState, update: train_lib.Update) -> None:
    """Rows of metrics and records, and the line on the screen; on one host."""
    train = self._settings.train
    self._writer.write(state.update, {**update.metrics, **self._perf(update)})
    first = state.update == 1 or state.update == train.num_updates
    episodes = first or state.update % train.record_every == 0
    self._recorder.write(state.update, update, episodes=episodes)
    numbers = update.metrics
    note = f"success {numbers.get('rollout/success', 0.0):.2f}"
    if "skill/utility_mean" in numbers:
      note += f"  utility {numbers['skill/utility_mean']:+.2f}"
      note += f"  bank {numbers['skill/bank_size']:.1f}"
    self._progress.update(state.update, note)

  def _perf(self, update: train_lib.Update) -> dict[str, float]:
    now, stats = time.perf_counter(), self._engine.stats()
    self._engine.reset_stats()
    seconds, self._clock = now - self._clock, now
    waited_s, self._waited_s = self._pool.waited_s - self._waited_s, self._pool.waited_s
    return {
      "perf/update_s": seconds,
      "perf/env_wait_share": waited_s / seconds,
      "perf/decode_tok_s": stats["decoded_tok_s"],
      "perf/slot_occupancy": stats["occupancy"],
      "perf/rss_bytes": float(rss_bytes()),
      "perf/peak_rss_bytes": float(peak_rss_bytes()),
    }

  def close(self) -> None:
    """Waits for the last checkpoint and closes the files."""
    self._checkpointer.wait()
    self._checkpointer.close()
    if not self._writes:
      return
    self._writer.close()
    self._progress.__exit__(None, None, None)


def host_state(
  state: train_lib.LoopState, settings: Settings, origin: origins.Origin
) -> dict[str, Any]:
  """The host half of a checkpoint; `restore` reads it back exactly."""
  return {
    "update": state.update,
    "banks": {scope: store.bank_to_record(b) for scope, b in state.banks.items()},
    "stats": state.stats.to_record(),
    "nulls": list(state.nulls),
    "interactions": state.interactions,
    **dataclasses.asdict(origin),
    "config": plain(settings.resolved),
    "stamp": checkpoint.run_stamp(),
  }


def restore(
  checkpointer: checkpoint.Checkpointer,
  fresh: train_lib.LoopState,
  settings: Settings,
  origin: origins.Origin,
) -> tuple[train_lib.LoopState, int | None]:
  """The state of the last checkpoint and its update, or (`fresh`, None)."""
  step = checkpointer.latest_step()
  if step is None:
    return fresh, None
  arrays, host = checkpointer.restore(fresh.train, step)
  _check_same(host, settings, origin)
  state = train_lib.LoopState(
    update=host["update"],
    train=arrays,
    banks={scope: store.bank_from_record(b) for scope, b in host["banks"].items()},
    stats=stats_from_record(host["stats"]),
    nulls=tuple(host["nulls"]),
    interactions=host["interactions"],
  )
  return state, step


# What a resumed run may change: keys, and whole sections. Everything else decides what is
# played or learned; so do engine.max_len, where an episode ends, and learner.row_len, a
# constant of one aggregation mode.
MAY_CHANGE = (
  # A longer run is the same run, and its rhythm of saving changes no result.
  *("train.num_updates", "train.checkpoint_every", "train.keep_checkpoints"),
  # Another command's: evaluation, and the cold start that made the policy.
  *("eval", "cold_start", "sft", "model"),
  # Where and how fast, results equal up to the rounding of floats (tests/test_mesh.py):
  # devices and what is recomputed on them,
  *("mesh", "engine_mesh", "numerics.remat"),
  *("learner.rows_per_batch", "learner.logprob_chunk"),
  # the sampler's programs and their schedule: a sample depends on neither,
  *("engine.num_slots", "engine.num_lanes", "engine.decode_chunk", "engine.decode_rows"),
  *("engine.attend_buckets", "engine.extend_buckets", "engine.row_buckets"),
  *("engine.exit_fraction", "agent.budget.step_share", "agent.budget.poll_timeout_s"),
  # environment processes (their time-outs end nothing that answers), and the folder of
  # derived files,
  *("pool", "env.cache_dir"),
  # an address of the teacher that moved, a budget that was too small: no answer that is
  # there already changes.
  *("proposer.endpoint.url", "proposer.endpoint.key_variable"),
  *("proposer.endpoint.timeout_s", "proposer.endpoint.max_retries"),
  *("proposer.endpoint.backoff_s", "proposer.endpoint.concurrency"),
  *("proposer.endpoint.max_calls", "proposer.endpoint.max_response_bytes"),
)
_FREE = tuple(f"{key}." for key in MAY_CHANGE)


def _check_same(
  host: Mapping[str, Any], settings: Settings, origin: origins.Origin
) -> None:
  """Raises a ConfigError if a checkpoint was made with another config or other files."""
  if host["tokenizer"] != origin.tokenizer:
    raise ConfigError(
      f"the checkpoint was made with tokenizer {host['tokenizer']}, the policy has "
      f"{origin.tokenizer}; start in an empty --workdir or give the policy it came from"
    )
  if host.get("policy", origin.policy) != origin.policy:  # absent in old checkpoints
    raise ConfigError(
      f"the checkpoint grew from a policy with fingerprint {host['policy']}, that of "
      f"--policy has {origin.policy}; it is also the KL reference: give the one that the "
      "run began with, or start in an empty --workdir"
    )
  if host.get("initial_banks", "") != origin.initial_banks:
    raise ConfigError(
      "the initial banks have changed since the checkpoint was made; restore the files, "
      "or start in an empty --workdir (config key train.initial_banks)"
    )
  ours, theirs = (
    flatten(config) for config in (plain(settings.resolved), host["config"])
  )
  # None and an absent key are the same default; of the environment it is known.
  for field in dataclasses.fields(settings.env):
    if field.default is not dataclasses.MISSING:
      for leaves in (ours, theirs):
        leaves.setdefault(f"env.{field.name}", plain(field.default))
  changed = [
    f"{key}={ours.get(key)!r} (there: {theirs.get(key)!r})"
    for key in sorted(ours.keys() | theirs.keys())
    if ours.get(key) != theirs.get(key) and not f"{key}.".startswith(_FREE)
  ]
  if changed:
    more = f" and {len(changed) - 5} more" if len(changed) > 5 else ""
    raise ConfigError(
      f"config keys differ from those of the checkpoint: {', '.join(changed[:5])}{more}; "
      "restore them, or start in an empty --workdir. Only what says where and how fast a "
      "run goes on may change (docs/architecture.md, Checkpoints)"
    )


def save_result(
  folder: Path, policy: assembly.Policy, state: train_lib.LoopState
) -> None:
  """Writes the trained policy and the banks of the scopes played last."""
  write_policy(folder / "policy", policy.model, state.train.params, policy.tokenizer)
  if hosts.is_first():
    write_banks(folder / "banks", state.banks)


def write_banks(folder: Path, banks: Mapping[str, SkillBank]) -> None:
  """Writes each bank to `<folder>/<scope>.json`."""
  folder.mkdir(parents=True, exist_ok=True)
  for scope, bank in banks.items():
    store.save_bank(folder / f"{scope}.json", bank)


def read_banks(folder: Path) -> dict[str, SkillBank]:
  """Reads every bank of a folder; {} if there is none."""
  return {path.stem: store.load_bank(path) for path in sorted(folder.glob("*.json"))}
