"""A bench for the launchers: a committed copy of them, and fakes of the tools they call.

TEST_BASH=/path/to/bash-3.2 runs the launchers with another bash.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

TOOLS = (
  *("gcloud", "kubectl", "xpk", "docker"),
  *("sbatch", "squeue", "scancel", "scontrol", "srun", "sleep"),
)
# All else that the launchers may need: what every POSIX machine has, and git.
COMMANDS = (
  *("basename", "bash", "cat", "cp", "cut", "date", "dirname", "env", "git", "grep"),
  *("head", "id", "mkdir", "mktemp", "mv", "rm", "sed", "sort", "tail", "tee", "tr"),
)


def answer(out="", *, err="", code=0, workers=0, spoils=""):
  """What a fake prints and ends with.

  workers: so many run the --command in earnest; spoils: a file that it writes to.
  """
  out = f"{out}\n" if out else ""
  return {"out": out, "err": err, "code": code, "workers": workers, "spoils": str(spoils)}


def fails(err, code=1):
  return answer(err=f"{err}\n", code=code)


def make_stock(folder, scripts):
  """What all benches share: `a repo` (a space, for the quoting), `fake` and `system`."""
  repo = folder / "a repo"
  shutil.copytree(scripts, repo / "tpu_scripts")
  git = ("git", "-C", repo, "-c", "user.name=t", "-c", "user.email=t@example.org")
  subprocess.run((*git, "init", "-q", "--template="), check=True)
  subprocess.run((*git, "add", "."), check=True)
  subprocess.run((*git, "commit", "-q", "-m", "all"), check=True)
  body = Path(__file__).with_name("fake_tool.py").read_text()
  (folder / "fake").write_text(f"#!{sys.executable} -SE\n{body}")
  (folder / "fake").chmod(0o755)
  (folder / "system").mkdir()
  for command in COMMANDS:
    (folder / "system" / command).symlink_to(shutil.which(command))


class Bench:
  def __init__(self, folder, stock):
    self.folder = folder
    self.repo = folder / "a repo"
    self.scripts = self.repo / "tpu_scripts"
    shutil.copytree(stock / "a repo", self.repo)
    self.fakes = folder / "bin"
    self.replayed = folder / "replayed"  # git only here, where it must not really run
    for place, tools in ((self.fakes, TOOLS), (self.replayed, (*TOOLS, "git"))):
      place.mkdir()
      for tool in tools:
        (place / tool).symlink_to(stock / "fake")
    self.system = stock / "system"
    self.env = {
      "PATH": f"{self.fakes}:{self.system}",
      "REAL_PATH": os.environ["PATH"],
      "BENCH": str(folder),
      "HOME": str(folder),
      "TMPDIR": str(folder),
    }
    self.calls_file = folder / "calls.jsonl"
    self._answers = []
    self.on("^$")

  def on(self, pattern, *answers):
    """The n-th call that has the pattern gets the n-th answer; new rules first."""
    made = [answer(one) if isinstance(one, str) else one for one in answers]
    self._answers.insert(0, [pattern, made])
    (self.folder / "answers.json").write_text(json.dumps(self._answers))

  def remove(self, tool):
    (self.fakes / tool).unlink()

  def __call__(self, script, *command, **env):
    bash = shutil.which(os.environ.get("TEST_BASH", "bash"))
    return subprocess.run(
      (bash, self.scripts / script, *command),
      env=self.env | env,
      cwd=self.folder,
      stdin=subprocess.DEVNULL,
      capture_output=True,
      text=True,
      timeout=120,
    )

  def records(self, tool=None):
    """The calls so far, words and input; pauses only where asked for."""
    if not self.calls_file.exists():
      return []
    rows = [json.loads(line) for line in self.calls_file.read_text().splitlines()]
    if tool:
      return [row for row in rows if row["words"][0] == tool]
    return [row for row in rows if row["words"][0] != "sleep"]

  def calls(self, tool=None):
    """The words of the calls so far, without the tool's name."""
    return [row["words"][1:] for row in self.records(tool)]

  def pauses(self):
    return [int(words[0]) for words in self.calls("sleep")]

  def fails(self, code, message, script, *command, **env):
    """The launcher ends with `code`, and its last line has the message."""
    done = self(script, *command, **env)
    assert done.returncode == code, done.stderr
    last = (done.stderr.strip().splitlines() or [""])[-1]
    assert last.startswith(f"{script}: ") and message in last, done.stderr
    return done

  def dry(self, script, *command, **env):
    """The calls that a shell makes of what a dry run prints, which itself makes none."""
    assert not self.calls_file.exists()
    done = self(script, "--dry-run", *command, **env)
    assert done.returncode == 0, done.stderr
    assert not self.calls_file.exists(), self.records()
    shell = self.env | {"PATH": f"{self.replayed}:{self.system}"}
    subprocess.run(("bash", "-e"), input=done.stdout, env=shell, text=True, check=True)
    rows = self.records()
    self.calls_file.unlink(missing_ok=True)
    return rows
