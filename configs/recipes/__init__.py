"""Comparisons and ablations: a base with the few values that make the difference."""
