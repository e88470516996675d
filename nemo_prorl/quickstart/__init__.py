"""The first run on any machine: a model small enough to learn something within minutes on two cores."""
