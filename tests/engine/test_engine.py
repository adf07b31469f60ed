import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from skilljax.engine import base
from skilljax.engine import engine as engine_lib
from skilljax.models import transformer
from tests.engine.driver import CONFIG, ONE_BUCKET, SETTINGS, STOP, Episode, play


def request(sequence="a", tokens=(1, 2, 3), max_new=4, key=(0,), temperature=1.0):
  return base.GenerateRequest(
    sequence, np.asarray(tokens, np.int32), max_new, key, temperature
  )


def run(engine, *requests):
  """Submits, steps until all have answered, and returns the results by name."""
  for each in requests:
    engine.submit(each)
  results = {}
  while len(results) < len(requests):
    results |= {result.sequence: result for result in engine.step()}
  return results


@jax.jit
def forward_logits(params, tokens, segment_ids):
  positions = jnp.arange(tokens.shape[1])[None]
  hidden = transformer.forward(params, tokens, positions, segment_ids, CONFIG)
  return transformer.logits(params, hidden, CONFIG)


def learner_logprobs(params, tokens, temperature):
  """[T, V]: row t is log π(. | tokens[: t + 1]) from the training forward pass."""
  size = len(tokens)
  padded = np.zeros((1, SETTINGS.max_len), np.int32)
  padded[0, :size] = tokens
  segment_ids = (np.arange(SETTINGS.max_len) < size).astype(np.int32)[None]
  logits = np.asarray(forward_logits(params, padded, segment_ids))[0, :size]
  scaled = logits.astype(np.float64) / temperature
  return scaled - np.log(np.exp(scaled).sum(-1, keepdims=True))


def same(a, b):
  """Equal tokens; log-probabilities equal up to the order of float sums."""
  assert a.keys() == b.keys()
  for number in a:
    assert a[number].tokens == b[number].tokens
    assert a[number].finishes == b[number].finishes
    np.testing.assert_allclose(a[number].behavior, b[number].behavior, atol=1e-5)
    np.testing.assert_allclose(a[number].sampled, b[number].sampled, atol=1e-5)


def test_logprobs_equal_the_learners(params, make_engine, episodes):
  for number, transcript in play(make_engine(), episodes).items():
    temperature = episodes[number].temperature
    table = learner_logprobs(params, transcript.tokens, temperature)
    places = np.asarray(transcript.places)
    expected = table[places - 1, np.asarray(transcript.tokens)[places]]
    assert len(places) >= 6
    np.testing.assert_allclose(transcript.behavior, expected, atol=1e-5)
    np.testing.assert_allclose(transcript.sampled, expected, atol=1e-5)


def test_truncated_logprobs_belong_to_the_truncated_distribution(
  params, make_engine, episodes
):
  for number, transcript in play(make_engine(top_k=5, **ONE_BUCKET), episodes).items():
    table = learner_logprobs(params, transcript.tokens, episodes[number].temperature)
    for i, place in enumerate(transcript.places):
      row, token = table[place - 1], transcript.tokens[place]
      kept = np.sort(row)[-5:]
      assert row[token] >= kept[0] - 1e-5
      expected = row[token] - np.log(np.exp(kept).sum())
      assert transcript.sampled[i] == pytest.approx(expected, abs=2e-5)
      assert transcript.behavior[i] == pytest.approx(row[token], abs=1e-5)


@pytest.mark.parametrize(
  "overrides",
  [
    {"num_slots": 1, "row_buckets": (1,), **ONE_BUCKET},
    {"num_slots": 7, "row_buckets": (1, 4), "exit_fraction": 1.0, **ONE_BUCKET},
    {"decode_chunk": 1, "extend_buckets": (16,), **ONE_BUCKET},
    {"decode_chunk": 17, "extend_buckets": (4, 16), "attend_buckets": (16, 48)},
    {"num_slots": 6, "decode_rows": (2, 3), "attend_buckets": (24,)},
    {"decode_rows": (1, 4), **ONE_BUCKET},
  ],
)
def test_same_samples_for_every_shape(make_engine, episodes, overrides):
  same(play(make_engine(), episodes), play(make_engine(**overrides), episodes))


def test_same_samples_in_any_order_and_company(make_engine, episodes):
  engine = make_engine()
  together = play(engine, episodes)
  same(together, play(engine, episodes[::-1]))
  alone = {}
  for episode in episodes:
    alone |= play(engine, [episode])
  same(together, alone)


def test_kept_cache_equals_a_fresh_one(make_engine, episodes):
  """The last turn, asked again of a new sequence that gets the whole context at once."""
  engine = make_engine()
  for number, kept in play(engine, episodes).items():
    episode, start = episodes[number], kept.starts[-1]
    scratch = request("s", kept.tokens[:start], episode.max_new[2], (number, 2))
    scratch = dataclasses.replace(scratch, temperature=episode.temperature)
    result = run(engine, scratch)["s"]
    engine.release("s")
    assert result.tokens.tolist() == kept.tokens[start:]
    expected = kept.behavior[-len(result.tokens) :]
    np.testing.assert_allclose(result.behavior_logprobs, expected, atol=1e-5)


