"""What a run grew from, besides its config: files, by their fingerprints.

Must not know about: what is done with a policy or a bank.
"""

import dataclasses
import hashlib
from pathlib import Path

_SAMPLE_BYTES = 1 << 20  # of each end of a file of weights


@dataclasses.dataclass(frozen=True)
class Origin:
  """Fingerprints; '' = there was none, or it was not written down then.

  Attributes:
    tokenizer: of its content.
    policy: of the cold-start policy, which is also the KL reference (`of_policy`).
    initial_banks: of their content.
  """

  tokenizer: str
  policy: str = ""
  initial_banks: str = ""


def of_policy(folder: str | Path) -> str:
  """16 hex digits of the files in a policy folder: names, sizes and both of their ends.

  Training moves every weight, so the ends of a large file tell two policies apart. Hidden
  files and descriptions (`*.md`) do not count.
  """
  digest = hashlib.sha256()
  for path in sorted(Path(folder).iterdir()):
    if not path.is_file() or path.name.startswith(".") or path.suffix == ".md":
      continue
    size = path.stat().st_size
    digest.update(f"{path.name}\0{size}\0".encode())
    with path.open("rb") as file:
      digest.update(file.read(_SAMPLE_BYTES))
      file.seek(max(size - _SAMPLE_BYTES, 0))
      digest.update(file.read(_SAMPLE_BYTES))
  return digest.hexdigest()[:16]
