"""The embedded world `household`: ALFWorld's language with hidden house rules.

An estate is a set of hidden rules (`rules`), drawn from an integer one to one; estates of
train, dev and test are disjoint. Each estate is a stream of tasks (`tasks`) whose step
cap is the oracle's plan plus a slack, so that knowing the rules decides. `source` lists
tasks by split and draws probes; `world` runs an episode; `sentences` turns rules into
skills and back; `agent` and `review` play and edit the bank by reading and writing text
only.
"""

from skilljax.envs.household.agent import HouseholdAgent
from skilljax.envs.household.rules import Estate, Method, draw_estate, split_of
from skilljax.envs.household.sentences import (
  estate_skills,
  find_rules,
  misleading_skill,
  parse_rule,
  rule_sentence,
)
from skilljax.envs.household.source import HouseholdSettings, HouseholdSource
from skilljax.envs.household.tasks import FAMILIES, TaskSpec, oracle_plan, task_spec
from skilljax.envs.household.teacher import HouseholdTeacher
from skilljax.envs.household.world import HouseholdEnv

__all__ = [
  "FAMILIES",
  "Estate",
  "HouseholdAgent",
  "HouseholdEnv",
  "HouseholdSettings",
  "HouseholdSource",
  "HouseholdTeacher",
  "Method",
  "TaskSpec",
  "draw_estate",
  "estate_skills",
  "find_rules",
  "misleading_skill",
  "oracle_plan",
  "parse_rule",
  "rule_sentence",
  "split_of",
  "task_spec",
]
