"""Run folders: cold start, training and evaluation from a config to files on disk."""
