"""Evaluation sets as the paper uses them: where each is published, how its records become problems, how it is asked."""
