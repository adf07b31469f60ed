"""BFCL multi-turn: right answers pass, wrong ones fail as the packaged checker says."""

import dataclasses
import decimal
import functools
import os
import pickle
import random
import re
import subprocess
import sys
import uuid

import pytest

from skilljax.agents.parse import parse_action, parse_edit
from skilljax.envs import base, bfcl, table
from skilljax.envs.bfcl import data, tools
from skilljax.envs.pool import EnvPool

CHECKER = "eval_checker.multi_turn_eval.multi_turn_checker"
EXECUTOR = "eval_checker.multi_turn_eval.multi_turn_utils"


@pytest.fixture(scope="module")
def source():
  if reason := bfcl.why_unavailable():
    pytest.skip(reason)
  return bfcl.BfclSource(bfcl.BfclSettings())


@pytest.fixture(scope="module")
def scenarios(source):
  return source._benchmark.scenarios


@pytest.fixture(scope="module")
def env(source):
  return bfcl.BfclEnv(bfcl.BfclSettings(max_turns=168))


def _task(source, name):
  return next(task for task in source.tasks("all") if task.name == name)


def _play(env, task, actions):
  env.reset(task)
  return [env.step(action) for action in actions][-1]


# The source


def test_every_split_is_whole_and_ordered(source):
  everyone = [task.name for task in source.tasks("all")]
  assert everyone == [
    f"multi_turn_{family}_{number}" for family in source.families for number in range(200)
  ]
  parts = [source.tasks(split) for split in ("train", "dev", "test")]
  assert [len(part) for part in parts] == [472, 80, 248]
  # The four families are variants of one conversation.
  assert len({task.cluster for task in parts[2]}) == 62
  assert len({(task.cluster, task.family) for task in parts[2]}) == 248
  names = [task.name for part in parts for task in part]
  assert sorted(names) == sorted(everyone)
  assert {(t.env, t.scope) for t in source.tasks("train")} == {("bfcl", "bfcl")}
  assert source.tasks("dev") == bfcl.BfclSource(bfcl.BfclSettings()).tasks("dev")
  with pytest.raises(ValueError, match=r"split='valid' must be one of \('train', 'dev'"):
    source.tasks("valid")


def test_no_story_is_on_two_sides(source, scenarios):
  side = {}
  for split in ("train", "dev", "test"):
    for task in source.tasks(split):
      scenario = scenarios[task.name]
      assert side.setdefault(("story", scenario.number), split) == split
      if task.family == "base":
        state = repr(scenario.config)
        assert side.setdefault(state, split) == split
  assert len(side) == 200 + 195


