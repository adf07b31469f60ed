"""Import and export of Agent Skills folders: one folder with a SKILL.md per skill.

Purpose: a bank becomes folders that any agent reads, and comes back exactly; folders of
others become a bank. Files beside SKILL.md are listed, never opened and never run.
Must not know about: prompts, runs, retrieval. Texts are taken as they are: run
`guard.clean_bank` before they reach a prompt.

Layout of `root` (the documents: skill_document.py):
  skilljax-bank.json        next_index and parent (absent in folders of others)
  close-the-door-s3/SKILL.md
"""

import dataclasses
import os
import pathlib
import shutil
import tempfile
from collections.abc import Mapping
from typing import Any

from skilljax.skills import files, front_matter, skill_document
from skilljax.skills.bank import SkillBank, from_skills
from skilljax.skills.files import BankFileError
from skilljax.types import Skill

FILE_NAME = "SKILL.md"
MANIFEST_NAME = "skilljax-bank.json"
MANIFEST_FORMAT = "skilljax-skill-folders"
FORMAT_VERSION = 1
MAX_SKILL_BYTES = 2**20
MAX_LISTED_FILES = 1000

_ADVICE = "Correct the file, or import with strict=False to take it as it is."


@dataclasses.dataclass(frozen=True)
class FolderExtras:
  """What a folder holds beyond a skill.

  Attributes:
    name: folder name; '' lets export choose one.
    front: front matter fields other than name, description and metadata, such as
      license, compatibility, allowed-tools, or unknown ones.
    metadata: metadata that is not ours.
    files: paths of other files inside the folder, relative, sorted. They are not copied.
  """

  name: str = ""
  front: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  metadata: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  files: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class SkillFolders:
  """An imported root.

  Attributes:
    bank: the skills.
    extras: by skill id.
    violations: what breaks the specification; empty when `strict`.
  """

  bank: SkillBank
  extras: Mapping[str, FolderExtras]
  violations: tuple[str, ...] = ()


def export_folders(
  bank: SkillBank,
  root: str | os.PathLike,
  *,
  extras: Mapping[str, FolderExtras] | None = None,
) -> tuple[str, ...]:
  """Writes a bank as folders, all or nothing, and returns the folder names.

  Args:
    bank: any bank; folder names are made of safe characters only, whatever its texts.
    root: a path that does not exist yet, or an empty folder.
    extras: from an import, by skill id; written back without `files`.
  Raises:
    BankFileError: root is not empty, a skill is too large for the format (about 64,000
      characters in a title or a condition, 1 MiB in all), or the file system refused.
  """
  root = pathlib.Path(root)
  if os.path.lexists(root) and (not root.is_dir() or any(root.iterdir())):
    raise BankFileError(root, "exists and is not an empty folder", "Choose another path.")
  manifest = {
    "format": MANIFEST_FORMAT,
    "format_version": FORMAT_VERSION,
    "next_index": bank.next_index,
    "parent": bank.parent,
  }
  try:
    documents = _documents(bank, extras or {})
  except ValueError as err:
    raise BankFileError(
      root, str(err), "Shorten its texts, for example with guard.clean_bank."
    ) from err
  temporary = None
  try:
    root.parent.mkdir(parents=True, exist_ok=True)
    temporary = tempfile.mkdtemp(dir=root.parent, prefix=f".{root.name}.", suffix=".tmp")
    os.chmod(temporary, 0o755)  # mkdtemp makes folders that only the owner can enter
    staging = pathlib.Path(temporary)
    _write(staging / MANIFEST_NAME, files.pretty_json(manifest))
    for name, text in documents.items():
      (staging / name).mkdir()
      _write(staging / name / FILE_NAME, text)
    os.replace(staging, root)
    temporary = None
  except OSError as err:
    raise BankFileError(
      root, f"cannot be written: {err}", "Check space and permissions, then try again."
    ) from err
  finally:
    if temporary is not None:
      shutil.rmtree(temporary, ignore_errors=True)
  return tuple(documents)


def import_folders(root: str | os.PathLike, *, strict: bool = True) -> SkillFolders:
  """Reads every folder of `root` that holds a SKILL.md, in order of their names.

  Folders of others get new ids, category 'general' and their name as title.

  Args:
    root: hidden folders and folders without SKILL.md are passed over.
    strict: True refuses documents that break the specification; False reports them.
  Raises:
    BankFileError: unreadable or dangerous YAML, a symbolic link, a repeated id, or, with
      `strict`, a violation.
  """
  root = pathlib.Path(root)
  next_index, parent = _read_manifest(root)
  found, violations = [], []
  for folder in _skill_folders(root):
    path = folder / FILE_NAME
    try:
      front, body = front_matter.parse(files.read_text(path, max_bytes=MAX_SKILL_BYTES))
      skill = skill_document.from_fields(front, body, folder=folder.name)
    except ValueError as err:
      raise BankFileError(path, str(err), "Correct the file.") from err
    problems = front_matter.violations(front, folder.name)
    violations += [f"{folder.name}: {problem}" for problem in problems]
    if strict and problems:
      raise BankFileError(path, "; ".join(problems), _ADVICE)
    found.append((skill, _extras(front, folder)))
  try:
    bank = from_skills((s for s, _ in found), next_index=next_index, parent=parent)
  except ValueError as err:
    raise BankFileError(root, str(err), "Give each folder its own skilljax-id.") from err
  return SkillFolders(bank, _by_id(bank, found), tuple(violations))


