"""What the policy reads and writes: chat tokens, prompts, parsers."""
