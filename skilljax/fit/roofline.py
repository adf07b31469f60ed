"""How long an update takes at least, from the sizes of a config: no clock, no compiler.

  prefill       2 P a token                     (P parameters, operations)
  decode step   B T kv / (n BW) + max(2 B P / (n C), P b / (n BW))
  reference     2 P a token
  gradient      6 P a token, and 2 P more for what the backward pass computes again

with kv bytes of cache a token, B episodes of T tokens on the n chips of a sampler that
share the weights, memory bandwidth BW, C operations a second at the chip's usual share
of its peak. Attention's own work, collectives, environments and compilation are left
out, so a real update takes longer: two to four times is common.

Source: "How to Scale Your Model", chapters on inference and training.
Must not know about: meshes beyond their sizes, compilers.
"""

import dataclasses

from skilljax.fit.chips import Chip
from skilljax.models.config import ModelConfig
from skilljax.settings import Settings


@dataclasses.dataclass(frozen=True)
class Workload:
  """An average episode, in tokens; assumptions, to be replaced by those of a run.

  Attributes:
    turns: of an episode, its review included.
    opening: of the first prompt, skills included.
    observation, response: of a turn.
    probes: share of 2 K G N probe episodes that are played; the others are known.
  """

  turns: int
  opening: int
  observation: int
  response: int
  probes: float = 0.4

  @property
  def tokens(self) -> int:
    """Of a whole episode."""
    return self.opening + self.turns * (self.observation + self.response)


# Measured rates of probes are 0.33 to 0.45 (README). Turns: of a policy halfway.
WORKLOADS = {
  "alfworld": Workload(turns=18, opening=1500, observation=320, response=90),
  "webshop": Workload(turns=9, opening=1300, observation=700, response=90),
}


@dataclasses.dataclass(frozen=True)
class Times:
  """Seconds of one update on all chips of a place."""

  prefill_s: float
  decode_s: float
  reference_s: float
  gradient_s: float

  @property
  def update_s(self) -> float:
    """Of a whole update, one part after the other."""
    return self.prefill_s + self.decode_s + self.reference_s + self.gradient_s


def predict(
  settings: Settings, model: ModelConfig, chip: Chip, *, workload: Workload
) -> Times:
  """Seconds of one update.

  Args:
    settings: of the config.
    model: of its policy.
    chip: one of those of the mesh.
    workload: an average episode.
  """
  params = dataclasses.replace(model, lora=None).num_params
  chips, sampler = settings.mesh.num_devices, settings.engine_mesh
  samplers = max(1, chips // sampler.num_devices)
  trained = settings.feed.tasks_per_update * settings.train.group_size
  probes = settings.probes.num_probes if settings.probes else 0
  played = trained * (1 + 2 * probes * workload.probes)
  speed = chips * chip.flops * chip.mfu
  tokens = trained * workload.tokens
  again = 2 if settings.numerics.remat != "none" else 0
  # Weights need no gradient below adapters.
  backward = 2 if settings.lora else 4
  return Times(
    prefill_s=2 * params * played * workload.tokens / speed,
    decode_s=played
    / (samplers * settings.engine.num_slots)
    * workload.turns
    * workload.response
    * decode_step_s(settings, model, chip, context=workload.tokens / 2),
    reference_s=2 * params * tokens / speed if settings.loss.kl_coef else 0.0,
    gradient_s=(2 + again + backward) * params * tokens / speed,
  )


def decode_step_s(
  settings: Settings, model: ModelConfig, chip: Chip, *, context: float
) -> float:
  """Seconds of one token on every slot of a sampler.

  Args:
    settings, model, chip: as in `predict`.
    context: tokens of an episode so far, on average.
  """
  mesh, slots = settings.engine_mesh, settings.engine.num_slots
  size = 2 if settings.numerics.compute_dtype == "bfloat16" else 4
  params = dataclasses.replace(model, lora=None).num_params
  kv = 2 * size * model.num_layers * model.num_kv_heads * model.head_dim
  cache_s = slots * context * kv / (mesh.num_devices * chip.bandwidth)
  # Replicas of the weights share the slots, not the reading.
  read_s = params * size / (mesh.tensor * chip.bandwidth)
  return cache_s + max(2 * slots * params / (mesh.num_devices * chip.flops), read_s)
