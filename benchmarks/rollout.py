"""Rollouts alone: the native engine against the transformers engine, over models, batches, lengths and ragged ends.

Both engines live in one process and take turns, so that both meet the same noise. TRL's rollouts are in `step`.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import torch

from benchmarks.measure import now
from benchmarks.results import Benchmark, Row, Selection, table
from benchmarks.workload import MODELS, ModelSize, write_model
from nemo_prorl.data.prompt import Prompt
from nemo_prorl.data.sampling import SamplingParams
from nemo_prorl.data.tokenizer import Tokenizer
from nemo_prorl.rollout.engine import RolloutEngine
from nemo_prorl.rollout.native.engine import NativeEngine
from nemo_prorl.rollout.transformers_engine import TransformersEngine
from nemo_prorl.weights.hf_folder import TensorReader

ENGINES = {"native": NativeEngine, "transformers": TransformersEngine}
# Four layers as wide as those of Qwen2.5-0.5B: what a larger model spends its time on.
SIZES = {**MODELS, "half-billion's": ModelSize(hidden=896, layers=4, heads=14, kv_heads=2, ffn=4864, vocabulary=8192)}


@dataclass(frozen=True)
class Case:
    """`prompts` of 105 tokens x 8 samples of `tokens` tokens, at most `places` under way; `ragged`: or sooner, since
    each token ends a response with about 1 in 100."""

    model: str
    prompts: int
    tokens: int
    places: int = 128
    ragged: bool = False


CASES = {
    "tiny, as in step": Case("tiny", 8, 128),
    "small, as in step": Case("small", 8, 128),
    "half a billion's layers": Case("half-billion's", 2, 32),
    "8 at once": Case("tiny", 1, 128),
    "128 at once": Case("tiny", 16, 128),
    "short": Case("tiny", 8, 32),
    "long": Case("tiny", 8, 1024),
    "ragged, 256 in 64 places": Case("tiny", 32, 512, places=64, ragged=True),
    "small, ragged": Case("small", 16, 512, places=64, ragged=True),
}


def measure(selection: Selection) -> list[Row]:
    """A row for every case, engine, number of threads and round, after a round to warm up."""
    cases = dict(list(CASES.items())[:1]) if selection.quick else CASES
    return [
        {"case": name, "threads": threads, **row}
        for name, case in cases.items()
        for threads in selection.threads
        for row in _in_turns(case, threads, rounds=2 if selection.quick else 3)
    ]


def _in_turns(case: Case, threads: int, *, rounds: int) -> list[Row]:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with tempfile.TemporaryDirectory() as name:
            engines = _engines(case, write_model(SIZES[case.model], Path(name)))
            _sample(case, engines, 0)
            return [row for number in range(1, rounds + 1) for row in _sample(case, engines, number)]
    finally:
        torch.set_num_threads(before)


def _engines(case: Case, folder: Path) -> dict[str, RolloutEngine]:
    tokenizer = copy(Tokenizer.load(folder))
    vocabulary = SIZES[case.model].vocabulary
    tokenizer.stop_ids = tuple(range(0, vocabulary, 100)) if case.ragged else ()
    engines: dict[str, RolloutEngine] = {
        name: made(folder, tokenizer, max_batch_sequences=case.places) for name, made in ENGINES.items()
    }
    with TensorReader(folder) as reader:
        for engine in engines.values():
            engine.load_weights((name, reader.get(name)) for name in reader.names)
    return engines


def _sample(case: Case, engines: dict[str, RolloutEngine], number: int) -> list[Row]:
    """Other answers in every round, the same of both engines."""
    prompts = [
        Prompt(f"p{index}", "math", "t", "s", (), tuple((7 * index + i) % 256 for i in range(105)), "math", {})
        for index in range(case.prompts)
    ]
    sampling = SamplingParams(8, case.tokens, context_tokens=105 + case.tokens, seed=number)
    rows = []
    for name, engine in engines.items():
        begun = now()
        tokens = sum(sampled.completion.length for sampled in engine.generate(prompts, sampling))
        took = now() - begun
        costs = {"cpu_seconds": took.cpu_seconds, "wall_seconds": took.wall_seconds}
        rows.append({"engine": name, "round": number, "tokens": tokens, **costs})
    return rows


def _speeds(rows: Sequence[Row]) -> dict[tuple[str, int], list[float]]:
    """Tokens a CPU second of either engine, median of rounds, by (case, threads)."""
    kinds = dict.fromkeys((row["case"], row["threads"]) for row in rows)
    return {
        kind: [
            median(
                row["tokens"] / row["cpu_seconds"]
                for row in rows
                if (row["case"], row["threads"], row["engine"]) == (*kind, engine)
            )
            for engine in ENGINES
        ]
        for kind in kinds
    }


def told(rows: Sequence[Row]) -> str:
    lines = [[case, threads, *both, both[0] / both[1]] for (case, threads), both in _speeds(rows).items()]
    return table(["tokens / CPU s", "threads", *ENGINES, "native / transformers"], lines)


def draw(rows: Sequence[Row], path: Path) -> None:
    from matplotlib.figure import Figure

    fewest = min(row["threads"] for row in rows)
    speeds = {case: both for (case, threads), both in _speeds(rows).items() if threads == fewest}
    figure = Figure(figsize=(7.2, 0.5 * len(speeds) + 1.2), layout="constrained")
    axes = figure.subplots()
    for offset, (engine, colour) in enumerate(zip(ENGINES, ("#4477aa", "#bbbbbb"), strict=True)):
        heights = [both[offset] for both in speeds.values()]
        bars = axes.barh([at + 0.4 * offset for at in range(len(speeds))], heights, 0.38, color=colour, label=engine)
        axes.bar_label(bars, fmt="{:,.0f}", padding=3, fontsize=8)
    axes.set_yticks([at + 0.2 for at in range(len(speeds))], list(speeds))
    axes.invert_yaxis()
    axes.margins(x=0.15)
    axes.set_title(f"rollout tokens a CPU second, threads: {fewest}", fontsize=9)
    axes.legend(frameon=False, fontsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=120)


ROLLOUT = Benchmark(measure, told, draw)
