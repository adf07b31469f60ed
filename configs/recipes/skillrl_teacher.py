"""Baseline: SkillRL (arXiv:2602.08234) with evolution: a frozen teacher adds skills.

  export TEACHER_KEY=...
  python -m experiments.train --config=configs/recipes/skillrl_teacher.py:updates=100 \
      --config.proposer.endpoint.url=https://host/v1 \
      --config.proposer.endpoint.model=NAME \
      --policy=runs/cold/policy --workdir=runs/skillrl_teacher

Compared with `recipes/skillrl`, which also says how the first banks are made: every five
updates a model behind an OpenAI-compatible endpoint reads failed episodes of families
below 40 % success, at most three a family and estate, and answers each with one edit.
Edits that parse enter without a test (`gate.mode='accept'`). SkillRL reads failures of a
validation; this reads those of the update. A server without a key:
`--config.proposer.endpoint.key_variable=''`. Answers are kept in `teacher.jsonl` of the
run; a resumed run asks nothing twice.
Variants: `:base=alfworld_scratch`, `:base=webshop_scratch`, and those of the base.
"""

import ml_collections

from configs.recipes import skillrl


def get_config(arg: str = "") -> ml_collections.ConfigDict:
  """The resolved, locked config of one variant."""
  c = skillrl.get_config(arg)
  with c.unlocked():
    c.gate = ml_collections.ConfigDict()
    c.gate.mode = "accept"
    c.gate.max_commits = 3  # per estate and update
    c.gate.audits_per_update = 0
    c.proposer = ml_collections.ConfigDict()
    c.proposer.name = "endpoint"
    c.proposer.every = 5  # updates
    c.proposer.below = 0.4  # success rate of a family
    c.proposer.max_skills = 3  # per family, estate and round
    c.proposer.shown_turns = 5  # last turns of an episode
    c.proposer.endpoint = ml_collections.ConfigDict()
    c.proposer.endpoint.url = "http://localhost:8000/v1"
    c.proposer.endpoint.model = "teacher"
    c.proposer.endpoint.key_variable = "TEACHER_KEY"
    c.proposer.endpoint.max_calls = 1000  # of the whole run
  return c.lock()
