import collections
import dataclasses
import json
import threading
from concurrent import futures

import jax
import numpy as np
import pytest

from skilljax import cold_start, fine_tuning, hosts
from skilljax.agents import parse, prompts
from skilljax.data.demonstrations import Example, balance_reviews
from skilljax.envs.household import (
  HouseholdEnv,
  HouseholdTeacher,
)
from skilljax.learner import Learner, LearnerSettings, LossSettings
from skilljax.models.config import ModelConfig
from skilljax.models.transformer import init_params
from skilljax.skills.bank import from_skills
from skilljax.types import Role
from tests.rollout.worlds import SETTINGS, TEACHER, make_runner, tokenizer, train_tasks


def demonstrate(
  tasks, *, teacher=TEACHER, num_slots=16, capacity=16, seed=5, shuffle=None, **options
):
  done = []
  trajectories = cold_start.demonstrate(
    tasks,
    runner=make_runner(capacity=capacity, shuffle=shuffle, **options),
    teacher=teacher,
    num_slots=num_slots,
    max_len=4096,
    seed=seed,
    on_progress=done.append,
  )
  assert done[-1] == len(trajectories)
  return trajectories


def arrays(trajectories):
  return [
    (t.episode_id, t.tokens.tolist(), t.loss_mask.tolist(), t.role.tolist(), t.edit)
    for t in trajectories
  ]


@pytest.fixture(scope="module")
def tasks():
  # Repeats are fine: each demonstration has skills of its own.
  return train_tasks(40) + train_tasks(8)


@pytest.fixture(scope="module")
def shown(tasks):
  return demonstrate(tasks)


def test_one_readable_episode_with_review_for_each_task(tasks, shown):
  assert [t.task for t in shown] == tasks
  for trajectory in shown:
    assert all(turn.finish == "stop" and not turn.rejection for turn in trajectory.turns)
    assert [turn.role for turn in trajectory.turns[-2:]] == [Role.ACT, Role.EDIT]
    assert trajectory.edit is not None
  kinds = collections.Counter(t.edit.kind for t in shown)
  assert set(kinds) == {"propose", "update", "keep"}
  assert any(not t.skill_block for t in shown) and any(t.skill_block for t in shown)
  assert 0.3 < np.mean([t.success for t in shown]) < 1


def test_each_demonstration_has_the_skills_of_its_seed(tasks, shown):
  for index, trajectory in enumerate(shown):
    bank = from_skills(TEACHER.skills(tasks[index], 5 + index))
    assert trajectory.bank_version == bank.version
  again = {t.task.key: t.skill_block for t in shown[40:]}
  assert any(again[t.task.key] != t.skill_block for t in shown[:8])


def test_demonstrations_are_a_function_of_tasks_and_seed(tasks, shown):
  assert arrays(demonstrate(tasks)) == arrays(shown)
  assert arrays(demonstrate(tasks, seed=6)) != arrays(shown)


@pytest.mark.parametrize(
  ("num_slots", "capacity", "shuffle"), [(1, 16, None), (3, 2, 0), (64, 64, 1)]
)
def test_slots_change_nothing(tasks, shown, num_slots, capacity, shuffle):
  options = {"num_slots": num_slots, "capacity": capacity, "shuffle": shuffle}
  assert arrays(demonstrate(tasks, **options)) == arrays(shown)


def test_chunks_change_nothing(tasks, shown, monkeypatch):
  monkeypatch.setattr(cold_start, "CHUNK", 7)
  assert arrays(demonstrate(tasks)) == arrays(shown)


class Slipping(HouseholdTeacher):
  """Whose players do not mean their second command."""

  def agent(self, task, seed):
    agent = super().agent(task, seed)
    agent.slips = [1]
    return agent


def test_what_a_player_did_not_mean_is_played_and_not_trained(tasks, shown):
  slipping = demonstrate(tasks[:6], teacher=Slipping(SETTINGS))
  for trajectory, plain in zip(slipping, shown, strict=False):
    assert np.array_equal(trajectory.tokens, plain.tokens)
    left_out = plain.loss_mask & ~trajectory.loss_mask
    assert np.array_equal(left_out, plain.turn_index == 1) and left_out.any()
    assert not (trajectory.loss_mask & ~plain.loss_mask).any()


