"""Rollouts on CPU by a decoder of our own: as few operations a token as the arithmetic allows. See engine.py."""
