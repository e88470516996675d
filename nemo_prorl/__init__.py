"""Prolonged reinforcement learning of reasoning models (ProRL) as a scalable Megatron trainer."""

__version__ = "0.1.0"
