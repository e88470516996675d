"""What one GPU reaches: forward and backward of the shapes that presets are for, FP8 over bf16, logprobs, memory.

`python -m benchmarks gpu` on a host with a GPU; with `--quick` the same code runs at toy size on a CPU, to see that it
works. Every case runs in a process of its own, on random weights. Model FLOPs utilization (MFU) is the model's own
operations, without recomputation, over what the maker says the GPU could do; where the GPU isn't known, over what a
large product reaches here.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import torch

from benchmarks.apart import apart
from benchmarks.device import Meter, best_flops, chip_of
from benchmarks.results import Benchmark, Row, Selection, table
from nemo_prorl.algorithm.reduction import Mean, Metric, token_mean
from nemo_prorl.config.schema import MegatronConfig, OptimizerConfig
from nemo_prorl.megatron.memory import MemoryEstimate
from nemo_prorl.megatron.model import build_model
from nemo_prorl.megatron.optimizer import PolicyOptimizer
from nemo_prorl.megatron.runtime import Runtime
from nemo_prorl.megatron.schedule import Schedule, TokenRows, TokenScores
from nemo_prorl.megatron.vocab_parallel import logprobs_and_entropies
from nemo_prorl.weights.architecture import Architecture
from nemo_prorl.weights.estimate import training_operations, utilization

GIBIBYTE = 2**30
_QWEN2 = {"architectures": ["Qwen2ForCausalLM"], "num_hidden_layers": 28, "max_position_embeddings": 131_072}
SHAPES: dict[str, dict[str, Any]] = {
    "tiny": _QWEN2
    | {"hidden_size": 64, "intermediate_size": 128, "num_attention_heads": 4, "num_key_value_heads": 2}
    | {"num_hidden_layers": 2, "vocab_size": 512},
    "1.5b": _QWEN2
    | {"hidden_size": 1536, "intermediate_size": 8960, "num_attention_heads": 12, "num_key_value_heads": 2}
    | {"vocab_size": 151_936},
    "7b": _QWEN2
    | {"hidden_size": 3584, "intermediate_size": 18_944, "num_attention_heads": 28, "num_key_value_heads": 4}
    | {"vocab_size": 152_064},
}
GOALS = {"mfu": 0.45, "fp8_over_bf16": 1.2, "logprob_gibibytes": 2.0, "estimate": 0.1}


def cases(*, quick: bool) -> Iterator[tuple[Callable[..., dict[str, float]], dict[str, Any]]]:
    """Functions of this file and their arguments. 7B is trained without its optimizer, which one GPU can't hold."""
    small, large = ("tiny", "tiny") if quick else ("1.5b", "7b")
    tokens = 256 if quick else 8192
    for row_tokens in (tokens, tokens // 8):
        yield forward_backward, {"shape": small, "tokens": tokens, "row_tokens": row_tokens, "precision": "bf16"}
    yield forward_backward, {"shape": small, "tokens": tokens, "row_tokens": tokens, "precision": "fp32"}
    for precision, recipe in [
        ("bf16", ""),
        *([] if quick else [("fp8_hybrid", "tensorwise"), ("fp8_hybrid", "blockwise")]),
    ]:
        one = {"shape": large, "tokens": tokens, "row_tokens": tokens, "precision": precision, "recipe": recipe}
        yield forward_backward, {**one, "optimizer": False, "recompute": "full"}
    yield logprobs, {"shape": small, "tokens": 2 * tokens}


def forward_backward(
    shape: str,
    device: str,
    tokens: int,
    row_tokens: int,
    precision: str,
    recipe: str = "",
    recompute: str = "none",
    optimizer: bool = True,
    repeats: int = 5,
) -> dict[str, float]:
    """Runs in its own process. Two microbatches of `tokens`, packed from rows of `row_tokens`."""
    architecture = Architecture.from_hf_config(SHAPES[shape], shape)
    fp8 = {"fp8": {"recipe": recipe}} if recipe else {}
    config = MegatronConfig(
        device=device, precision=precision, recompute=recompute, max_tokens_per_microbatch=tokens, **fp8
    )
    rows = _rows(architecture.vocab_size, 2 * tokens // row_tokens, row_tokens)
    scored_BT = rows.scored_BT

    def loss(scores: TokenScores, numbers: torch.Tensor) -> tuple[Mean, dict[str, Metric]]:
        mask_BT = scored_BT[numbers.cpu(), : scores.logprobs_BT.shape[1]].to(scores.logprobs_BT.device)
        return token_mean(-scores.logprobs_BT, mask_BT), {}

    with Runtime.start(config, seed=0, torch_threads=torch.get_num_threads()) as runtime:
        meter = Meter(runtime.device)
        model = build_model(architecture, config, runtime)
        schedule = Schedule(model, runtime)
        updating = PolicyOptimizer(model, OptimizerConfig(), total_steps=100) if optimizer else None

        def work() -> None:
            for chunk in model.chunks:
                chunk.zero_grad_buffer()
            schedule.train(rows, 1.0, loss)

        work()  # what kernels and libraries need for themselves
        if updating is not None:
            updating.step()
        seconds = median(meter.seconds(work) for _ in range(repeats))
        phase = MemoryEstimate(architecture, config).of_step().phases[-1]
        estimated = phase.total - (0 if optimizer else phase.parts["optimizer"])
        best, known = best_flops(runtime.device, precision)
        operations = training_operations(architecture, [row_tokens] * len(rows.lengths_B))
        return {
            "tokens_a_second": 2 * tokens / seconds,
            "mfu": utilization(operations, seconds, best),
            "peak_is_the_makers": float(known),
            "peak_bytes": meter.peak_bytes(),
            "estimated_bytes": float(estimated),
        }


def logprobs(shape: str, device: str, tokens: int, repeats: int = 5) -> dict[str, float]:
    """Runs in its own process: logprobs and entropies of `tokens` from hidden states, forward and backward, in bf16."""
    architecture = Architecture.from_hf_config(SHAPES[shape], shape)
    hidden, vocabulary = architecture.hidden_size, architecture.vocab_size
    with Runtime.start(MegatronConfig(device=device), seed=0, torch_threads=torch.get_num_threads()) as runtime:
        where = {"device": runtime.device, "dtype": torch.bfloat16}
        hidden_NH = torch.randn(tokens, hidden, **where).requires_grad_()
        weight_VH = (0.02 * torch.randn(vocabulary, hidden, **where)).requires_grad_()
        weight_VH.main_grad = torch.zeros(vocabulary, hidden, device=runtime.device)  # type: ignore[attr-defined]
        targets_N = torch.randint(vocabulary, (tokens,), device=runtime.device)
        hidden_NH.grad = torch.zeros_like(hidden_NH)

        def work() -> None:
            logprobs_N, entropies_N = logprobs_and_entropies(
                hidden_NH, weight_VH, targets_N, temperature=1.0, vocab_size=vocabulary, group=None
            )
            (logprobs_N + entropies_N).sum().backward()

        work()
        meter = Meter(runtime.device)
        work()
        extra = meter.peak_bytes() - meter.bytes_before
        seconds = median(meter.seconds(work) for _ in range(repeats))
        best, _ = best_flops(runtime.device, "bf16")
        chip = chip_of(runtime.device)
        floor = logprob_floor(tokens, hidden, vocabulary, best, chip.bytes_a_second if chip else float("inf"))
        return {"seconds": seconds, "floor_seconds": floor, "extra_bytes": max(extra, 0.0)}


def logprob_floor(tokens: int, hidden: int, vocabulary: int, flops: float, bytes_a_second: float) -> float:
    """Seconds below which no code can do it that never holds all logits.

    Four products: logits, the same again in backward, and the gradients of hidden states and of the weight. The weight
    is read in each of the first three, in bf16; its gradient is read and written once, in fp32.
    """
    operations = 4 * 2.0 * tokens * hidden * vocabulary
    moved = vocabulary * hidden * (3 * 2 + 2 * 4)
    return max(operations / flops, moved / bytes_a_second)


def _rows(vocabulary: int, count: int, tokens: int) -> TokenRows:
    """Of so many tokens in the model: a row's last one is only predicted."""
    generator = torch.Generator().manual_seed(0)
    return TokenRows(
        torch.randint(vocabulary, (count, tokens + 1), generator=generator), torch.full((count,), tokens + 1)
    )


def measure(selection: Selection) -> list[Row]:
    """A row for every case."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cpu" and not selection.quick:
        raise SystemExit(
            "python -m benchmarks gpu: torch sees no CUDA device here; --quick tries it on a CPU, in small"
        )
    rows: list[Row] = []
    for function, arguments in cases(quick=selection.quick):
        try:
            found = apart(function, cuda=True, device=device, **arguments)
        except RuntimeError as error:  # no Transformer Engine, too old a CUDA, too little memory
            if selection.quick:
                raise
            print(f"left out: {error}", file=sys.stderr, flush=True)
            continue
        rows.append({"case": function.__name__, "device": device, **arguments, **found})
    if not rows:
        raise SystemExit("python -m benchmarks gpu: no case could be measured; see above")
    return rows


def told(rows: Sequence[Row]) -> str:
    return f"{_told_passes(rows)}\n\n{_told_logprobs(rows)}"


def _told_passes(rows: Sequence[Row]) -> str:
    passes = [row for row in rows if row["case"] == "forward_backward"]
    lines = []
    for row in passes:
        likes = [
            one for one in passes if (one["shape"], one["precision"]) == (row["shape"], "bf16") and _alike(one, row)
        ]
        speed = row["tokens_a_second"] / likes[0]["tokens_a_second"] if likes else float("nan")
        off = row["estimated_bytes"] / row["peak_bytes"]
        precision = f"{row['precision']} {row.get('recipe', '')}".strip()
        memory = [row["peak_bytes"] / GIBIBYTE, row["estimated_bytes"] / GIBIBYTE, off]
        lines.append(
            [
                f"{row['shape']}, rows of {row['row_tokens']:,}",
                precision,
                row["tokens_a_second"],
                row["mfu"],
                speed,
                *memory,
            ]
        )
    header = ["forward and backward", "precision", "tokens/s", "MFU", "of bf16's", "peak GiB", "estimated", "of peak"]
    goals = (
        f"goals on an H200: MFU >= {GOALS['mfu']} for the 1.5b shape in bf16, FP8 >= {GOALS['fp8_over_bf16']} of "
        f"bf16's speed at the\n7b shape, the estimate within {GOALS['estimate']:.0%} of the peak"
    )
    if not all(row["peak_is_the_makers"] for row in passes):
        goals += "\nMFU of fp32, and of a device that isn't known, is a share of what a large product reaches here"
    return f"{table(header, lines)}\n{goals}"


def _alike(one: Row, other: Row) -> bool:
    return all(one.get(key) == other.get(key) for key in ("row_tokens", "optimizer", "recompute"))


def _told_logprobs(rows: Sequence[Row]) -> str:
    lines = [
        [
            f"{row['shape']}, {row['tokens']:,} tokens",
            row["seconds"],
            row["seconds"] / row["floor_seconds"],
            row["extra_bytes"] / GIBIBYTE,
        ]
        for row in rows
        if row["case"] == "logprobs"
    ]
    header = ["logprobs and entropies", "s", "times the floor", "extra GiB"]
    return f"{table(header, lines)}\ngoal: at most {GOALS['logprob_gibibytes']:g} GiB for 16,384 tokens"


def draw(rows: Sequence[Row], path: Path) -> None:
    from matplotlib.figure import Figure

    passes = [row for row in rows if row["case"] == "forward_backward"]
    names = [
        f"{row['shape']}, {row['precision']} {row.get('recipe', '')}, rows of {row['row_tokens']:,}" for row in passes
    ]
    figure = Figure(figsize=(9, 1 + 0.4 * len(passes)), layout="constrained")
    axes = figure.subplots()
    bars = axes.barh([f"{number + 1}. {name}" for number, name in enumerate(names)], [row["mfu"] for row in passes])
    axes.bar_label(bars, fmt="{:.1%}", padding=3, fontsize=8)
    axes.axvline(GOALS["mfu"], color="#999999", linestyle=":")
    axes.margins(x=0.15)
    axes.set_title("model FLOPs utilization, forward and backward", fontsize=9)
    axes.spines[["top", "right"]].set_visible(False)
    axes.invert_yaxis()
    figure.savefig(path, dpi=120)


GPU = Benchmark(measure, told, draw)
