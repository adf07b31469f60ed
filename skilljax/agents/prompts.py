"""What the policy is told: act prompts, skill sections, review prompts.

Two styles: COMPACT for models trained from scratch, which learn the format from
demonstrations and pay for every token, and FULL for pretrained models, which need it
explained. Prompts are plain text; `chat` turns them into ids as untrusted text.
Must not know about: token ids, templates, banks, engines.
"""

import dataclasses
import json
from collections.abc import Sequence

from skilljax.agents import parse
from skilljax.types import Edit, Observation, Skill, Task

_SYSTEM = """\
You solve tasks in a text environment, one command at a time.
Some tasks come with a <skills> section: advice from earlier episodes. Follow what fits
the present task, ignore what does not, and trust what you observe over what it says.

Answer every observation in exactly this form, with nothing before, between or after:
<think>one to three short sentences</think><action>one command</action>
If commands are listed, the action must be one of them, word for word."""

# Hand-written help of the SkillMaster prompt. Off by default: runs with it cannot be
# compared with published numbers of methods that do not have it.
_STATE_RULES = """

Keep track of the state:
- The latest observation is the truth; older ones may be outdated.
- Seeing an object is not holding it. You hold it only after a take that was confirmed.
- A change (opened, heated, cooled, cleaned, moved) counts only once it was confirmed.
- If nothing happened, do not repeat the command: look for what is missing.
- Count what is done and what remains; the task is not over before the goal holds."""

_REVIEW_RULES = """\
Decide what should happen to the skills, by one tool call:
- Compare what happened with the skills you were shown. A lesson that no skill holds asks
  for propose_skill; a shown skill that is wrong, vague or incomplete for update_skill;
  otherwise keep_skill.
- Success alone is no reason to keep, failure alone is no reason to edit.
- Strong evidence for an edit: loops, repeated commands without effect, a visible target
  that was missed, sub-goals in the wrong order, a lost count, a rule of this place that
  had to be discovered.
- Write what helps in other tasks of this kind. No details of this instance only, no
  retelling of the episode, no restating of a skill that exists.
- Title: a few words. Principle: one or two sentences that say what to do.
  when_to_apply: how to recognise the situation. Evidence and reason: what you saw.
- The category is {categories}."""

_REVIEW_FORM = """\
Answer in exactly this form, with nothing before, between or after:
<think>one to three short sentences</think><tool_call>one JSON object</tool_call>
The JSON object has exactly two keys, "name" and "arguments"; every argument is required
and is a string. Do not play on: commands of the environment are not tools."""

_DESCRIPTIONS = {
  "propose_skill": "Add a new skill to the bank.",
  "update_skill": "Rewrite a skill that was shown; all three texts are replaced.",
  "keep_skill": "Leave the skills as they are.",
  "category": "what kind of task the skill is for",
  "title": "a short name",
  "principle": "what to do, in one or two sentences",
  "when_to_apply": "how to recognise that the skill applies",
  "evidence": "what in this episode supports it",
  "skill_id": "the id in square brackets, such as s3",
  "reason": "why, from this episode",
}

_EXAMPLES = (
  (
    "I searched the same shelves twice before I opened anything.",
    Edit(
      kind="propose",
      category="general",
      title="Open before leaving",
      principle="Open each closed container before walking on; visit none twice.",
      when_to_apply="An object must be found and containers are closed.",
      reason="Two rounds of open shelves; the object was in the first closed drawer.",
    ),
  ),
  (
    "Skill s2 names the tool but not that it must be switched on.",
    Edit(
      kind="update",
      skill_id="s2",
      title="Switch on, then use",
      principle="Switch the tool on first; only then does using it change the object.",
      when_to_apply="A tool is needed and using it has no effect.",
      reason="Using it did nothing until it was switched on.",
    ),
  ),
  (
    "The shown skill led straight to the goal and nothing new came up.",
    Edit(kind="keep", reason="Skill s1 covered every step of the solution."),
  ),
)