def test_every_part_of_the_key_matters(make_engine):
  engine = make_engine()
  keys = [(1,), (2,), (1, 0), (0, 1), (1, 2), ()]
  drawn = set()
  for key in keys:
    drawn.add(tuple(run(engine, request(max_new=12, key=key))["a"].tokens.tolist()))
    engine.release("a")
  assert len(drawn) == len(keys)
  again = run(engine, request(max_new=12, key=(1, 2)))["a"].tokens.tolist()
  engine.release("a")
  assert tuple(again) in drawn


def test_greedy_takes_the_likeliest(params, make_engine):
  engine = make_engine(stop_ids=(), **ONE_BUCKET)
  result = run(engine, request(temperature=0.0, max_new=10))["a"]
  engine.release("a")
  tokens = [1, 2, 3, *result.tokens.tolist()]
  table = learner_logprobs(params, tokens, 1.0)[2:-1]
  assert result.tokens.tolist() == table.argmax(-1).tolist()
  np.testing.assert_allclose(result.behavior_logprobs, table.max(-1), atol=1e-5)
  assert not result.sampled_logprobs.any()


def test_stop_ends_a_response(make_engine):
  """Every token but one stops: the first sample of all but one in 37 is the last."""
  engine = make_engine(stop_ids=tuple(range(1, 37)), **ONE_BUCKET)
  names = [f"s{i}" for i in range(4)]
  results = run(engine, *(request(n, key=(i,)) for i, n in enumerate(names)))
  for name in names:
    tokens = results[name].tokens
    if results[name].finish == "stop":
      assert tokens[-1] != 0
    assert not tokens[:-1].any()
    engine.release(name)
  assert {result.finish for result in results.values()} >= {"stop"}


def test_length_ends_a_response(make_engine):
  engine = make_engine(stop_ids=(), **ONE_BUCKET)
  results = run(engine, request("a", max_new=1), request("b", max_new=13))
  assert [len(results[n].tokens) for n in "ab"] == [1, 13]
  assert {results[n].finish for n in "ab"} == {"length"}
  engine.release("a")
  engine.release("b")


def test_full_context_ends_a_response(params, make_engine):
  engine = make_engine(stop_ids=(), **ONE_BUCKET)
  result = run(engine, request(tokens=np.arange(30), max_new=1000))["a"]
  assert result.finish == "full"
  assert len(result.tokens) == SETTINGS.max_len - 30
  tokens = [*range(30), *result.tokens.tolist()]
  table = learner_logprobs(params, tokens, 1.0)
  expected = table[np.arange(29, 63), tokens[30:]]
  np.testing.assert_allclose(result.behavior_logprobs, expected, atol=1e-5)
  with pytest.raises(ValueError, match=r"engine\.max_len=64"):
    engine.submit(request(tokens=[1]))
  engine.release("a")


def test_the_longest_context_has_room_for_one(make_engine):
  engine = make_engine(stop_ids=(), **ONE_BUCKET)
  with pytest.raises(ValueError, match="would hold 64 tokens"):
    engine.submit(request(tokens=np.zeros(64)))
  assert engine.num_free == SETTINGS.num_slots
  result = run(engine, request(tokens=np.zeros(63), max_new=2))["a"]
  assert (len(result.tokens), result.finish) == (1, "full")
  engine.release("a")


def test_a_reused_slot_is_clean(make_engine):
  engine = make_engine(num_slots=1, row_buckets=(1,), **ONE_BUCKET)
  first = run(engine, request(max_new=6))["a"].tokens
  engine.release("a")
  run(engine, request("b", tokens=np.arange(30), max_new=20, key=(9,)))
  engine.release("b")
  np.testing.assert_array_equal(run(engine, request(max_new=6))["a"].tokens, first)
  engine.release("a")


def test_release_drops_a_queued_or_running_request(make_engine):
  engine = make_engine(stop_ids=(), **ONE_BUCKET)
  engine.submit(request("queued"))
  engine.release("queued")
  assert engine.step() == []
  engine.submit(request("running", max_new=40))
  assert engine.step() == []
  engine.release("running")
  assert engine.step() == []
  assert engine.num_free == SETTINGS.num_slots


def test_publish_is_refused_while_sequences_are_open(params, make_engine):
  engine = make_engine()
  before = run(engine, request())["a"].behavior_logprobs
  with pytest.raises(RuntimeError, match="KV cache belongs to the old policy"):
    engine.publish(params, 1)
  engine.release("a")
  engine.publish({**params, "head": params["head"] * 0.5}, 1)
  assert engine.policy_version == 1
  after = run(engine, request())["a"].behavior_logprobs
  engine.release("a")
  engine.publish(params, 0)
  assert abs(before[0] - after[0]) > 1e-3


