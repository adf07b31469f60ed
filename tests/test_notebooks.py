"""Every notebook runs from the first cell to the last, and is stored without outputs."""

import pathlib

import nbclient
import nbformat
import pytest

FOLDER = pathlib.Path(__file__).parents[1] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))


def run(name, monkeypatch, tmp_path):
  """Executes a copy in memory; returns all text that its cells put out."""
  monkeypatch.setenv("JAX_PLATFORMS", "cpu")
  monkeypatch.setenv("TMPDIR", str(tmp_path))  # where a notebook puts its runs
  monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
  notebook = nbformat.read(FOLDER / name, as_version=4)
  client = nbclient.NotebookClient(
    notebook,
    timeout=540,  # seconds a cell; a loaded machine compiles slowly
    kernel_name="python3",
    resources={"metadata": {"path": str(FOLDER)}},
  )
  client.execute()
  texts = []
  for cell in notebook.cells:
    for output in cell.get("outputs", ()):
      texts.append(output.get("text", ""))
      texts += [str(value) for value in output.get("data", {}).values()]
  return "\n".join(texts)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_stored_clean(path):
  notebook = nbformat.read(path, as_version=4)
  nbformat.validate(notebook)
  code = [cell for cell in notebook.cells if cell.cell_type == "code"]
  assert code and not any(cell.outputs or cell.execution_count for cell in code)
  # Ids are drawn at random unless they are given; a diff should show changes only.
  ids = [cell.id for cell in notebook.cells]
  assert ids == [f"cell-{number:02}" for number in range(len(ids))]


def test_skills_by_hand(monkeypatch, tmp_path):
  shown = run("skills_by_hand.ipynb", monkeypatch, tmp_path)
  assert "added" in shown and "not_found" in shown and "unclean" in shown
  assert "<td>right rule</td><td>+" in shown
  assert "<td>wrong rule</td><td>-" in shown
  assert "<td>null edit</td><td>+0.000</td>" in shown


@pytest.mark.timeout(600)
def test_ablations_without_folders_makes_a_run(monkeypatch, tmp_path):
  shown = run("ablations.ipynb", monkeypatch, tmp_path)
  assert "no run folders given" in shown
  assert "<b>rollout/success</b>" in shown and "svg" in shown
  for arm in ("no_bank", "frozen", "evolving"):
    assert f"<td>debug</td><td>{arm}</td>" in shown
  assert (next(tmp_path.glob("skilljax_*")) / "rl" / "metrics.jsonl").exists()