def test_two_hosts_leave_out_what_one_does(tasks, monkeypatch):
  alone = demonstrate(tasks[:6], teacher=Slipping(SETTINGS))
  played, both = {}, threading.Barrier(2, timeout=60)

  def gather(value):
    played[index()] = value
    both.wait()
    parts = [played[0], played[1]]
    both.wait()
    return parts

  def index():
    return int(threading.current_thread().name[-1])

  for name, of_two in (("index", index), ("count", lambda: 2), ("gather", gather)):
    monkeypatch.setattr(hosts, name, of_two)

  with futures.ThreadPoolExecutor(2, thread_name_prefix="host") as pool:
    of_hosts = [
      pool.submit(demonstrate, tasks[:6], teacher=Slipping(SETTINGS)) for _ in range(2)
    ]
    for one in of_hosts:
      assert arrays(one.result()) == arrays(alone)


def test_faulty_episodes_are_left_out(tasks, shown):
  class Fragile(HouseholdEnv):
    def reset(self, task):
      if task == tasks[3]:
        raise RuntimeError("gone")
      return super().reset(task)

  rest = demonstrate(tasks[:10], make_env=lambda: Fragile(SETTINGS))
  assert arrays(rest) == arrays(t for i, t in enumerate(shown[:10]) if i != 3)


def test_sample_texts_are_those_of_demonstrations():
  # Without skills: a bank's retriever would choose among them, the sampler shows all.
  some, teacher = train_tasks(6), HouseholdTeacher(SETTINGS, known=(0.0,), null=0.0)
  texts = cold_start.sample_texts(
    some, env=HouseholdEnv(SETTINGS), teacher=teacher, style=prompts.COMPACT, seed=5
  )
  played = demonstrate(some, teacher=teacher)
  spoken = [turn.text for t in played for turn in t.turns]
  assert texts[1::2] == spoken
  assert sum("Review the episode" in text for text in texts) == 6
  assert not parse.parse_action(texts[1]).rejection
  decoded = "".join(tokenizer().decode(t.tokens) for t in played)
  assert all(text in decoded for text in texts)


MODEL = ModelConfig(
  vocab_size=560, d_model=32, num_layers=1, num_heads=2, num_kv_heads=1, head_dim=16,
  d_ff=64, max_len=1024,
)  # fmt: skip


LEARNER = LearnerSettings(learning_rate=1e-2, row_len=640, rows_per_batch=2)


@pytest.fixture(scope="module")
def learner():
  return Learner(MODEL, LEARNER, LossSettings())


def fine_tune(learner, examples, steps, *, seed=0, **stages):
  history = []
  params = init_params(jax.random.key(0), MODEL)
  kept = jax.tree.map(np.array, params)
  # optax relies on promotion; the rest of the suite stays strict.
  with jax.numpy_dtype_promotion("standard"):
    tuned = fine_tuning.fine_tune(
      params,
      examples,
      learner=learner,
      steps=steps,
      seed=seed,
      **stages,
      on_step=lambda step, metrics: history.append((step, metrics["nll"])),
    )
  jax.tree.map(np.testing.assert_array_equal, kept, params)  # not donated, not changed
  return tuned, history


def test_an_exercise_that_no_row_can_hold_stops_before_the_first_step(learner, examples):
  long = dataclasses.replace(examples[0], tokens=np.zeros(641, np.int32))
  with pytest.raises(ValueError, match=r"exercise has 641 tokens.*row_len=640 .*sft.row"):
    fine_tune(learner, examples, 2, drills=[long])


@pytest.fixture(scope="module")
def examples(shown):
  rows = [
    Example(
      tokens=t.tokens,
      loss_mask=t.loss_mask,
      role=t.role,
      turn_index=t.turn_index,
      behavior_logprobs=t.behavior_logprobs,
      edit_kind=t.edit.kind,
    )
    for t in shown
  ]
  return balance_reviews([row for row in rows if len(row.tokens) <= 640], 0)


def test_fine_tuning_learns(learner, examples):
  tuned, history = fine_tune(learner, examples, 12)
  steps, nll = zip(*history, strict=True)
  assert steps == tuple(range(1, 13))
  # A uniform guess costs ln 560 = 6.3 nats.
  assert 5.8 < nll[0] < 6.8
  assert np.mean(nll[-3:]) < nll[0] - 1.5
  assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(tuned))
  again, repeated = fine_tune(learner, examples, 12)
  assert repeated == history
  jax.tree.map(np.testing.assert_array_equal, again, tuned)
  assert fine_tune(learner, examples, 2, seed=1)[1] != history[:2]


