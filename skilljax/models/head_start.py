"""A head start for small models from scratch: heads that read the tokens just before.

Purpose: in-context look-up ("which value follows this key in the prompt?") needs two
heads in a row, one that copies each token's predecessor and one that matches it (Olsson
et al. 2022, arXiv:2209.11895). Training finds neither before the other exists, so loss
stays at chance for a long and random time. Here the first of the two is set by hand; one
more, for the token before that, does the same for values of several tokens.
Must not know about: data, training.
"""

import jax.numpy as jnp
import numpy as np

from skilljax.models.attention import rope_frequencies
from skilljax.models.config import ModelConfig
from skilljax.models.params import Params

BASE = 0.1  # first channel of every embedding: about a fifth of its energy
GAIN = 2.0  # query and key length; attention scores grow with its square
PAIRS = 3  # fastest rotary pairs: narrow enough for one token, few enough not to recur


def check_num(num: int, cfg: ModelConfig) -> None:
  """Raises a ValueError unless a model has room for `num` such heads, 1 at least."""
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
  frequencies = rope_frequencies(cfg)
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
