"""The JAX side of the parity tests: a folder of tensors in, logits and gradients out."""

import functools
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
from safetensors.numpy import load_file

from skilljax.models import hf_io, logprobs, transformer
from skilljax.models.config import ModelConfig
from tests.models import hf_reference


def dense_rows(tokens: np.ndarray) -> tuple[jax.Array, jax.Array, jax.Array]:
  """(tokens, positions, segment ids) of rows that are one segment each."""
  positions = np.broadcast_to(np.arange(tokens.shape[1], dtype=np.int32), tokens.shape)
  return jnp.asarray(tokens), jnp.asarray(positions), jnp.ones(tokens.shape, jnp.int32)


def evaluate(
  folder: pathlib.Path, tokens: np.ndarray
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
  """What `hf_reference.evaluate` computes, from a checkpoint folder."""
  cfg, params = hf_io.load_checkpoint(folder)
  weights = hf_reference.loss_weights((tokens.shape[0], tokens.shape[1] - 1))
  grads, logits = _grads_and_logits(params, *dense_rows(tokens), weights, cfg)
  return np.asarray(logits), named(folder / "grads", cfg, grads)


def logits(params, cfg: ModelConfig, tokens: np.ndarray) -> np.ndarray:
  """[B, T, V] of rows that are one segment each."""

  @jax.jit
  def run(params, *rows):
    return transformer.logits(params, transformer.forward(params, *rows, cfg), cfg)

  return np.asarray(run(params, *dense_rows(tokens)))


@functools.partial(jax.jit, static_argnames="cfg")
def _grads_and_logits(params, tokens, positions, segment_ids, weights, cfg):
  def loss(params):
    rows = (tokens, positions, segment_ids)
    scores, _ = logprobs.sequence_logprobs(params, *rows, cfg, chunk=8)
    logits = transformer.logits(params, transformer.forward(params, *rows, cfg), cfg)
    return jnp.sum(scores[:, 1:] * weights), logits

  return jax.grad(loss, has_aux=True)(params)


def named(folder: pathlib.Path, cfg: ModelConfig, tree) -> dict[str, np.ndarray]:
  """A parameter-shaped tree under the names and in the orientation of the files."""
  hf_io.save_checkpoint(folder, cfg, tree)
  return load_file(folder / "model.safetensors")


def assert_close(actual: np.ndarray, expected: np.ndarray, name: str) -> None:
  """Within 1e-4 of the largest expected magnitude (at least 1)."""
  scale = max(1.0, float(np.abs(expected).max()))
  np.testing.assert_allclose(actual, expected, atol=1e-4 * scale, rtol=0, err_msg=name)
