"""Executes a rollout plan: episodes through the engine and the environments.

One loop serves training, probes, demonstrations and evaluation. The runner moves text
between environments and the transcript; the engine owns the tokens.

Must not know about: losses, parameters, where a plan comes from.
"""

import collections
import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from skilljax import hosts
from skilljax.agents.chat import ChatFormat
from skilljax.agents.prompts import PromptStyle
from skilljax.data.tokenizer import Tokenizer
from skilljax.engine.base import Engine, GenerateRequest, GenerateResult
from skilljax.envs.pool import EnvPool
from skilljax.rollout import share
from skilljax.rollout.episode import Episode
from skilljax.rollout.plan import EpisodeNode, Plan
from skilljax.rollout.results import Rollout as Rollout
from skilljax.skills.bank import GENERAL, SkillBank
from skilljax.skills.edits import EditLimits, EditOutcome, apply_edit
from skilljax.skills.retrieval import Query, Retriever
from skilljax.types import Fault, Observation, Provenance, Task, Trajectory


@dataclasses.dataclass(frozen=True)
class RunnerSettings:
  """Budgets of one episode; config section `agent.budget`.

  Attributes:
    act_tokens: longest task response, in tokens.
    edit_tokens: longest review response, in tokens.
    poll_timeout_s: how long to wait for environments when the engine is idle.
    step_share: the engine steps when at least this share of the open episodes waits for
      it; the others are with their environments. In [0, 1].
  """

  act_tokens: int = 48
  edit_tokens: int = 128
  poll_timeout_s: float = 1.0
  step_share: float = 0.5

  def __post_init__(self):
    for name in ("act_tokens", "edit_tokens"):
      value = self.__dict__[name]
      if value < 1:
        raise ValueError(f"{name}={value} must be >= 1 (config key agent.budget.{name})")
    if not 0.0 <= self.step_share <= 1.0:
      raise ValueError(
        f"step_share={self.step_share} must be in [0, 1] "
        "(config key agent.budget.step_share)"
      )


@dataclasses.dataclass(frozen=True)
class Runner:
  """Plays plans. Stateless between calls: all state of a run is local to it.

  Attributes:
    engine: answers requests; keeps the KV cache of open episodes.
    pool: environments.
    tokenizer, chat, style: from text to ids and back.
    retriever: which skills enter a prompt.
    goal_of: task -> goal sentence, which retrieval by text reads.
    limits: what a skill may be.
    settings: token budgets.
    code_actions: the environment's actions are program text, kept as they are written.
  """

  engine: Engine
  pool: EnvPool
  tokenizer: Tokenizer
  chat: ChatFormat
  style: PromptStyle
  retriever: Retriever
  goal_of: Callable[[Task], str]
  limits: EditLimits
  settings: RunnerSettings = dataclasses.field(default_factory=RunnerSettings)
  code_actions: bool = False

  def shown_skills(self, task: Task, bank: SkillBank) -> tuple[tuple[str, ...], str]:
    """The skills a task's prompt shows under a bank: (ids, rendered section)."""
    try:
      goal = self.goal_of(task)
    except (OSError, ValueError, RuntimeError):  # the reset says what is wrong with it
      goal = ""
    query = Query(text=goal, category=task.family)
    skills = self.retriever(query, bank, None)
    ids = tuple(skill.skill_id for skill in skills)
    return ids, self.style.render_skills(skills)

  def run(
    self,
    plan: Plan,
    banks: Mapping[str, SkillBank],
    *,
    temperature: float = 1.0,
    on_episode: Callable[[Trajectory], None] = lambda trajectory: None,
  ) -> Rollout:
    """Plays every node of a plan; several hosts play it together.

    Args:
      plan: what to play.
      banks: chain -> bank before the first stage. Every chain must be there.
      temperature: of the sampler, > 0; 0 is greedy.
      on_episode: called with each trajectory of this host as it ends, in any order.
    Returns:
      Trajectories in plan order, review outcomes, and the banks afterwards.
    Raises:
      ValueError: a chain of the plan has no bank.
    """
    missing = sorted({n.chain for n in plan.nodes} - set(banks))
    if missing:
      raise ValueError(f"banks: no bank for the chains {missing} of the plan")
    own = share.part_of(plan, hosts.index(), hosts.count())
    played = _Run(self, own, dict(banks), temperature, on_episode).execute()
    return share.merge(plan, hosts.gather(played), banks)


