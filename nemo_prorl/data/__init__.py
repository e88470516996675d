"""Prompts, completions, groups and batches; where prompts come from and how sources are mixed."""
