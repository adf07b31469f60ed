"""What is published: configs, the topologies that they are meant for, their models.

Must not know about: how a case is checked.
"""

import dataclasses
import importlib.resources
import json
from pathlib import Path

from skilljax.fit.chips import Topology, read_topology
from skilljax.models import hf_config
from skilljax.models.config import ModelConfig
from skilljax.models.hf_io import read_config


@dataclasses.dataclass(frozen=True)
class Case:
  """A config with its variant, on a topology, with a published model."""

  config: str
  topology: str
  model: str

  @property
  def place(self) -> Topology:
    """The topology, read."""
    return read_topology(self.topology)


_32B, _7B = "Qwen2.5-32B", "Qwen2.5-7B"
_1B5, _0B5 = "Qwen2.5-1.5B", "Qwen2.5-0.5B"
_ALFWORLD_32B = "configs/alfworld_qwen25_32b.py"
_ALFWORLD_7B = "configs/alfworld_qwen25_7b.py"
_WEBSHOP_7B = "configs/webshop_qwen25_7b.py"
_ALFWORLD_1B5 = "configs/alfworld_qwen25_1b5.py"
_ALFWORLD_0B5 = "configs/alfworld_qwen25_0b5_single_gpu.py"

CASES = (
  Case(f"{_ALFWORLD_7B}:on=v5p_8", "v5p:2x2x2", _7B),
  Case(f"{_ALFWORLD_7B}:on=v6e_16", "v6e:4x4", _7B),
  Case(f"{_ALFWORLD_7B}:on=v5e_16", "v5e:4x4", _7B),
  Case(f"{_ALFWORLD_7B}:on=gpu_8", "h100:8", _7B),
  Case(f"{_ALFWORLD_7B}:on=gpu_8", "h200:8", _7B),
  Case(f"{_WEBSHOP_7B}:on=v5p_8", "v5p:2x2x2", _7B),
  Case(f"{_WEBSHOP_7B}:on=v6e_16", "v6e:4x4", _7B),
  Case(f"{_WEBSHOP_7B}:on=gpu_8", "h200:8", _7B),
  Case(f"{_ALFWORLD_1B5}:on=v6e_4", "v6e:2x2", _1B5),
  Case(f"{_ALFWORLD_1B5}:on=v5e_8", "v5e:2x4", _1B5),
  Case(f"{_ALFWORLD_1B5}:on=gpu_1", "h100:1", _1B5),
  Case(f"{_ALFWORLD_0B5}:on=gpu_1", "h100:1", _0B5),
  Case(f"{_ALFWORLD_0B5}:on=v6e_1", "v6e:2x2", _0B5),
  Case(f"{_ALFWORLD_32B}:on=v5p_32", "v5p:2x4x4", _32B),
)


def published() -> dict[str, dict]:
  """Name of a checkpoint -> the keys of its `config.json` that give its shape."""
  files = importlib.resources.files("skilljax.fit")
  return json.loads((files / "published.json").read_text())


def read_model(name: str) -> ModelConfig:
  """The model of a published checkpoint, or of a folder with a `config.json`.

  Raises:
    ValueError: neither.
  """
  known = published()
  if name in known:
    return hf_config.read(known[name])
  if (Path(name) / "config.json").is_file():
    return read_config(name)
  raise ValueError(
    f"model={name!r} must be one of {', '.join(known)}, or a folder with a config.json "
    "(flag --model)"
  )


def model_of(config: str) -> str:
  """The published model of a config file; '' for a config that is not published.

  Args:
    config: path, with or without a variant.
  """
  file = Path(config.partition(":")[0]).name
  return next((case.model for case in CASES if f"/{file}:" in case.config), "")
