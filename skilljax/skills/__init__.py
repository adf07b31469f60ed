"""Skill banks: immutable values, edits, retrieval, guarding, files. Knows no JAX."""
