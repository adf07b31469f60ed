"""Writes golden/*.npz: weights, logits and gradient summaries of torch models.

With them parity is tested where torch is absent. Needs torch and transformers; run from
the repository root after a change of `hf_reference.py` and review the difference:

  python -m tests.models.make_golden
"""

import pathlib

import numpy as np

from tests.models import hf_reference

FOLDER = pathlib.Path(__file__).parent / "golden"


def main() -> None:
  """Writes one file for each reference model."""
  FOLDER.mkdir(exist_ok=True)
  tokens = hf_reference.example_tokens()
  for name in hf_reference.MODELS:
    model = hf_reference.build(name)
    logits, grads = hf_reference.evaluate(model, tokens)
    config = model.config.to_dict()
    config["architectures"] = [type(model).__name__]
    np.savez_compressed(
      FOLDER / f"{name}.npz",
      config=np.array(hf_reference.config_json(config)),
      tokens=tokens,
      logits=logits,
      **{f"w/{n}": p.detach().numpy() for n, p in model.named_parameters()},
      **{f"g/{n}": hf_reference.summary(g) for n, g in grads.items()},
    )


if __name__ == "__main__":
  main()
