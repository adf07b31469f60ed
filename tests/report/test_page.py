"""The whole page: numbers, escaping, self-containment, missing parts."""

import html.parser
import json
import re

import pytest

from skilljax.report import page


class Reader(html.parser.HTMLParser):
  """Collects tags with attributes, visible text, and the content of scripts."""

  def __init__(self):
    super().__init__()
    self.tags, self.text, self.scripts = [], [], {}
    self._script = None

  def handle_starttag(self, tag, attrs):
    attrs = dict(attrs)
    self.tags.append((tag, attrs))
    if tag == "script":
      self._script = attrs.get("id", f"code {len(self.scripts)}")
      self.scripts[self._script] = ""

  def handle_endtag(self, tag):
    if tag == "script":
      self._script = None

  def handle_data(self, data):
    if self._script is None:
      self.text.append(data)
    else:
      self.scripts[self._script] += data


def read(text: str) -> Reader:
  reader = Reader()
  reader.feed(text)
  return reader


def words(text: str) -> str:
  return re.sub(r"\s+", " ", " ".join(read(text).text))


@pytest.fixture(scope="module")
def full(tmp_path_factory, synthetic):
  folder = tmp_path_factory.mktemp("full")
  run = synthetic["run"](folder / "rl")
  cold = synthetic["evaluation"](folder / "cold", evolving=0.5)
  late = synthetic["evaluation"](folder / "late", evolving=0.75)
  return page.build(
    run=run, evaluations={"cold start": cold, "trained": late}, title="A title & more"
  )


@pytest.fixture(scope="module")
def hostile(tmp_path_factory, synthetic):
  folder = tmp_path_factory.mktemp("hostile")
  text = synthetic["hostile"]
  run = synthetic["run"](folder / "rl", text=text)
  evaluation = synthetic["evaluation"](folder / "ev", text=text)
  out = folder / "page.html"
  page.write(out, run=run, evaluations={text: evaluation}, title=text)
  return out.read_bytes().decode("utf-8")


def test_headline_numbers_and_verdict(full):
  text = words(full)
  assert "A title & more" in text
  assert "trained on household for 2 updates of 8 tasks × 4 episodes" in text
  assert "(140 episodes in all, probes included)" in text
  assert "“trained” succeeds in 75.0 % of episodes" in text
  assert "60.0 to 90.0 %" in text
  # 0.75 - 0.125 in points, and its interval
  assert "+62.5 pt (+40.0 to +80.0)" in text
  # Both evaluations hold the same records, so the stages do not differ.
  assert re.search(r"trained − cold start 0\.0 pt 0\.0 to 0\.0", text)


def test_positions_families_and_curves(full):
  text = words(full)
  # evolving: positions 1, 2, 3 -> 0, 1, 1; in thirds 0 %, 100 %, 100 %
  assert re.search(r"evolving bank 0\.0 % .{0,20}100\.0 % .{0,30}100\.0 %", text)
  assert "4 of 6" in text  # the only family, evolving arm
  assert "Utility of edits against luck" in text
  assert "Not recorded in this run: Bank size and commits" in text


def test_lineage_of_a_skill(full):
  text = words(full)
  assert "estate-1 , update 1–2: 1 proposed, 1 updated, 1 retired" in text
  assert "Replaying the edits from empty banks reproduces every recorded" in text
  assert "propose update 1, U +0.25, from household/train/estate-1/1#0" in text
  assert "estate-8 , position 1–2: 2 proposed" in text
  assert "not reproduced" not in text


def test_embedded_data(full):
  scripts = read(full).scripts
  edits = json.loads(scripts["edits-data"])
  assert [row[0] for row in edits["rows"]] == [1, 1, 2]
  assert [row[6] for row in edits["rows"]] == [0.43, -0.125, None]
  assert [row[7] for row in edits["rows"]] == [True, False, False]  # committed
  episodes = json.loads(scripts["episodes-data"])
  assert episodes["rows"][0]["pieces"][1]["advantage"] == 0.731


def test_hostile_text_stays_text(hostile, synthetic):
  reader = read(hostile)
  assert not any(tag == "img" for tag, _ in reader.tags)
  assert not any(name.startswith("on") for _, attrs in reader.tags for name in attrs)
  # Ours: two data scripts and one of code. A seventh would be the attacker's.
  assert len(reader.scripts) == 3
  assert not any(code.strip() == "alert(1)" for code in reader.scripts.values())
  assert "<script>alert(1)</script>" in "".join(reader.text)  # shown as it is
  assert "{{ 7*7 }}" in "".join(reader.text)
  edits = json.loads(reader.scripts["edits-data"])
  assert synthetic["hostile"].replace("\ud800", "?") in edits["texts"]


def test_page_is_self_contained(full, hostile):
  for text in (full, hostile):
    reader = read(text)
    assert "http://" not in text and "https://" not in text
    for tag, attrs in reader.tags:
      assert tag not in ("link", "iframe", "object", "embed", "base", "form")
      assert not {"src", "srcset", "action", "data", "style"} & attrs.keys()
      assert attrs.get("href", "#").startswith("#")
    assert "url(" not in text and "@import" not in text
    policy = next(a["content"] for t, a in reader.tags if "http-equiv" in a)
    assert policy.startswith("default-src 'none'")
    assert len(text) < 3_000_000


def test_scripts_never_parse_html(full):
  code = "".join(v for k, v in read(full).scripts.items() if k.startswith("code"))
  assert "createElement" in code
  for name in ("innerHTML", "outerHTML", "insertAdjacentHTML", "eval(", "document.write"):
    assert name not in code


def test_links_inside_the_page_lead_somewhere(full):
  tags = read(full).tags
  ids = [attrs["id"] for _, attrs in tags if "id" in attrs]
  assert len(set(ids)) == len(ids)
  links = [attrs["href"][1:] for tag, attrs in tags if tag == "a"]
  assert len(links) == 7 and set(links) <= set(ids)


def test_empty_folders_are_said_to_be_empty(tmp_path):
  for name in ("rl", "ev"):
    (tmp_path / name).mkdir()
  text = words(
    page.build(
      run=tmp_path / "rl", evaluations={"trained": tmp_path / "ev"}, title="nothing"
    )
  )
  for part in (
    "there is no result on held-out tasks",
    "No evaluation records",
    "No metrics were recorded",
    "No edit was committed",
    "No edits were recorded",
    "No episodes were recorded",
    "The config was not recorded",
    "metrics.jsonl is absent",
    "trained: summary.json is absent",
  ):
    assert part in text, part


def test_run_without_reviews_and_without_evaluations(tmp_path, synthetic):
  run = synthetic["run"](tmp_path / "rl")
  config = json.loads((run / "config.json").read_text())
  config["train"]["review"] = False
  (run / "config.json").write_text(json.dumps(config))
  for name in ("edits", "commits"):
    (run / f"{name}.jsonl").write_text("")
  text = words(page.build(run=run, evaluations={}, title="GRPO"))
  assert "to act only, without skill reviews" in text
  assert "a run without skill reviews has no bank" in text


def test_missing_folder_is_an_error(tmp_path):
  with pytest.raises(FileNotFoundError, match="nowhere"):
    page.build(run=tmp_path / "nowhere", evaluations={}, title="x")