# A skill must stay one line inside its fence and can spell neither a tag nor an id.
_NO_MARKS = str.maketrans("<>[]", "()()")


@dataclasses.dataclass(frozen=True)
class PromptStyle:
  """A way to say the same things. Final; use COMPACT, FULL or `dataclasses.replace`.

  Attributes:
    name: for configs and reports.
    detailed: explain everything, and list admissible commands.
    state_rules: add the state-consistency rules to a detailed system prompt.
  """

  name: str
  detailed: bool
  state_rules: bool = False

  def system(self) -> str:
    """The system turn; '' for COMPACT."""
    if not self.detailed:
      return ""
    return _SYSTEM + (_STATE_RULES if self.state_rules else "")

  def task_prompt(self, observation: Observation, skill_block: str) -> str:
    """The first user turn: the skill section, if any, and the reset text.

    Args:
      observation: of the reset; its text contains the task.
      skill_block: from `render_skills`.
    """
    text = self.observation(observation)
    return f"{skill_block}\n{text}" if skill_block else text

  def observation(self, observation: Observation) -> str:
    """A user turn: what the environment said; FULL adds the admissible commands."""
    if not (self.detailed and observation.admissible):
      return observation.text
    return f"{observation.text}\n\nCommands: {'; '.join(observation.admissible)}"

  def review_prompt(self, task: Task, observation: str, success: bool) -> str:
    """The user turn after the last one of the episode, which asks for an edit.

    The episode and the skills are in the context already and are not repeated.

    Args:
      task: what was played.
      observation: text of the last observation, which was not shown yet; may be ''.
      success: the outcome.
    """
    outcome = "success" if success else "failure"
    head = f"Review the episode. Outcome: {outcome}. Category: {task.family}."
    parts = [observation, head] if observation else [head]
    if not self.detailed:
      return "\n".join(parts)
    rules = _REVIEW_RULES.format(categories=f"'{task.family}' or 'general'")
    examples = (parse.format_edit(think, edit) for think, edit in _EXAMPLES)
    parts += [
      rules,
      "Tools:\n" + "\n".join(_tool_schema(name, task.family) for name in parse.TOOLS),
      _REVIEW_FORM,
      "Examples of the form; never copy their content:\n" + "\n".join(examples),
    ]
    return "\n\n".join(parts)

  def render_skills(self, skills: Sequence[Skill]) -> str:
    """The fenced skill section, one line a skill with its id; '' without skills.

    Skill text is untrusted: white space is folded and brackets are replaced, so it can
    neither leave its line, nor close the fence, nor claim another id.
    """
    if not skills:
      return ""
    return "\n".join(["<skills>", *map(self._skill_line, skills), "</skills>"])

  def _skill_line(self, skill: Skill) -> str:
    line = f"[{skill.skill_id}] {_clean(skill.title)}: {_clean(skill.principle)}"
    if self.detailed:
      line += f" (when: {_clean(skill.when_to_apply)})"
    return line.rstrip()


def _clean(text: str) -> str:
  """Untrusted text on one line, without marks."""
  return " ".join(text.translate(_NO_MARKS).split())


def _tool_schema(name: str, family: str) -> str:
  """One tool as a JSON schema on one line."""
  _, fields = parse.TOOLS[name]
  properties = {
    field: {"type": "string", "description": _DESCRIPTIONS[field]} for field in fields
  }
  if "category" in properties:
    properties["category"]["enum"] = [family, "general"]
  parameters = {
    "type": "object",
    "properties": properties,
    "required": list(fields),
    "additionalProperties": False,
  }
  schema = {
    "name": name,
    "description": _DESCRIPTIONS[name],
    "parameters": parameters,
  }
  return json.dumps(schema, ensure_ascii=False)


COMPACT = PromptStyle(name="compact", detailed=False)
FULL = PromptStyle(name="full", detailed=True)
