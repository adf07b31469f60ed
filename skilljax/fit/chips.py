"""The accelerators that a config may be meant for, and what one of them can do.

Must not know about: configs, models, compilers.
"""

import dataclasses
import re

GIB = 2**30


@dataclasses.dataclass(frozen=True)
class Chip:
  """One accelerator.

  Attributes:
    name: as in a topology.
    memory_bytes: what a program may use: of TPUs the compiler's own limit, of GPUs what
      the driver leaves, of which XLA takes `XLA_PYTHON_CLIENT_MEM_FRACTION`.
    bandwidth: bytes a second to that memory.
    flops: bfloat16 operations a second.
    mfu: share of them that training reaches; published figures of large runs.
    is_tpu: whether there is a compiler for it without the chip.
  """

  name: str
  memory_bytes: int
  bandwidth: float
  flops: float
  mfu: float
  is_tpu: bool = True


CHIPS = {
  chip.name: chip
  for chip in (
    Chip("v5e", int(15.75 * GIB), 0.81e12, 197e12, 0.45),
    Chip("v5p", int(95.74 * GIB), 2.8e12, 459e12, 0.5),
    Chip("v6e", int(31.25 * GIB), 1.6e12, 920e12, 0.4),
    Chip("h100", 79 * GIB, 3.35e12, 989e12, 0.4, is_tpu=False),
    Chip("h200", 139 * GIB, 4.8e12, 989e12, 0.4, is_tpu=False),
  )
}
EXAMPLES = "v5e:2x4, v5p:2x2x2, v6e:4x4, h100:8, h200:1"


@dataclasses.dataclass(frozen=True)
class Topology:
  """Chips and how they are connected: 'v5p:2x2x2', or 'h100:8', which is a number."""

  chip: Chip
  sizes: tuple[int, ...]

  @property
  def name(self) -> str:
    """As `read_topology` reads it."""
    return f"{self.chip.name}:{'x'.join(map(str, self.sizes))}"

  @property
  def num_chips(self) -> int:
    """Product of the sizes."""
    total = 1
    for size in self.sizes:
      total *= size
    return total


def read_topology(name: str) -> Topology:
  """Reads 'CHIP:SIZES'.

  Raises:
    ValueError: an unknown chip, or sizes that no such topology has.
  """
  kind, _, text = name.partition(":")
  if kind not in CHIPS or not re.fullmatch(r"[1-9]\d*(x[1-9]\d*)*", text):
    raise ValueError(
      f"topology={name!r} must be CHIP:SIZES with CHIP one of {', '.join(CHIPS)}, for "
      f"example {EXAMPLES} (flag --topology)"
    )
  chip, sizes = CHIPS[kind], tuple(map(int, text.split("x")))
  wanted = 1 if not chip.is_tpu else 3 if kind == "v5p" else 2
  if len(sizes) != wanted:
    raise ValueError(
      f"topology={name!r}: {kind} takes {wanted} size(s), for example {EXAMPLES} "
      "(flag --topology)"
    )
  return Topology(chip, sizes)
