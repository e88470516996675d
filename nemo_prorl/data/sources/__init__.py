"""Where problems come from: the table of sources. Reading it imports nothing."""

# Each is called with its name in the config, then its knobs; what it gives is a `base.Source`.
SOURCES = {
    "reasoning_gym": "nemo_prorl.data.sources.reasoning_gym:ReasoningGymSource",  # problems made on the fly
    "jsonl": "nemo_prorl.data.sources.jsonl:JsonlSource",  # problems from a file
    "parquet": "nemo_prorl.data.sources.parquet:ParquetSource",  # the same, as a table
    "evaluation_set": "nemo_prorl.data.benchmarks.source:EvaluationSource",  # AIME, LiveCodeBench, GPQA, ...
}
