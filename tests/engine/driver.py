"""A small model configuration, scripted episodes and a driver that plays them."""

import dataclasses

import numpy as np

from skilljax.engine import base
from skilljax.engine.settings import EngineSettings
from skilljax.models.config import ModelConfig

STOP = 36
CONFIG = ModelConfig(
  vocab_size=37,
  d_model=32,
  num_layers=2,
  num_heads=4,
  num_kv_heads=2,
  head_dim=8,
  d_ff=48,
  tie_embeddings=False,
  max_len=64,
)
SETTINGS = EngineSettings(
  num_slots=4,
  max_len=64,
  attend_buckets=(32,),
  extend_buckets=(8,),
  row_buckets=(2,),
  decode_chunk=5,
)

# Two programs instead of four, for engines that need not cross a bucket.
ONE_BUCKET = {"attend_buckets": (64,)}


@dataclasses.dataclass(frozen=True)
class Episode:
  """Contexts of an append-only episode; turn t samples after contexts[t]."""

  number: int
  contexts: tuple[np.ndarray, ...]
  max_new: tuple[int, ...]
  temperature: float = 1.0


@dataclasses.dataclass
class Transcript:
  """The whole sequence and what the engine said about its samples."""

  tokens: list[int] = dataclasses.field(default_factory=list)
  places: list[int] = dataclasses.field(default_factory=list)  # of samples
  starts: list[int] = dataclasses.field(default_factory=list)  # of turns
  behavior: list[float] = dataclasses.field(default_factory=list)
  sampled: list[float] = dataclasses.field(default_factory=list)
  finishes: list[str] = dataclasses.field(default_factory=list)

  def add(self, result: base.GenerateResult) -> None:
    self.starts.append(len(self.tokens))
    self.places += range(len(self.tokens), len(self.tokens) + len(result.tokens))
    self.tokens += result.tokens.tolist()
    self.behavior += result.behavior_logprobs.tolist()
    self.sampled += result.sampled_logprobs.tolist()
    self.finishes.append(result.finish)


def play(engine: base.Engine, episodes: list[Episode]) -> dict[int, Transcript]:
  """Plays episodes with as many open at once as fit, in the given order."""
  waiting = list(episodes)[::-1]
  by_name = {f"e{episode.number}": episode for episode in episodes}
  transcripts = {episode.number: Transcript() for episode in episodes}

  def submit(episode: Episode) -> None:
    transcript = transcripts[episode.number]
    turn = len(transcript.finishes)
    transcript.tokens += episode.contexts[turn].tolist()
    engine.submit(
      base.GenerateRequest(
        sequence=f"e{episode.number}",
        tokens=episode.contexts[turn],
        max_new_tokens=episode.max_new[turn],
        key=(episode.number, turn),
        temperature=episode.temperature,
      )
    )

  num_open = 0
  while waiting or num_open:
    while waiting and engine.num_free:
      submit(waiting.pop())
      num_open += 1
    for result in engine.step():
      episode = by_name[result.sequence]
      transcript = transcripts[episode.number]
      transcript.add(result)
      if len(transcript.finishes) == len(episode.contexts):
        engine.release(result.sequence)
        num_open -= 1
      else:
        submit(episode)
  return transcripts
