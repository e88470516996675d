"""Judging a model's text: what is right, by whom it is judged, and in which process."""
