import dataclasses

import jax
import numpy as np
import pytest

from skilljax.engine import base, lanes
from skilljax.engine import engine as engine_lib
from tests.engine.driver import CONFIG, ONE_BUCKET, SETTINGS, STOP


@pytest.fixture(scope="module")
def pair(params):
  """Two lanes of two slots."""

  settings = dataclasses.replace(SETTINGS, num_slots=2, **ONE_BUCKET)
  engine = lanes.LaneEngine(
    [
      engine_lib.DecodeEngine(
        CONFIG, settings=settings, root_key=jax.random.key(7), stop_ids=(STOP,)
      )
      for _ in range(2)
    ]
  )
  engine.publish(params, 0)
  engine.warmup()
  return engine


def play(engine, contexts):
  """One turn of each context, all open at once; name -> result."""
  for number, context in enumerate(contexts):
    engine.submit(
      base.GenerateRequest(
        sequence=f"s{number}",
        tokens=context,
        max_new_tokens=9,
        key=(3, number),
        temperature=1.0,
      )
    )
  results = {}
  while len(results) < len(contexts):
    results |= {result.sequence: result for result in engine.step()}
  for name in results:
    engine.release(name)
  return results


def test_lanes_sample_what_one_engine_samples(pair, make_engine):
  rng = np.random.default_rng(5)
  contexts = [rng.integers(0, STOP, size).astype(np.int32) for size in (4, 11, 6, 17)]
  ours = play(pair, contexts)
  theirs = play(make_engine(**ONE_BUCKET), contexts)
  for name, result in theirs.items():
    np.testing.assert_array_equal(ours[name].tokens, result.tokens)
    np.testing.assert_allclose(
      ours[name].behavior_logprobs, result.behavior_logprobs, atol=1e-5
    )


def test_lanes_share_sequences_and_refuse_a_policy_while_any_is_open(pair, params):
  assert pair.num_free == 4
  request = base.GenerateRequest("a", np.array([1, 2], np.int32), 1, (0,), 1.0)
  pair.submit(request)
  assert pair.num_free == 3
  with pytest.raises(RuntimeError, match="open sequences"):
    pair.publish(params, 1)
  while not pair.step():
    pass
  pair.release("a")
  with pytest.raises(ValueError, match="not open"):
    pair.release("a")
  pair.publish(params, 1)
  assert pair.policy_version == 1


def test_lanes_never_trace_again_after_warmup_and_add_up_their_counts(pair):
  traces = pair.num_traces
  pair.reset_stats()
  contexts = [np.arange(size, dtype=np.int32) for size in (3, 20, 5)]
  results = play(pair, contexts)
  assert pair.num_traces == traces
  assert pair.stats()["decoded_tokens"] == sum(len(r.tokens) for r in results.values())


def test_no_lane_is_an_error():
  with pytest.raises(ValueError, match="num_lanes"):
    lanes.LaneEngine([])