def test_stages_come_in_order(learner, examples):
  seen = []

  class Spy:
    settings = learner.settings
    init = staticmethod(learner.init)

    def imitate(self, state, batch, *, num_sequences):
      seen.append(batch)
      return learner.imitate(state, batch, num_sequences=num_sequences)

  reading, exercises = (
    cold_start.make_drills(
      3,
      reading_only=reading_only,
      teacher=TEACHER,
      style=prompts.COMPACT,
      chat=make_runner(capacity=1).chat,
      tokenizer=tokenizer(),
    )
    for reading_only in (True, False)
  )
  stages = {"drill_steps": 1, "exercise_steps": 2, "opening_steps": 1}
  fine_tune(Spy(), examples, 6, drills=reading, exercises=exercises, **stages)
  openings = [e.opening() for e in examples]
  order = [reading, exercises, exercises, openings, examples, examples]
  for batch, data in zip(seen, order, strict=True):
    expected = {tuple(e.tokens.tolist()) for e in data}
    for index in set(batch.sequence_id.ravel().tolist()) - {-1}:
      assert tuple(batch.tokens[batch.sequence_id == index].tolist()) in expected


@pytest.mark.parametrize("stage", ["drill", "exercise"])
@pytest.mark.parametrize(("mastery", "steps"), [(0.4, 13), (0.2, 30), (0.0, 30)])
def test_a_mastered_stage_ends_early(learner, examples, mastery, steps, stage):
  first, *rest = examples
  seen = 0

  class Learning:
    settings = learner.settings
    init = staticmethod(learner.init)

    def imitate(self, state, batch, *, num_sequences):
      nonlocal seen
      seen += first.tokens.tolist() == batch.tokens[batch.sequence_id == 0].tolist()
      # High three times, and low on the whole from then on: the mean over ten steps
      # falls below 0.4 with the thirteenth.
      return state, {"nll": 3.0 if seen <= 3 else 0.3}

  stages = {f"{stage}s": [first], f"{stage}_steps": 30, "mastery": mastery}
  _, history = fine_tune(Learning(), rest, 40, **stages)
  assert seen == steps
  assert len(history) == 40  # what is saved goes to the next stage


class Recorder:
  """A learner whose state is how many steps it made; keeps what it saw."""

  @dataclasses.dataclass
  class State:
    params: int

  settings = LEARNER

  def __init__(self):
    self.seen = []

  def init(self, params):
    return self.State(0)

  def imitate(self, state, batch, *, num_sequences):
    self.seen.append((batch.tokens.tobytes(), num_sequences))
    number = state.params + 1
    # The first stage is mastered after 13 steps: its losses are low from the fourth on.
    return self.State(number), {"nll": 3.0 if number <= 3 else 0.3}


@pytest.mark.parametrize("stop", [0, 1, 7, 12, 13, 14, 16, 17, 31, 40])
def test_fine_tuning_goes_on_from_any_step(examples, stop):
  stages = {
    **{"drills": examples[:3], "drill_steps": 30, "mastery": 0.4},
    **{"exercises": examples[3:9], "drill_share": 0.3, "opening_steps": 3},
  }
  straight, places = Recorder(), [(Recorder.State(0), fine_tuning.Position())]
  options = {"steps": 40, "seed": 0, **stages}
  fine_tuning.fine_tune(
    0,
    examples[9:14],
    learner=straight,
    on_state=lambda *place: places.append(place),
    **options,
  )
  assert [place.step for _, place in places] == list(range(41))
  stages_seen = [place.stage for _, place in places]
  assert stages_seen[13] == 0 and stages_seen[14:18] == [2, 2, 2, 3]
  assert len({place.epoch for _, place in places if place.stage == 3}) > 2

  state, place = places[stop]
  told = json.loads(json.dumps(dataclasses.asdict(place)))
  place = fine_tuning.Position(**{**told, "losses": tuple(told["losses"])})
  resumed, later = Recorder(), []
  last = fine_tuning.fine_tune(
    0,
    examples[9:14],
    learner=resumed,
    resume=(state, place),
    on_state=lambda *place: later.append(place),
    **options,
  )
  assert last == 40 and later == places[stop + 1 :]
  assert resumed.seen == straight.seen[stop:]


@pytest.mark.parametrize(
  ("values", "text"),
  [
    ({"exercise_steps": -1}, r"exercise_steps=-1.*cold_start\.exercise_steps"),
    ({"opening_steps": -1}, r"opening_steps=-1.*cold_start\.opening_steps"),
    ({"drill_steps": 5, "exercise_steps": 3, "opening_steps": 2}, r"= 10 must be < st"),
    ({"mastery": float("nan")}, r"mastery=nan.*cold_start\.mastery"),
    ({"mastery": 0.1, "drills": 0, "drill_steps": 0}, r"mastery=0\.1.*0 without drills"),
  ],
)
def test_stages_are_checked(values, text):
  given = {"episodes": 1, "steps": 10, "drills": 4, "drill_steps": 2} | values
  with pytest.raises(ValueError, match=text):
    cold_start.ColdStartSettings(**given)