def test_every_main_tool_is_on_every_side(source, scenarios):
  for split, least in (("train", 25), ("dev", 4), ("test", 13)):
    numbers = [
      scenarios[t.name].number for t in source.tasks(split) if t.family == "base"
    ]
    blocks = [number // 50 for number in numbers]
    assert all(blocks.count(block) >= least for block in range(4))


def test_probes_are_other_train_tasks_of_the_family(source):
  for task in (source.tasks("train")[0], source.tasks("test")[-1]):
    probes = source.probes(task, 8, seed=3)
    assert probes == source.probes(task, 8, seed=3) != source.probes(task, 8, seed=4)
    assert len(set(probes)) == 8 and task not in probes
    assert {(p.split, p.family) for p in probes} == {("train", task.family)}
  with pytest.raises(ValueError, match=r"num=118 must be in \[0, 117\]"):
    source.probes(source.tasks("train")[0], 118, seed=0)


def test_the_only_scope_streams_the_split(source):
  assert source.scopes("train") == ("bfcl",)
  assert source.stream("bfcl", "dev") == source.tasks("dev")
  with pytest.raises(ValueError, match="scope='files' must be 'bfcl'"):
    source.stream("files", "dev")


# The verdict


def test_all_800_right_answers_pass(env, source):
  for task in source.tasks("all"):
    last = _play(env, task, source.walkthrough(task))
    assert (last.success, last.reward, last.terminated) == (True, 1.0, True), task.name


def _packaged_verdict(scenario, steps):
  """Of the package's whole checker; `steps`: answer -> action -> calls."""
  package = data.package_module
  name = f"fresh{uuid.uuid4().hex}"
  try:
    return package(CHECKER).multi_turn_checker(
      [[list(step) for step in answer] for answer in steps],
      [list(calls) for calls in scenario.truth],
      {
        "id": scenario.name,
        "initial_config": scenario.config,
        "involved_classes": list(scenario.classes),
      },
      scenario.family,
      name,
    )["valid"]
  finally:
    instances = vars(package(EXECUTOR))
    for key in [key for key in instances if key.startswith(name)]:
      del instances[key]


def _corrupt(scenario, rng, others):
  """Right answers with one thing wrong: answer -> action -> calls."""
  steps = [[list(calls)] if calls else [] for calls in scenario.truth]
  full = [number for number, answer in enumerate(steps) if answer]
  place = rng.choice(full)
  calls = steps[place][0]
  at = rng.randrange(len(calls))
  kind = rng.choice(["drop", "twice", "change", "extra", "early", "split", "empty"])
  if kind == "drop":
    del calls[at]
  elif kind == "twice":
    calls.insert(at, calls[at])
  elif kind == "change":
    calls[at] = _change_argument(calls[at], rng)
  elif kind == "extra":
    # Calls of another task with the same tools: they read, write, or fail.
    calls.insert(at, rng.choice(rng.choice(others)))
  elif kind == "early":
    steps[0] = [steps[place].pop(), *steps[0]]
  elif kind == "split":
    steps[place] = [[call] for call in calls]
  else:
    steps[place] = []
  return [[step for step in answer if step] for answer in steps]


def _change_argument(call, rng):
  if re.search(r"\d", call):
    return re.sub(r"\d", lambda digit: str((int(digit[0]) + 1) % 10), call, count=1)
  return re.sub(r"=\s*(['\"])", rf"=\1{rng.choice('xyz')}", call, count=1)


def test_the_verdict_is_that_of_the_packaged_checker(env, source, scenarios):
  rng = random.Random("corruptions")
  verdicts = []
  for task in rng.sample(source.tasks("all"), 60):
    scenario = scenarios[task.name]
    assert _packaged_verdict(scenario, [[c] if c else [] for c in scenario.truth])
  for task in rng.choices(source.tasks("all"), k=300):
    scenario = scenarios[task.name]
    others = [
      calls
      for other in scenarios.values()
      if set(other.classes) == set(scenario.classes) and other.family == scenario.family
      for calls in other.truth
      if calls
    ]
    steps = _corrupt(scenario, rng, others)
    actions = []
    for answer in steps:
      actions += [f"[{', '.join(calls)}]" for calls in answer] + [bfcl.DONE]
    ours = _play(env, task, actions)
    assert ours.terminated
    assert ours.success == _packaged_verdict(scenario, steps), (task.name, actions)
    verdicts.append(ours.success)
  assert 80 < sum(verdicts) < 200  # neither a judge that always nods, nor the reverse


def test_what_is_said_does_not_win(env, source):
  task = source.tasks("all")[0]
  num_answers = source.walkthrough(task).count(bfcl.DONE)
  last = _play(env, task, [bfcl.DONE] * num_answers)
  assert last.terminated and not last.success and last.reward == 0.0


def test_an_error_of_an_early_answer_is_not_forgiven(env, source, scenarios):
  """The state is right again at the end, but it was not when the answer ended."""
  task = _task(source, "multi_turn_base_1")
  answers = scenarios[task.name].truth
  actions = []
  for number, calls in enumerate(answers):
    late = answers[number - 1] if number == 2 else ()
    now = () if number == 1 else calls
    actions += [f"[{', '.join((*late, *now))}]"] if late or now else []
    actions.append(bfcl.DONE)
  assert not _play(env, task, actions).success


# The conversation


def test_the_conversation_is_the_benchmarks(source, scenarios):
  env = bfcl.BfclEnv(bfcl.BfclSettings(docs="signatures"))
  task = _task(source, "multi_turn_base_1")
  first = env.reset(task)
  assert first.goal == source.goal(task) == scenarios[task.name].messages[0]
  assert first.text.endswith(f"\n\nUser: {first.goal}") and first.max_turns == 60
  assert "\nls(a: boolean = False)\n" in first.text
  told = env.step('[pwd(), cd("workspace"), ls(a=True)]')
  assert told.text == (
    '[{"current_working_directory": "/alex"}, {"current_working_directory": "workspace"},'
    ' {"current_directory_content": ["log.txt", "archive", ".hidden_file"]}]'
  )
  assert env.step("pwd()").text == '[{"current_working_directory": "/alex/workspace"}]'
  assert env.step("mkdir(dir_name='new')").text == '["None"]'
  answer = env.step("Done")
  assert answer.text == f"User: {scenarios[task.name].messages[1]}"
  assert not answer.ended
  assert env.step("[]").text == f"User: {scenarios[task.name].messages[2]}"


def test_functions_that_are_held_out_are_shown_in_their_turn(source, scenarios):
  task = _task(source, "multi_turn_miss_func_0")
  assert scenarios[task.name].held_out == {3: ("sort",)}
  for docs, mark in (
    ("full", '"name": "sort"'),
    ("signatures", "sort(file_name: string"),
  ):
    env = bfcl.BfclEnv(bfcl.BfclSettings(docs=docs))
    assert mark not in env.reset(task).text
    texts = [env.step(bfcl.DONE).text for _ in range(3)]
    assert [mark in text for text in texts] == [False, False, True]
    assert texts[-1].endswith(
      "User: I have updated some more functions you can choose from. What about now?"
    )


def test_full_docs_are_the_packages(env, source, scenarios):
  text = env.reset(source.tasks("all")[0]).text
  for name in scenarios["multi_turn_base_0"].classes:
    for doc in data.read_docs(name).values():
      assert doc["description"] in text


def test_the_step_caps_truncate(env, source):
  task = source.tasks("all")[0]
  env.reset(task)
  for _ in range(2):  # the cap is of one answer, not of the episode
    assert not any(env.step("pwd()").ended for _ in range(20))
    assert not env.step(bfcl.DONE).ended
  assert not any(env.step("what?").ended for _ in range(20))
  last = env.step("pwd()")
  assert last.truncated and not last.terminated and not last.success
  with pytest.raises(ValueError, match="call reset first"):
    env.step("pwd()")
  short = bfcl.BfclEnv(bfcl.BfclSettings(max_turns=2))
  assert short.reset(task).max_turns == 2
  assert not short.step("pwd()").ended
  assert short.step("pwd()").truncated


def test_a_win_on_the_last_turn_is_a_win(source):
  task = source.tasks("all")[0]
  plan = source.walkthrough(task)
  env = bfcl.BfclEnv(bfcl.BfclSettings(max_turns=len(plan)))
  last = _play(env, task, plan)
  assert last.terminated and last.success and not last.truncated


def test_tasks_and_settings_of_other_worlds_are_refused(env, source):
  task = source.tasks("all")[0]
  for change in ({"env": "household"}, {"name": "multi_turn_base_200"}):
    with pytest.raises(base.UnplayableTask, match="not one of 'bfcl'"):
      env.reset(dataclasses.replace(task, **change))
  with pytest.raises(ValueError, match=r"docs='short' must be .*env\.docs"):
    table.make_settings("bfcl", {"docs": "short"})
  with pytest.raises(ValueError, match=r"max_turns=0 must be >= 1 .*env\.max_turns"):
    table.make_settings("bfcl", {"max_turns": 0})


# Safety


HOSTILE = (
  "",
  "what?",
  "__import__('os').system('touch owned')",
  "[__import__('os').system('touch owned')]",
  "open('owned', 'w')",
  "eval('1')",
  "cd(folder=open('owned', 'w'))",
  "cd(folder=[x for x in ('a',)])",
  "cd(folder=(lambda: 'a')())",
  "cd(folder=f'{1}')",
  "cd(folder='a' + 'b')",
  "cd(*['document'])",
  "cd(**{'folder': 'document'})",
  "cd(folder='document', folder='document')",
  "ls.__class__()",
  "(lambda: 1)()",
  "cd('document') or pwd()",
  "x = 1",
  "cd('document'); pwd()",
  "_load_scenario(scenario={})",
  "__init__()",
  "__setattr__('root', 1)",
  "kill()",
  "cd(self=1)",
  "[cd('document'), 3]",
  "(" * 5000,
  "cd(" + "[" * 5000 + "]" * 5000 + ")",
  "cd(folder='\x00')\x00",
  "cd(folder=" + "9" * 5000 + ")",
)


def test_hostile_text_changes_nothing(env, source, scenarios, tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  task = source.tasks("all")[0]
  begin = tools.Toolbox(tools.pack_tools(scenarios[task.name]))
  checker = data.package_module(CHECKER)
  for text in HOSTILE:
    env.reset(task)
    told = env.step(text)
    assert told.text.startswith(("Error: ", '["Error during execution: ')), (text, told)
    assert not told.ended
    assert checker.state_checker(env._tools.instances, begin.instances)["valid"], text
  assert list(tmp_path.iterdir()) == []


def test_wrong_arguments_are_answers(env, source):
  env.reset(source.tasks("all")[0])
  for call in (
    "cd()",
    "cd(1, 2, 3)",
    "cd(folder=None)",
    "cd(way='up')",
    "wc(file_name={})",
  ):
    assert "rror" in env.step(call).text


def test_two_episodes_of_a_task_share_nothing(source, scenarios):
  make = functools.partial(bfcl.BfclEnv, bfcl.BfclSettings())
  for name in ("multi_turn_base_0", "multi_turn_long_context_0"):
    task = _task(source, name)
    plan = source.walkthrough(task)
    one, two = make(), make()
    one.reset(task), two.reset(task)
    for action in plan:  # interleaved, and one of them breaks everything it can
      last = one.step(action)
      if not two._ended:
        two.step(
          "[rm(file_name='final_report.pdf'), mkdir(dir_name='temp'), cd('document')]"
        )
    assert last.success
    assert _play(two, task, plan).success


def test_tools_do_not_share_the_lists_of_their_modules(scenarios):
  """The package hands its long-context lists out by reference, and writes into them."""
  scenario = next(
    s
    for s in scenarios.values()
    if s.family == "long_context" and "TravelAPI" in s.classes
  )
  packed = tools.pack_tools(scenario)
  boxes = [tools.Toolbox(packed), tools.Toolbox(packed)]
  cards = [box.instances["TravelAPI"].credit_card_list for box in boxes]
  for card in cards[0].values():
    card["balance"] = -1.0
  assert all(card["balance"] != -1.0 for card in cards[1].values())
  again = tools.Toolbox(tools.pack_tools(scenario))
  cards = again.instances["TravelAPI"].credit_card_list.values()
  assert all(card["balance"] != -1.0 for card in cards)


def test_a_tool_does_not_set_the_precision_of_the_process(scenarios):
  scenario = next(s for s in scenarios.values() if "MathAPI" in s.classes)
  box = tools.Toolbox(tools.pack_tools(scenario))
  # The packaged executor, which another test here runs, leaves it set.
  with decimal.localcontext(decimal.Context(prec=28)) as context:
    (root,) = box.replay(["square_root(number=2, precision=4)"])
    assert (root, context.prec) == ("{'result': Decimal('1.414')}", 28)


def test_it_is_light_and_leaves_the_process_alone(source, tmp_path):
  """No client library is imported, nothing printed, no variable set, no file written."""
  code = (
    "import os, sys\n"
    "before = dict(os.environ)\n"
    "from skilljax.envs import bfcl\n"
    "assert not any(name.startswith('bfcl_eval') for name in sys.modules)\n"
    "env = bfcl.BfclEnv(bfcl.BfclSettings())\n"
    "source = bfcl.BfclSource(bfcl.BfclSettings())\n"
    "for task in source.tasks('all')[::25]:\n"
    "  env.reset(task)\n"
    "  for action in source.walkthrough(task): last = env.step(action)\n"
    "  assert last.success\n"
    "assert dict(os.environ) == before\n"
    "ours = ('bfcl_eval.constants', 'bfcl_eval.eval_checker')\n"
    "loaded = [n for n in sys.modules if n.startswith('bfcl_eval.')]\n"
    "assert all(name.startswith(ours) for name in loaded), loaded\n"
    "roots = {name.partition('.')[0] for name in sys.modules}\n"
    "heavy = {'openai', 'anthropic', 'torch', 'transformers', 'pandas', 'filelock'}\n"
    "assert not roots & heavy, roots & heavy\n"
  )
  paths = os.pathsep.join(path for path in sys.path if path)
  done = subprocess.run(
    [sys.executable, "-c", code],
    env={**os.environ, "PYTHONPATH": paths, "HOME": str(tmp_path)},
    cwd=tmp_path,
    capture_output=True,
    text=True,
    timeout=120,
  )
  assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
  assert list(tmp_path.iterdir()) == []


def test_a_missing_package_says_how_to_install_it(monkeypatch):
  look_up = data.package_folder.__wrapped__
  monkeypatch.setattr(data.importlib.util, "find_spec", lambda name: None)
  with pytest.raises(
    ModuleNotFoundError, match=r"pip install --no-deps bfcl-eval==2026\.3\.23 && pip inst"
  ):
    look_up()


def test_another_version_is_refused(source, monkeypatch):
  monkeypatch.setattr(data.importlib.metadata, "version", lambda name: "2025.1.1")
  with pytest.raises(
    ModuleNotFoundError, match=r"2025\.1\.1 is installed; other versions"
  ):
    data.package_folder.__wrapped__()


# Around it


def test_the_teacher_wins_in_the_policys_own_format(env, source):
  teacher = table.make_teacher("bfcl", bfcl.BfclSettings())
  for task in source.tasks("train")[::59]:
    player = teacher.agent(task, seed=0)
    observation = env.reset(task)
    while not observation.ended:
      parsed = parse_action(player.reply(observation.text), code=True)
      assert not parsed.rejection
      observation = env.step(parsed.action)
    assert observation.success
    review = parse_edit(
      player.reply("Review the episode. Outcome: success."), ("general",)
    )
    assert review.edit.kind == "keep"


def test_every_right_answer_survives_the_parser(source):
  """Case, white space and length of calls are those that the policy wrote."""
  for task in source.tasks("all"):
    for action in source.walkthrough(task):
      text = f"<think>x</think><action>{action}</action>"
      assert parse_action(text, code=True).action == action


def test_it_plays_in_a_pool(source):
  settings = bfcl.BfclSettings()
  make = functools.partial(table.make_env, "bfcl", settings)
  assert pickle.loads(pickle.dumps(settings)) == settings
  with EnvPool(make, num_workers=1, envs_per_worker=2) as pool:
    plans = {}
    for task in source.tasks("all")[:2]:
      plans[task.key] = list(source.walkthrough(task))
      pool.start(task.key, task)
    won = set()
    while plans:
      for ticket, observation in pool.poll(60.0):
        if observation.ended:
          won |= {ticket} if observation.success else set()
          pool.release(ticket)
          del plans[ticket]
        else:
          pool.step(ticket, plans[ticket].pop(0))
  assert len(won) == 2
