"""skilljax: LLM agents that create, refine and select their own skills, in JAX."""
