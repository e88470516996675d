"""Model folders of Megatron's family, read and written without building a model: one tensor in memory at a time."""
