"""From the raw records of all five sources, as published, to rollouts with rewards."""

import pytest

from nemo_prorl.build import data_from, verifier_pool
from nemo_prorl.cli import main
from nemo_prorl.config.load import load_config
from nemo_prorl.data.prompt import DOMAINS
from nemo_prorl.data.quality.answers import right_response
from nemo_prorl.data.sampling import SamplingParams
from nemo_prorl.data.tokenizer import Tokenizer
from nemo_prorl.quickstart.tiny_model import make_tokenizer
from nemo_prorl.recipe import Stage
from nemo_prorl.rollout.collector import Collector
from nemo_prorl.rollout.scripted_engine import ScriptedEngine
from nemo_prorl.world import LocalWorld
from tests.commands.test_data import FEW, FLAGS, FOLDERS

STAGE = Stage("main", 12, 4, 2, SamplingParams(2, max_response_tokens=400, context_tokens=4096), kl_weight=0.0)
PROGRAMS = {
    "print their sum": "print(sum(map(int, input().split())))",
    "largest element": "def largest(numbers):\n    return max(numbers)",
    "backwards": "print(input()[::-1])",
}
WRITING = {
    "machine learning": "One.\n***\nTwo.\n***\nThree.",
    "sunrise": "Red light grows.",
    "picnic": "word " * 60,
    "joke": "Knock knock. That is all.",
}


def right_answer(prompt):
    """What the fixtures' problems want to hear."""
    question = prompt.messages[-1]["content"]
    if prompt.domain == "code":
        return next(f"```python\n{program}\n```" for words, program in PROGRAMS.items() if words in question)
    if prompt.domain == "instruction":
        return next(text for words, text in WRITING.items() if words in question)
    return right_response(prompt)


@pytest.mark.end_to_end
@pytest.mark.parametrize("form", ["jsonl", "parquet"])
def test_five_sources_go_from_raw_records_to_scored_rollouts(tmp_path, form):
    """Of two samples one is right and one says nothing: each group teaches, with rewards 1 and 0."""
    assert main(["data", "prepare", f"folder={tmp_path}", f"format={form}", *FOLDERS, *FLAGS, *FEW]) == 0
    names = ["math", "code", "stem", "logic", "instruction"]
    files = ["deepscaler", "eurus_code", "scp116k", "reasoning_gym", "llama_nemotron_if"]
    as_parquet = [
        f"data.sources.{name}.{setting}"
        for name, file in zip(names, files, strict=True)
        for setting in ("name=parquet", f"path={tmp_path / file}.parquet")
    ]
    config = load_config(
        "train",
        ["recipe=prorl", "data=prorl", f"data.folder={tmp_path}", "model.path=unused", "validation.problems_per_task=1"]
        + (as_parquet if form == "parquet" else []),
    )
    backend = make_tokenizer()
    tokenizer = Tokenizer(backend, [backend.eos_token_id])
    engine = ScriptedEngine(None, tokenizer, answer=lambda prompt, sample: "" if sample else right_answer(prompt))
    with verifier_pool(config.verifiers) as pool:
        mixture, validation = data_from(config, tokenizer, pool.objection)
        collector = Collector(
            engine=engine, pool=pool, mixture=mixture, world=LocalWorld(), budget=config.sampling, run_seed=0
        )
        groups = [group for step in range(12) for group in collector.collect(STAGE, step).groups]
        metrics = pool.drain_metrics()
    assert [prompt.task for prompt in validation] == ["graph_color"]
    assert {group.prompt.domain for group in groups} == set(DOMAINS)
    assert not [name for name, value in metrics.items() if value and name.endswith(("/error", "/timeout"))]
    for group in groups:
        assert [verdict.reward for verdict in group.verdicts] == [1.0, 0.0], group.prompt.uid
