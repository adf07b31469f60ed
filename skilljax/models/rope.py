"""Rotary positions: frequencies, their stretches for long contexts, and the rotation.

Purpose: one place for every variant that a checkpoint may ask for.
Must not know about: attention, layers, files.
"""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np


@dataclasses.dataclass(frozen=True)
class Llama3Scaling:
  """Slow rotations are slowed down further, fast ones kept (Llama 3.1).

  Attributes:
    factor: how much the slow ones are slowed down, >= 1.
    low_freq_factor, high_freq_factor: wavelengths above `original_max_len /
      low_freq_factor` are stretched, below `original_max_len / high_freq_factor` kept,
      blended in between.
    original_max_len: context length of the unstretched model, tokens.
  """

  factor: float = 8.0
  low_freq_factor: float = 1.0
  high_freq_factor: float = 4.0
  original_max_len: int = 8192

  def __post_init__(self):
    _check_stretch(self.factor, self.original_max_len)
    _check(
      0 < self.low_freq_factor < self.high_freq_factor,
      "low_freq_factor",
      self.low_freq_factor,
      f"in (0, high_freq_factor={self.high_freq_factor})",
    )

  def stretch(self, frequencies: np.ndarray, theta: float) -> np.ndarray:
    """[H/2] radians per token. Source: Llama 3.1 reference (apply_scaling)."""
    del theta
    turns = self.original_max_len * frequencies / (2 * math.pi)
    span = self.high_freq_factor - self.low_freq_factor
    keep = np.clip((turns - self.low_freq_factor) / span, 0.0, 1.0)
    return keep * frequencies + (1 - keep) * frequencies / self.factor

  @property
  def amplitude(self) -> float:
    """Factor of both rotated vectors."""
    return 1.0


@dataclasses.dataclass(frozen=True)
class YarnScaling:
  """YaRN: as Llama 3's, with a ramp over dimensions and longer rotated vectors.

  Attributes:
    factor: how much the slow rotations are slowed down, >= 1.
    original_max_len: context length of the unstretched model, tokens.
    beta_fast, beta_slow: dimensions that turn more than `beta_fast` times in it are
      kept, fewer than `beta_slow` times stretched.
    attention_factor: length of rotated vectors; 0 takes 0.1 ln(factor) + 1.
    truncate: the ramp begins and ends at whole dimensions.
  """

  factor: float
  original_max_len: int
  beta_fast: float = 32.0
  beta_slow: float = 1.0
  attention_factor: float = 0.0
  truncate: bool = True

  def __post_init__(self):
    _check_stretch(self.factor, self.original_max_len)
    _check(
      0 < self.beta_slow < self.beta_fast,
      "beta_slow",
      self.beta_slow,
      f"in (0, beta_fast={self.beta_fast})",
    )
    _check(self.attention_factor >= 0, "attention_factor", self.attention_factor, ">= 0")

  def stretch(self, frequencies: np.ndarray, theta: float) -> np.ndarray:
    """[H/2] radians per token. Source: Peng et al., arXiv:2309.00071, section 3.2."""
    half = len(frequencies)

    def dimension(turns: float) -> float:
      """Where a rotation makes so many turns in the original context."""
      length = self.original_max_len / (2 * math.pi * turns)
      return half * math.log(length) / math.log(theta)

    low, high = dimension(self.beta_fast), dimension(self.beta_slow)
    if self.truncate:
      low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, 2 * half - 1)
    width = high - low if high != low else 1e-3
    ramp = np.clip((np.arange(half, dtype=np.float32) - low) / width, 0.0, 1.0)
    return frequencies * (1 - ramp) + frequencies / self.factor * ramp

  @property
  def amplitude(self) -> float:
    """Factor of both rotated vectors."""
    return self.attention_factor or 0.1 * math.log(self.factor) + 1.0


@dataclasses.dataclass(frozen=True)
class LinearScaling:
  """All rotations are slowed down alike (position interpolation).

  Attributes:
    factor: how much, >= 1.
  """

  factor: float

  def __post_init__(self):
    _check(self.factor >= 1, "factor", self.factor, ">= 1")

  def stretch(self, frequencies: np.ndarray, theta: float) -> np.ndarray:
    """[H/2] radians per token."""
    del theta
    return frequencies / self.factor

  @property
  def amplitude(self) -> float:
    """Factor of both rotated vectors."""
    return 1.0


Scaling = Llama3Scaling | YarnScaling | LinearScaling


def frequencies(
  head_dim: int, theta: float, scaling: Scaling | None = None
) -> np.ndarray:
  """[H/2] float32 radians per token."""
  exponents = np.arange(0, head_dim, 2, dtype=np.float32) / head_dim
  plain = 1.0 / np.power(np.float32(theta), exponents)
  stretched = plain if scaling is None else scaling.stretch(plain, theta)
  return stretched.astype(np.float32)


def angles(
  positions: jax.Array, head_dim: int, theta: float, scaling: Scaling | None = None
) -> tuple[jax.Array, jax.Array]:
  """(cos, sin), each [B, S, H/2] float32, of positions [B, S] int32."""
  turns = jnp.asarray(frequencies(head_dim, theta, scaling))
  angle = positions[..., None].astype(jnp.float32) * turns[None, None, :]
  cos, sin = jnp.cos(angle), jnp.sin(angle)
  if scaling is None or scaling.amplitude == 1.0:
    return cos, sin
  return cos * scaling.amplitude, sin * scaling.amplitude


def rotate(x: jax.Array, cos: jax.Array, sin: jax.Array) -> jax.Array:
  """Rotates pairs (x[i], x[i + H/2]) of x [B, S, heads, H]; the Hugging Face order."""
  first, second = jnp.split(x.astype(jnp.float32), 2, axis=-1)
  cos, sin = cos[:, :, None, :], sin[:, :, None, :]
  turned = (first * cos - second * sin, second * cos + first * sin)
  return jnp.concatenate(turned, axis=-1).astype(x.dtype)


def _check_stretch(factor: float, original_max_len: int) -> None:
  _check(factor >= 1, "factor", factor, ">= 1")
  _check(original_max_len >= 1, "original_max_len", original_max_len, ">= 1")


def _check(ok: bool, name: str, value: object, allowed: str) -> None:
  if not ok:
    raise ValueError(
      f"rope_scaling.{name}={value!r} must be {allowed} (config key "
      f"model.rope_scaling.{name})"
    )
