"""Reinforcement-learning maths: pure functions on arrays.

Purpose: rewards → advantages → per-token losses → one scalar that can be accumulated
over micro-batches. Must not know about: text, tokenizers, files, devices, environments.
"""
