"""What the compiler says of a program: memory of a chip, collectives, work.

Must not know about: configs, models, what a program is for.
"""

import collections
import dataclasses
import re
import time

import jax

COLLECTIVES = (
  *("all-gather", "all-reduce", "reduce-scatter", "all-to-all", "collective-permute"),
)
_COLLECTIVE = re.compile(rf"= .*?\b({'|'.join(COLLECTIVES)})(?:-start)?\(")
_CHANNEL = re.compile(r"channel_id=(\d+)")
_OVER = re.compile(r"Used ([\d.]+)([KMGT]) of ([\d.]+)([KMGT]) hbm")
_UNITS = {"K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


@dataclasses.dataclass(frozen=True)
class Compiled:
  """One program on one chip.

  Attributes:
    argument_bytes, output_bytes, temp_bytes, alias_bytes: aliased are outputs that take
      the place of an argument.
    over_bytes: what the program would need altogether, where the compiler refuses it for
      that; the others are 0 then. 0 = it fits by itself.
    collectives: kind -> how often it stands in the program; a loop's body counts once.
    flops, bytes_accessed, optimal_s: of the compiler's cost model, a loop's body once;
      -1 where it gives none.
    compile_s: wall-clock.
  """

  argument_bytes: int = 0
  output_bytes: int = 0
  temp_bytes: int = 0
  alias_bytes: int = 0
  over_bytes: int = 0
  collectives: dict[str, int] = dataclasses.field(default_factory=dict)
  flops: float = -1.0
  bytes_accessed: float = -1.0
  optimal_s: float = -1.0
  compile_s: float = 0.0

  @property
  def added_bytes(self) -> int:
    """What running it needs beside its arguments."""
    return self.output_bytes + self.temp_bytes - self.alias_bytes


def compile_program(lowered: jax.stages.Lowered) -> Compiled:
  """Compiles; a program that does not fit a chip is a result, not an error."""
  begin = time.perf_counter()
  try:
    program = lowered.compile()
  except jax.errors.JaxRuntimeError as error:
    over = over_bytes(str(error))
    if not over:
      raise
    return Compiled(over_bytes=over, compile_s=time.perf_counter() - begin)
  seconds = time.perf_counter() - begin
  memory, cost = program.memory_analysis(), program.cost_analysis() or {}
  return Compiled(
    argument_bytes=memory.argument_size_in_bytes,
    output_bytes=memory.output_size_in_bytes,
    temp_bytes=memory.temp_size_in_bytes,
    alias_bytes=memory.alias_size_in_bytes,
    collectives=count_collectives(program.as_text()),
    flops=cost.get("flops", -1.0),
    bytes_accessed=cost.get("bytes accessed", -1.0),
    optimal_s=cost.get("optimal_seconds", -1.0),
    compile_s=seconds,
  )


def count_collectives(text: str) -> dict[str, int]:
  """Kind -> number of exchanges in the text of a compiled program.

  One that overlaps with products stands in the text once for each of its steps, all with
  one channel.
  """
  lines = [(_COLLECTIVE.search(line), line) for line in text.splitlines()]
  exchanges = {
    (match[1], channel[1] if (channel := _CHANNEL.search(line)) else line)
    for match, line in lines
    if match
  }
  found = collections.Counter(kind for kind, _ in exchanges)
  return {kind: found[kind] for kind in COLLECTIVES if found[kind]}


def over_bytes(message: str) -> int:
  """The memory that a refused program would use; 0 if the message is another one's."""
  match = _OVER.search(message)
  return int(float(match[1]) * _UNITS[match[2]]) if match else 0
