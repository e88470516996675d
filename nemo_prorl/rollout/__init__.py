"""Rollouts: engines that sample completions, and the collector that samples and judges until enough groups teach."""