def _list_files(folder: pathlib.Path) -> tuple[str, ...]:
  """Other files by relative path; links are listed and not followed."""
  listed = []
  for place, folders, names in os.walk(folder, followlinks=False):
    folders.sort()
    for name in sorted(names):
      relative = pathlib.Path(place, name).relative_to(folder).as_posix()
      if relative != FILE_NAME:
        listed.append(relative)
    if len(listed) > MAX_LISTED_FILES:
      raise BankFileError(
        folder, f"holds more than {MAX_LISTED_FILES} files", "Import it without them."
      )
  return tuple(sorted(listed))


def _skill_folders(root: pathlib.Path) -> list[pathlib.Path]:
  try:
    entries = sorted(root.iterdir(), key=lambda entry: entry.name)
  except OSError as err:
    raise BankFileError(
      root, f"cannot be read: {err.strerror}", "Check the path and the permissions."
    ) from err
  folders = []
  for entry in entries:
    if entry.name.startswith(".") or not entry.is_dir():
      continue
    # A link could lead the import to files outside the folder.
    for path in (entry, entry / FILE_NAME):
      if path.is_symlink():
        raise BankFileError(path, "is a symbolic link", "Replace it by what it means.")
    if (entry / FILE_NAME).is_file():
      folders.append(entry)
  return folders


def _read_manifest(root: pathlib.Path) -> tuple[int, str]:
  path = root / MANIFEST_NAME
  if not path.exists():
    return 1, ""
  record = files.parse_json(path, files.read_text(path))
  if not isinstance(record, dict) or record.get("format") != MANIFEST_FORMAT:
    raise BankFileError(path, f"format must be {MANIFEST_FORMAT!r}", "Restore the file.")
  if record.get("format_version") != FORMAT_VERSION:
    raise BankFileError(
      path,
      f"format_version={record.get('format_version')!r} must be {FORMAT_VERSION}",
      "Export the bank again with this code.",
    )
  next_index, parent = record.get("next_index"), record.get("parent")
  if type(next_index) is not int or next_index < 1 or not isinstance(parent, str):
    raise BankFileError(path, "next_index or parent is damaged", "Restore the file.")
  return next_index, parent


def _by_id(
  bank: SkillBank, found: list[tuple[Skill, FolderExtras]]
) -> dict[str, FolderExtras]:
  given = {skill.skill_id for skill, _ in found}
  # New ids were given in the order of `found`, and a bank is in id order.
  fresh = (s.skill_id for s in bank.skills if s.skill_id not in given)
  return {skill.skill_id or next(fresh): extras for skill, extras in found}


def _documents(bank: SkillBank, extras: Mapping[str, FolderExtras]) -> dict[str, str]:
  """Folder name to document text."""
  default = {s.skill_id: skill_document.folder_name(s) for s in bank.skills}
  reserved = set(default.values())
  documents: dict[str, str] = {}
  for skill in bank.skills:
    extra = extras.get(skill.skill_id, FolderExtras())
    name = extra.name
    if not front_matter.is_name(name) or name in documents or name in reserved:
      name = default[skill.skill_id]
    description, body, metadata = skill_document.to_fields(skill)
    front = {
      "name": name,
      "description": description,
      **extra.front,
      "metadata": {**metadata, **extra.metadata},
    }
    documents[name] = _readable(front_matter.render(front, body), skill)
  return documents


def _readable(text: str, skill: Skill) -> str:
  """The text itself; raises ValueError when an import would refuse it."""
  size = len(text.encode("utf-8"))
  if size > MAX_SKILL_BYTES:
    raise ValueError(
      f"skill {skill.skill_id} takes {size} bytes, at most {MAX_SKILL_BYTES}"
    )
  try:
    front_matter.parse(text)
  except ValueError as err:
    raise ValueError(f"skill {skill.skill_id} does not fit the format: {err}") from err
  return text


def _extras(front: Mapping[str, Any], folder: pathlib.Path) -> FolderExtras:
  named = ("name", "description", "metadata")
  kept = {key: value for key, value in front.items() if key not in named}
  metadata = skill_document.foreign_metadata(front)
  return FolderExtras(folder.name, kept, metadata, _list_files(folder))


def _write(path: pathlib.Path, text: str) -> None:
  with open(path, "w", encoding="utf-8", newline="") as file:
    file.write(text)
