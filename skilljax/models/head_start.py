"""A head start for small models from scratch: one head that reads the previous token.

Purpose: in-context look-up ("which value follows this key in the prompt?") needs two
heads in a row, one that copies each token's predecessor and one that matches it (Olsson
et al. 2022, arXiv:2209.11895). Training finds neither before the other exists, so loss
stays at chance for a long and random time. Here the first of the two is set by hand.
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


def previous_token_head(params: Params, cfg: ModelConfig) -> Params:
  """Makes head 0 of layer 0 attend to the token before; everything else stays random.

  The first channel of all embeddings becomes one constant, which changes no output
  probability with tied embeddings, since it adds the same to every logit. Queries and
  keys of the head read that channel into the fastest rotary pairs, keys turned by one
  position, so that the score peaks at a distance of one. Training may undo all of it.

  Args:
    params: from `init_params`; not changed.
    cfg: their model.
  Returns:
    Parameters of the same tree; on random tokens the head gives its predecessor about
    three quarters of the attention (tests/models/test_head_start.py).
  """
  frequencies = rope_frequencies(cfg)
  pairs = np.arange(cfg.head_dim // 2) < PAIRS
  query = np.concatenate([pairs, np.zeros_like(pairs)]).astype(np.float32)
  key = np.concatenate([pairs * np.cos(frequencies), pairs * np.sin(frequencies)])
  key = key.astype(np.float32)

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
  layers["wq"] = layers["wq"].at[0, 0, 0].set(length * query)
  layers["wk"] = layers["wk"].at[0, 0, 0].set(length * key)
  return {**params, "embed": embed, "layers": layers}