def test_steps_without_exercises_are_refused(learner, examples):
  with pytest.raises(ValueError, match="exercise_steps=2"):
    fine_tune(learner, examples, 4, exercise_steps=2)


def test_an_epoch_holds_every_example_once(learner, examples):
  def sequences(seed):
    rows = []
    for batch, num in fine_tuning._epoch(examples, learner.settings, seed):
      assert batch.tokens.shape == (1, 2, 640)
      for index in set(batch.sequence_id.ravel().tolist()) - {-1}:
        assert index < num
        place = batch.sequence_id == index
        rows.append((batch.tokens[place].tolist(), batch.loss_mask[place].tolist()))
    return rows

  expected = [(e.tokens.tolist(), [float(m) for m in e.loss_mask]) for e in examples]
  first, second = sequences((0, 0)), sequences((0, 1))
  assert sorted(first) == sorted(second) == sorted(expected)
  assert first != second and first == sequences((0, 0))


@pytest.mark.parametrize(
  "name", ["episodes", "steps", "tokenizer_episodes", "checkpoint_every"]
)
def test_settings_are_checked(name):
  values = {"episodes": 1, "steps": 1, name: 0}
  with pytest.raises(ValueError, match=rf"{name}=0 must be >= 1 .*cold_start\.{name}"):
    cold_start.ColdStartSettings(**values)


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_drill_share_is_a_share_of_tokens(share):
  def example(length):
    zeros = np.zeros(length)
    return Example(
      tokens=zeros.astype(np.int32),
      loss_mask=zeros.astype(bool),
      role=zeros.astype(np.int8),
      turn_index=zeros.astype(np.int16),
      behavior_logprobs=zeros.astype(np.float32),
      edit_kind="",
    )

  examples, drills = [example(20)] * 30, [example(100)] * 3
  mixed = fine_tuning._mix(examples, drills, share, (0,))
  added = sum(len(e.tokens) for e in mixed) - 600
  assert added == pytest.approx(600 * share / (1.0 - share))
  assert mixed[:30] == examples


@pytest.mark.parametrize(("share", "drills"), [(0.2, 0), (1.0, 4), (-0.1, 4)])
def test_drill_share_is_checked(share, drills):
  with pytest.raises(ValueError, match=rf"drill_share={share}.*cold_start\.drill_share"):
    cold_start.ColdStartSettings(
      episodes=1, steps=9, drills=drills, drill_steps=drills, drill_share=share
    )


def test_exercise_steps_need_drills():
  with pytest.raises(ValueError, match=r"exercise_steps=3.*cold_start\.exercise_steps"):
    cold_start.ColdStartSettings(episodes=1, steps=9, exercise_steps=3)


def test_an_induction_head_needs_the_head_before_it():
  with pytest.raises(ValueError, match=r"previous_token_heads >= 1"):
    cold_start.ColdStartSettings(episodes=1, steps=1, induction_head=True)


def test_drill_texts_hold_what_is_given_and_recalled():
  texts = cold_start.drill_texts(2, teacher=TEACHER, style=prompts.COMPACT)
  assert len(texts) == 4
  _, pieces = TEACHER.drill(0, reading_only=True)
  assert texts[0].endswith("".join(given + recalled for given, recalled in pieces))


def test_drills_train_only_what_is_recalled():
  drills = cold_start.make_drills(
    6,
    reading_only=False,
    teacher=TEACHER,
    style=prompts.COMPACT,
    chat=make_runner(capacity=1).chat,
    tokenizer=tokenizer(),
  )
  for seed, drill in enumerate(drills):
    _, pieces = TEACHER.drill(seed, reading_only=False)
    trained = tokenizer().decode(drill.tokens[drill.loss_mask])
    assert trained == "".join(recalled for _, recalled in pieces)
    text = tokenizer().decode(drill.tokens)
    assert text.endswith("".join(given + recalled for given, recalled in pieces))
  assert drills[0].tokens.tolist() != drills[1].tokens.tolist()


def test_a_teacher_without_drills_is_a_clear_error():
  class Mute(HouseholdTeacher):
    def drill(self, seed, *, reading_only):
      return (), ()

  with pytest.raises(ValueError, match=r"drills > 0.*cold_start\.drills"):
    cold_start.make_drills(
      2,
      reading_only=True,
      teacher=Mute(),
      style=prompts.COMPACT,
      chat=make_runner(capacity=1).chat,
      tokenizer=tokenizer(),
    )
