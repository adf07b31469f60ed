"""Comparisons and ablations: `household` with the few values that make the difference."""