class _Run:
  """The state of one execution of a plan."""

  def __init__(
    self,
    runner: Runner,
    plan: Plan,
    banks: dict[str, SkillBank],
    temperature: float,
    on_episode: Callable[[Trajectory], None],
  ):
    self.runner = runner
    self.plan = plan
    self.banks = banks
    self.on_episode = on_episode
    # Fixed when a stage opens: a node that waits for a slot must not see what others of
    # its own stage have committed meanwhile.
    self.read: dict[str, SkillBank] = {}
    self.temperature = temperature
    self.episodes: dict[str, Episode] = {}
    self.in_flight = 0  # requests that the engine has not answered
    self.trajectories: dict[str, Trajectory] = {}
    self.edits: dict[str, EditOutcome] = {}
    self.open_writers = collections.Counter(plan.writers())
    self.stage_of: dict[str, int] = {}
    self.committed: dict[tuple[str, int], dict[str, Trajectory]] = {}
    self.ready: collections.deque[EpisodeNode] = collections.deque()
    self.waiting: dict[tuple[str, int], list[EpisodeNode]] = {}
    for node in plan.nodes:
      self.waiting.setdefault((node.chain, node.stage), []).append(node)
    for chain in banks:
      self._release_stages(chain)

  def execute(self) -> Rollout:
    """Runs until every node has a trajectory."""
    runner, total = self.runner, len(self.plan.nodes)
    patient = True
    while len(self.trajectories) < total:
      hosts.tick()
      self._start_episodes()
      # A step costs the same for few rows as for many: wait for the environments first,
      # but not for one that hangs.
      least = math.ceil(runner.settings.step_share * len(self.episodes))
      wait = self.in_flight == 0 or (patient and self.in_flight < least)
      for result in () if wait else runner.engine.step():
        self._on_response(result)
      answers = runner.pool.poll(runner.settings.poll_timeout_s if wait else 0.0)
      patient = bool(answers) or (patient and not wait)
      for ticket, answer in answers:
        self._on_answer(ticket, answer)
    order = [node.node_id for node in self.plan.nodes]
    return Rollout(
      trajectories={i: self.trajectories[i] for i in order},
      edits={i: self.edits[i] for i in order if i in self.edits},
      banks=dict(self.banks),
    )

  def _start_episodes(self):
    engine, pool = self.runner.engine, self.runner.pool
    # An episode holds an environment and, from its first prompt on, an engine slot;
    # those between the two still need their slot, so they count as taken.
    room = min(
      pool.num_free, engine.num_free - sum(not e.has_slot for e in self.episodes.values())
    )
    while self.ready and room > 0:
      node = self.ready.popleft()
      bank = self.read[node.node_id]
      shown, block = self.runner.shown_skills(node.task, bank)
      self.episodes[node.node_id] = Episode(
        node=node,
        bank_version=bank.version,
        policy_version=engine.policy_version,
        shown_skills=shown,
        skill_block=block,
      )
      pool.start(node.node_id, node.task)
      room -= 1

  def _on_answer(self, ticket: str, answer: Observation | Fault):
    """The environment said something."""
    episode, runner = self.episodes[ticket], self.runner
    if isinstance(answer, Fault):
      episode.fault = answer.reason
      self._finish(episode)
      return
    first = episode.max_turns == 0
    episode.observe(answer)
    if first:
      prompt = runner.style.task_prompt(answer, episode.skill_block)
      self._submit(episode, runner.chat.opening(runner.style.system(), prompt))
    elif not answer.ended:
      text = runner.style.observation(answer)
      self._submit(episode, runner.chat.following(text, closed=episode.closed))
    else:
      self._review_or_finish(episode)

  def _review_or_finish(self, episode: Episode):
    runner, node = self.runner, episode.node
    runner.pool.release(node.node_id)
    episode.in_env = False
    if not node.review or episode.context_full:
      self._finish(episode)
      return
    last = episode.last_text
    prompt = runner.style.review_prompt(node.task, last, episode.success)
    episode.reviewing = True
    self._submit(episode, runner.chat.following(prompt, closed=episode.closed))

  def _submit(self, episode: Episode, ids: Sequence[int]):
    settings = self.runner.settings
    budget = settings.edit_tokens if episode.reviewing else settings.act_tokens
    # One token at least must be left to sample.
    if len(episode.transcript) + len(ids) >= self.runner.engine.max_len:
      episode.context_full = True
      self._finish(episode)
      return
    episode.transcript.add_context(ids)
    episode.has_slot = True
    self.in_flight += 1
    self.runner.engine.submit(
      GenerateRequest(
        sequence=episode.node.node_id,
        tokens=np.asarray(ids, np.int32),
        max_new_tokens=budget,
        key=(*episode.node.key, len(episode.turns)),
        temperature=self.temperature,
      )
    )

  def _on_response(self, result: GenerateResult):
    """The policy said something."""
    episode, runner = self.episodes[result.sequence], self.runner
    self.in_flight -= 1
    closed = result.finish == "stop"
    text = runner.tokenizer.decode(result.tokens[:-1] if closed else result.tokens)
    if episode.reviewing:
      episode.add_edit(result, text, categories=(episode.node.task.family, GENERAL))
      self._finish(episode)
      return
    action = episode.add_action(result, text, code=runner.code_actions)
    if episode.context_full:
      self._finish(episode)
    else:
      runner.pool.step(episode.node.node_id, action)

  def _finish(self, episode: Episode):
    runner, node = self.runner, episode.node
    if episode.in_env:
      runner.pool.release(node.node_id)
    if episode.has_slot:
      runner.engine.release(node.node_id)
    del self.episodes[node.node_id]
    trajectory = episode.trajectory()
    self.trajectories[node.node_id] = trajectory
    if trajectory.edit is not None and not node.commit:
      self.edits[node.node_id] = self._apply(self.read[node.node_id], node, trajectory)
    if node.commit:
      place = (node.chain, node.stage)
      self.committed.setdefault(place, {})[node.node_id] = trajectory
      self.open_writers[place] -= 1
      self._release_stages(node.chain)
    self.on_episode(trajectory)

  def _apply(self, bank: SkillBank, node: EpisodeNode, trajectory: Trajectory):
    provenance = Provenance(
      origin="policy",
      task=node.task.key,
      policy_version=trajectory.policy_version,
      parent=bank.version,
      reason=trajectory.edit.reason,
    )
    return apply_edit(
      bank,
      trajectory.edit,
      categories=(node.task.family, GENERAL),
      limits=self.runner.limits,
      provenance=provenance,
    )

  def _release_stages(self, chain: str):
    """Commits finished stages of a chain, in plan order, and opens the next ones."""
    stages = sorted({stage for name, stage in self.waiting if name == chain})
    while stages:
      current = self.stage_of.get(chain, -1)
      if current >= 0 and self.open_writers[(chain, current)] > 0:
        return
      self._commit(chain, current)
      following = stages.pop(0)
      self.stage_of[chain] = following
      for node in self.waiting.pop((chain, following)):
        self.read[node.node_id] = self.banks[chain]
        self.ready.append(node)
    if self.open_writers[(chain, self.stage_of.get(chain, -1))] <= 0:
      self._commit(chain, self.stage_of.get(chain, -1))

  def _commit(self, chain: str, stage: int):
    finished = self.committed.pop((chain, stage), {})
    # Plan order, not order of arrival: the bank must not depend on speed.
    for node in self.plan.nodes if finished else ():
      trajectory = finished.get(node.node_id)
      if trajectory is None or trajectory.edit is None:
        continue
      outcome = self._apply(self.banks[chain], node, trajectory)
      self.edits[node.node_id] = outcome
      self.banks[chain] = outcome.bank
