"""A head start for small models from scratch: heads that look a token up.

Purpose: in-context look-up ("which value follows this key in the prompt?") needs two
heads in a row, one that copies each token's predecessor and one that matches it (Olsson
et al. 2022, arXiv:2209.11895). Training finds neither before the other exists, so loss
stays at chance for a long and random time. Here both are set by hand; one more, for the
token before the last, does the same for values of several tokens.
Must not know about: data, training.
"""

import jax
import jax.numpy as jnp
import numpy as np

from skilljax.models import rope
from skilljax.models.config import ModelConfig
from skilljax.models.params import Params

BASE = 0.1  # first channel of every embedding: about a fifth of its energy
GAIN = 2.0  # query and key length; attention scores grow with its square
PAIRS = 3  # fastest rotary pairs: narrow enough for one token, few enough not to recur
MATCH_GAIN = 1.5  # the same for the head that matches
WRITE, COPY = 3.0, 2.0  # what the two heads write, relative to embeddings


def check_num(num: int, cfg: ModelConfig) -> None:
  """Raises a ValueError unless a model has room for `num` such heads, 1 at least."""
  if cfg.unit_offset_norms or cfg.scale_embed:
    raise ValueError(
      "previous_token_heads needs model.unit_offset_norms=False and "
      "model.scale_embed=False (config key cold_start.previous_token_heads)"
    )
  most = cfg.num_heads // cfg.num_kv_heads
  if not 1 <= num <= most:
    raise ValueError(
      f"previous_token_heads={num} must be in [1, {most}], the query heads of one key "
      "head (config keys cold_start.previous_token_heads, model.num_kv_heads)"
    )


def previous_token_heads(params: Params, cfg: ModelConfig, num: int = 1) -> Params:
  """Makes head n of layer 0 attend n + 1 tokens back; everything else stays random.

  The first channel of all embeddings becomes one constant, which changes no output
  probability with tied embeddings, since it adds the same to every logit. Queries and
  keys read that channel into the fastest rotary pairs, queries turned back by n + 1
  positions, so that the score peaks at that distance. Training may undo all of it.

  Args:
    params: from `init_params`; not changed.
    cfg: their model.
    num: how many heads; they share one key head, so at most num_heads / num_kv_heads.
  Returns:
    Parameters of the same tree; on random tokens each head gives its token about three
    quarters of the attention (tests/models/test_head_start.py).
  Raises:
    ValueError: `num` is out of range.
  """
  check_num(num, cfg)
  frequencies = rope.frequencies(cfg.head_dim, cfg.rope_theta, cfg.rope_scaling)
  pairs = np.arange(cfg.head_dim // 2) < PAIRS
  embed = params["embed"].at[:, 0].set(BASE)
  layers = dict(params["layers"])
  if cfg.qk_norm:
    length = 1.0  # only the direction counts
    for name in ("q_norm", "k_norm"):
      layers[name] = layers[name].at[0].set(GAIN)
  else:
    root_mean_square = jnp.sqrt(jnp.mean(jnp.square(embed)))
    channel = BASE / root_mean_square  # after the norm that precedes attention
    length = GAIN * np.sqrt(cfg.head_dim / PAIRS) / channel

  def turned(positions: int) -> np.ndarray:
    angles = positions * frequencies
    halves = [pairs * np.cos(angles), pairs * np.sin(angles)]
    return np.concatenate(halves).astype(np.float32)

  for n in range(num):
    layers["wq"] = layers["wq"].at[0, 0, n].set(length * turned(-1 - n))
  layers["wk"] = layers["wk"].at[0, 0, 0].set(length * turned(0))
  return {**params, "embed": embed, "layers": layers}


def induction_head(key: jax.Array, params: Params, cfg: ModelConfig) -> Params:
  """Makes head 0 of layer 1 attend to what followed the present token before.

  Head 0 of layer 0, which attends one token back (`previous_token_heads`), is made to
  write its token into a random subspace. Head 0 of layer 1 matches that with its own
  token, on the slower half of the rotary pairs, where scores reach about a hundred tokens
  back. It writes the token that it finds into the residual stream, from where training
  takes it to the output. Training may undo all of it.

  The start is weak: subspaces overlap, other heads of layer 0 write as well, and the
  right token gets a few times its share. Training strengthens it; cleaner and sharper
  starts were not learned from faster (experiments/LOG.md). The gains of queries and keys
  are shared by all heads of layer 1 and rise with it.

  Args:
    key: of the random subspaces; consumed.
    params: from `previous_token_heads`; not changed.
    cfg: their model, of two layers or more.
  Returns:
    Parameters of the same tree; on a random sequence that repeats itself the head
    prefers what followed the first time (tests/models/test_head_start.py).
  Raises:
    ValueError: the model has one layer, or is narrower than a head.
  """
  check_induction(cfg)
  own, previous, found = (_subspace(k, cfg) for k in jax.random.split(key, 3))
  half = cfg.head_dim // 2
  slow = (np.arange(cfg.head_dim) % half >= half // 2).astype(np.float32)[None]
  layers = dict(params["layers"])
  length = 1.0  # only the direction counts
  if cfg.qk_norm:
    for name in ("q_norm", "k_norm"):
      layers[name] = layers[name].at[1].set(MATCH_GAIN)
  else:
    length = MATCH_GAIN * np.sqrt(2.0)  # as half of the entries are 0
  size = jnp.std(params["embed"][:, 1:])
  matrices = {
    ("wv", 0): own,
    ("wo", 0): WRITE * size * previous.T,
    ("wk", 1): length * previous * slow,
    ("wq", 1): length * own * slow,
    ("wv", 1): found,
    ("wo", 1): COPY * size * found.T,
  }
  for (name, layer), matrix in matrices.items():
    index = (layer, 0) if name == "wo" else (layer, slice(None), 0)
    layers[name] = layers[name].at[index].set(matrix)
  return {**params, "layers": layers}


def check_induction(cfg: ModelConfig) -> None:
  """Raises a ValueError unless a model has room for such a head."""
  if cfg.num_layers < 2:
    raise ValueError(
      f"induction_head=True needs a second layer, num_layers={cfg.num_layers} "
      "(config keys cold_start.induction_head, model.num_layers)"
    )
  if cfg.d_model <= cfg.head_dim:
    raise ValueError(
      f"induction_head=True needs d_model={cfg.d_model} > head_dim={cfg.head_dim} "
      "(config keys cold_start.induction_head, model.d_model, model.head_dim)"
    )


def _subspace(key: jax.Array, cfg: ModelConfig) -> jax.Array:
  """[D, H], orthonormal columns; 0 in the constant channel, which says nothing."""
  basis, _ = jnp.linalg.qr(jax.random.normal(key, (cfg.d_model - 1, cfg.head_dim)))
  return jnp.concatenate([jnp.zeros((1, cfg.head_dim)), basis])
