"""Experiment configs: one `get_config(arg)` a file."""