def test_publish_keeps_no_reference_to_the_learners_arrays(params, make_engine):
  engine = make_engine()
  theirs = jax.tree.map(lambda leaf: leaf + 0, params)
  engine.publish(theirs, 3)
  for leaf in jax.tree.leaves(theirs):
    leaf.delete()
  assert len(run(engine, request())["a"].tokens)
  engine.release("a")
  engine.publish(params, 0)


def test_no_trace_after_warmup(params, make_engine):
  engine = make_engine()
  traces = engine.num_traces
  assert traces == 4  # attention 32 and 64, times extend and decode
  rng = np.random.default_rng(0)
  for number in range(12):
    sizes = rng.integers(1, 21, 3)
    contexts = tuple(rng.integers(0, 36, n).astype(np.int32) for n in sizes)
    limits = tuple(int(n) for n in rng.integers(1, 4, 3))
    play(engine, [Episode(number, contexts, limits, float(rng.uniform(0, 2)))])
  assert engine.num_traces == traces
  engine.publish({**params, "embed": params["embed"][:30]}, 1)
  with pytest.raises(RuntimeError, match=r"recompilation .* extend .*\(2, 8\)"):
    run(engine, request())
  engine.release("a")
  engine.publish(params, 0)


def test_no_trace_after_warmup_with_few_rows(make_engine, episodes):
  engine = make_engine(decode_rows=(1, 2), **ONE_BUCKET)
  assert engine.num_traces == 3  # extend, and decode of one row and of two
  play(engine, episodes)
  assert engine.num_traces == 3


def test_stats(make_engine, episodes):
  engine = make_engine()
  transcripts = play(engine, episodes)
  stats = engine.stats()
  assert stats["decoded_tokens"] == sum(len(t.places) for t in transcripts.values())
  # Of a turn's input (the sample before it and its context) all but the last token.
  contexts = sum(len(t.tokens) - len(t.places) for t in transcripts.values())
  assert stats["extend_tokens"] == contexts - len(episodes)
  assert 0 < stats["occupancy"] <= 1
  assert 0 < stats["extend_fill"] <= 1
  assert 0 < stats["decode_fill"] <= 1
  assert 0 < stats["device_s"] <= stats["step_s"]
  assert stats["decoded_tok_s"] == stats["decoded_tokens"] / stats["step_s"]
  engine.reset_stats()
  assert not any(engine.stats().values())


def test_few_rows_do_not_pay_for_all_slots(make_engine, episodes):
  whole, cut = make_engine(), make_engine(decode_rows=(1, 2))
  same(play(whole, episodes[:1]), play(cut, episodes[:1]))
  assert whole.stats()["decode_fill"] == pytest.approx(1 / SETTINGS.num_slots)
  assert cut.stats()["decode_fill"] == 1


def test_submit_errors(make_engine):
  engine = make_engine()
  with pytest.raises(ValueError, match=r"must be in \[0, 37\), got 1\.\.37"):
    engine.submit(request(tokens=[1, 37]))
  engine.submit(request())
  with pytest.raises(ValueError, match="running request"):
    engine.submit(request())
  for i in range(SETTINGS.num_slots - 1):
    engine.submit(request(f"more{i}"))
  with pytest.raises(RuntimeError, match=r"engine\.num_slots"):
    engine.submit(request("too many"))
  for name in ("a", *(f"more{i}" for i in range(SETTINGS.num_slots - 1))):
    engine.release(name)
  with pytest.raises(ValueError, match="'a' is not open"):
    engine.release("a")


def test_construction_errors(params):
  def build(**overrides):
    arguments = {
      "settings": SETTINGS,
      "root_key": jax.random.key(0),
      "stop_ids": (STOP,),
      **overrides,
    }
    return engine_lib.DecodeEngine(CONFIG, **arguments)

  with pytest.raises(ValueError, match=r"stop_ids must be in \[0, 37\), got \(37,\)"):
    build(stop_ids=(37,))
  with pytest.raises(ValueError, match=r"jax\.random\.key"):
    build(root_key=jax.random.PRNGKey(0))
  with pytest.raises(ValueError, match=r"engine\.max_len must be <= model\.max_len=64"):
    build(settings=dataclasses.replace(SETTINGS, max_len=65))
  engine = build()
  with pytest.raises(RuntimeError, match="submit before publish"):
    engine.submit(request())
  with pytest.raises(RuntimeError, match="warmup before publish"):
    engine.warmup()
  with pytest.raises(ValueError, match="version must be >= 0, got -3"):
    engine.publish(params, -3)
  # 4 slots * 64 positions * 2 heads * 8 * float32 * (k, v) * 2 layers
  assert engine.cache_bytes == 4 * 64 * 2 * 8 * 4 * 2 * 2
