"""A bank of skills: shown, compared, and turned into another format.

  python -m experiments.bank --bank=runs/rl/banks/estate-1.json
  python -m experiments.bank --bank=runs/rl/banks/estate-1.json --since=before.json
  python -m experiments.bank --bank=runs/rl/banks/estate-1.json --out=skills
  python -m experiments.bank --bank=skills --out=bank.json

Formats: our own file, the JSON bank of SkillRL and SkillMaster, and a folder of Agent
Skills (SKILL.md), as other agents read them. Texts are cleaned on the way in, and what
was cleaned is said. A run starts with such a bank by --config.train.initial_banks.
"""

import collections
import pathlib

from absl import flags

from experiments import command_line
from skilljax.skills import formats
from skilljax.skills.bank import SkillBank, diff
from skilljax.skills.skill_document import printable
from skilljax.types import Skill

BANK = flags.DEFINE_string("bank", None, "file or folder of the bank")
SINCE = flags.DEFINE_string("since", None, "another bank: show what changed since")
OUT = flags.DEFINE_string("out", None, "file or folder to write; nothing may be there")
FORMAT = flags.DEFINE_enum(
  "format", None, formats.FORMATS, "of --out; none: native for *.json, else folders"
)


def main(_):
  """Reads the flags and runs."""
  run(BANK.value, since=SINCE.value, out=OUT.value, format=FORMAT.value)


def run(bank: str, *, since: str | None, out: str | None, format: str | None) -> None:
  """Prints a bank, or what changed in it, or writes it; arguments as the flags say."""
  opened = formats.open_bank(bank)
  lines = []
  if since:
    lines += diff(formats.open_bank(since).bank, opened.bank).render().split("\n")
  elif not out:
    lines += described(opened.bank)
  lines += [f"cleaned {f.field}: {f.kind}, {f.detail}" for f in opened.findings]
  lines += [f"note: {note}" for note in opened.notes]
  # Names of files and reasons may be anybody's: no control character reaches a terminal.
  for line in lines:
    print(printable(line))
  if out:
    native = pathlib.Path(out).suffix == ".json"
    format = format or ("native" if native else "folders")
    extras = opened.extras if format == opened.format else None
    formats.write_bank(out, opened.bank, format=format, extras=extras)
    print(f"{len(opened.bank.skills)} skills as {format}: {out}")


def described(bank: SkillBank) -> list[str]:
  """Lines: the skills by category, each with where it comes from."""
  counts = collections.Counter(skill.category for skill in bank.skills)
  lines = [f"bank {bank.version}: {len(bank.skills)} skills"]
  for category, count in sorted(counts.items()):
    lines += ["", f"{category} ({count})"]
    for skill in bank.by_category(category):
      lines += _of_skill(skill)
  return lines


def _of_skill(skill: Skill) -> list[str]:
  origin = skill.provenance
  source = [origin.origin]
  if origin.policy_version >= 0:
    source.append(f"update {origin.policy_version}")
  if origin.task:
    source.append(f"task {origin.task}")
  lines = [
    f"  {skill.skill_id}  {skill.title}: {skill.principle}",
    f"      when: {skill.when_to_apply}",
    f"      from: {', '.join(source)}",
  ]
  return lines + ([f"      why:  {origin.reason}"] if origin.reason else [])


if __name__ == "__main__":
  flags.mark_flags_as_required(["bank"])
  command_line.run(main)
