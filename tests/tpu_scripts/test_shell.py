"""What holds for all launchers: shellcheck, old bash, and a README that is complete."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "tpu_scripts"
SCRIPTS = sorted([*FOLDER.glob("*.sh"), FOLDER / "slurm.sbatch"])
LAUNCHERS = {"launch.sh": "TPU", "gke.sh": "GKE", "xpk.sh": "XPK", "slurm.sh": "JOB"}
# Newer than bash 3.2, which macOS has; worker.sh and slurm.sbatch run on Linux.
TOO_NEW = {
  "associative arrays": r"\b(declare|local|typeset) -\w*[An]",
  "reading arrays": r"\b(mapfile|readarray)\b",
  "change of case": r"\$\{\w+(\[[^]]*\])?(\^|,)",
  "transformations": r"\$\{\w+(\[[^]]*\])?@[A-Za-z]\}",
  "redirections": r"&>>|\|&",
  "times of printf": r"printf '?%\(",
  "is it set": r"\[\[? -v ",
  "patterns that are no variable": r"=~ [^$]",
  "empty arrays under set -u": r'(?<!\+)"\$\{(spot|more|options)\[@\]\}',
}


def test_shellcheck_has_nothing_to_say():
  # Beside the interpreter, where pip put it; the environment need not be active.
  path = f"{Path(sys.executable).parent}:{Path(sys.prefix) / 'bin'}"
  tool = shutil.which("shellcheck", path=path) or shutil.which("shellcheck")
  if tool is None:
    pytest.skip("no shellcheck; pip install -e '.[dev]' brings it")
  done = subprocess.run((tool, "-x", *SCRIPTS), capture_output=True, text=True)
  assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_bash_can_read_it(script):
  done = subprocess.run(("bash", "-n", script), capture_output=True, text=True)
  assert done.returncode == 0, done.stderr
  assert script.name == "common.sh" or script.stat().st_mode & 0o100


@pytest.mark.parametrize("script", [*LAUNCHERS, "common.sh"])
def test_bash_of_macos_can_read_it(script):
  text = (FOLDER / script).read_text()
  assert [what for what, pattern in TOO_NEW.items() if re.search(pattern, text)] == []


@pytest.mark.parametrize(("script", "prefix"), LAUNCHERS.items())
def test_the_readme_lists_every_setting_with_its_default(script, prefix):
  text = (FOLDER / script).read_text()
  if script == "slurm.sh":
    text += (FOLDER / "slurm.sbatch").read_text()
  row = rf"^\| `({prefix}_\w+)` \| .+ \| (.+) \|$"
  rows = dict(re.findall(row, (FOLDER / "README.md").read_text(), re.M))
  used = set(re.findall(rf"\b{prefix}_[A-Z_]+[A-Z]\b", text))
  assert used == set(rows)
  for name, default in re.findall(r'(\w+)="\$\{\1:-([^}$]+)\}"', text):
    assert default in rows[name], name
  for name in re.findall(r"required (\w+)", text):
    assert name in ("TPU_IMAGE",) or rows[name] == "required", name


@pytest.mark.parametrize(("script", "prefix"), LAUNCHERS.items())
def test_help_lists_every_verb_and_setting(bench, script, prefix):
  text = (FOLDER / script).read_text()
  verbs = re.search(rf'^begin {prefix} "(.+)"$', text, re.M)[1].split()
  done = bench(script, "help")
  assert done.returncode == 0 and bench(script).stdout == done.stdout
  assert re.findall(r"\[--dry-run\] (\w+)", done.stdout) == verbs
  listed = re.findall(rf"^  ({prefix}_\w+): ", done.stdout, re.M)
  assert set(listed) == set(re.findall(rf"\b{prefix}_[A-Z_]+[A-Z]\b", text))
  assert "shellcheck" not in done.stdout
  bench.fails(2, "unknown action 'x'", script, "x")


def test_the_image_is_pinned_and_holds_a_commit():
  lines = (FOLDER / "Dockerfile").read_text().splitlines()
  (base,) = [line.split()[1] for line in lines if line.startswith("FROM ")]
  assert re.fullmatch(r"python:3\.1[12]-slim-\w+", base)
  assert [x for x in lines if x.startswith(("COPY", "ADD"))] == [
    "COPY skilljax.bundle /tmp/"
  ]
  text = "\n".join(lines)
  assert "ARG EXTRAS=tpu\n" in text and '-e ".[$EXTRAS]"' in text
  assert "build-essential" in text  # for the extra alfworld
