"""What rows cost to train on, by their length: what groups are shared out to data-parallel ranks by.

Forward and backward over rows of one length, about as many tokens whatever the length; each length in a process of its
own. Seconds of a row are then a * length + b * length^2: a is matrix products, b attention, and `attention_cost` how
much longer one of attention's operations takes than one of a matrix product.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.apart import apart, costs
from benchmarks.results import Benchmark, Row, Selection, table
from benchmarks.workload import MODELS, write_model
from nemo_prorl.algorithm.reduction import Mean, Metric, token_mean
from nemo_prorl.config.schema import MegatronConfig
from nemo_prorl.megatron.model import build_model
from nemo_prorl.megatron.runtime import Runtime
from nemo_prorl.megatron.schedule import Schedule, TokenRows, TokenScores
from nemo_prorl.weights.architecture import Architecture
from nemo_prorl.weights.estimate import training_cost

TOKENS = 8192
LENGTHS = (128, 256, 512, 1024, 2048, 4096)


def update(folder: str, megatron: dict[str, Any], length: int, repeats: int) -> dict[str, float]:
    """Runs in its own process: forward and backward over rows of `length`; with what operations say of each row."""
    architecture = Architecture.read(Path(folder))
    config = MegatronConfig.model_validate({"device": "cpu", "max_tokens_per_microbatch": TOKENS, **megatron})
    count = TOKENS // length
    tokens_BS = torch.randint(architecture.vocab_size, (count, length + 1), generator=torch.Generator().manual_seed(0))
    rows = TokenRows(tokens_BS, torch.full((count,), length + 1))
    with Runtime.start(config, seed=0, torch_threads=1) as runtime:
        schedule = Schedule(build_model(architecture, config, runtime), runtime)

        def loss(scores: TokenScores, numbers: Tensor) -> tuple[Mean, dict[str, Metric]]:
            mask_BT = torch.ones_like(scores.logprobs_BT, dtype=torch.bool)
            return token_mean(-scores.logprobs_BT, mask_BT), {}

        found = costs(lambda: schedule.train(rows, 1.0, loss), repeats=repeats)
    operations = training_cost(architecture)
    return {
        **found,
        "row_seconds": found["cpu_seconds"] / count,
        "product_operations": operations.a_token * length,
        "attention_operations": operations.a_pair * length**2,
    }


def measure(selection: Selection) -> list[Row]:
    """A row for every model and length."""
    models, lengths = (["tiny"], LENGTHS[:3]) if selection.quick else (["tiny", "small"], LENGTHS)
    rows: list[Row] = []
    for model in models:
        with tempfile.TemporaryDirectory() as folder:
            write_model(MODELS[model], Path(folder))
            for length in lengths:
                took = apart(update, folder=folder, megatron=dict(selection.megatron), length=length, repeats=4)
                rows.append({"model": model, "length": length, **took})
    return rows


def attention_cost(rows: Sequence[Row]) -> float:
    """How many operations of a matrix product one of attention's is worth, by least squares of relative errors.

    With seconds = p * product operations + q * attention operations it is q / p.

    >>> operations = [(1.0, 1.0), (2.0, 4.0), (4.0, 16.0)]
    >>> made = [{"product_operations": p, "attention_operations": q, "row_seconds": p + 3 * q} for p, q in operations]
    >>> round(attention_cost(made), 6)
    3.0
    """
    seconds = np.array([row["row_seconds"] for row in rows])
    operations = np.array([[row["product_operations"], row["attention_operations"]] for row in rows])
    (of_products, of_attention), *_ = np.linalg.lstsq(operations / seconds[:, None], np.ones(len(rows)), rcond=None)
    return float(of_attention / of_products)


def predicted(rows: Sequence[Row], cost: float) -> list[float]:
    """Seconds of each row by operations, one of attention's counting `cost`, scaled to be right on the average."""
    worth = [row["product_operations"] + cost * row["attention_operations"] for row in rows]
    scale = np.exp(np.mean(np.log([row["row_seconds"] / one for row, one in zip(rows, worth, strict=True)])))
    return [float(scale * one) for one in worth]


def _models(rows: Sequence[Row]) -> dict[str, list[Row]]:
    names = dict.fromkeys(row["model"] for row in rows)
    return {name: [row for row in rows if row["model"] == name] for name in names}


def told(rows: Sequence[Row]) -> str:
    lines, fits = [], []
    for model, own in _models(rows).items():
        cost = attention_cost(own)
        forms = [predicted(own, each) for each in (0.0, 1.0, cost)]
        for number, row in enumerate(own):
            errors = [f"{form[number] / row['row_seconds'] - 1:+.0%}" for form in forms]
            lines.append([model, row["length"], 1e6 * row["row_seconds"] / row["length"], *errors])
        fits.append(f"{model}: attention_cost {cost:.2f}")
    header = ["model", "row's tokens", "CPU us / token", "by tokens", "by operations", "by operations as measured"]
    return table(header, lines) + "\n" + "; ".join(fits)


def draw(rows: Sequence[Row], path: Path) -> None:
    from matplotlib.figure import Figure

    models = _models(rows)
    figure = Figure(figsize=(3.6 * len(models) + 0.6, 3), layout="constrained")
    for axes, (model, own) in zip(figure.subplots(1, len(models), squeeze=False)[0], models.items(), strict=True):
        lengths, cost = [row["length"] for row in own], attention_cost(own)

        def a_token(seconds: Sequence[float], lengths: list[int] = lengths) -> list[float]:
            return [1e6 * one / length for one, length in zip(seconds, lengths, strict=True)]

        axes.plot(lengths, a_token([row["row_seconds"] for row in own]), "o", color="#4477aa", label="measured")
        axes.plot(lengths, a_token(predicted(own, cost)), color="#4477aa", label=f"attention_cost {cost:.2f}")
        axes.plot(lengths, a_token(predicted(own, 1.0)), "--", color="#999999", label="operations alone")
        axes.set_xscale("log", base=2)
        axes.set_xticks(lengths, [f"{length:,}" for length in lengths], fontsize=8)
        axes.set_ylim(bottom=0)
        axes.set_xlabel("tokens of a row")
        axes.set_title(model, fontsize=10)
        axes.legend(frameon=False, fontsize=8)
        axes.spines[["top", "right"]].set_visible(False)
    figure.axes[0].set_ylabel("CPU us a token, forward and backward")
    figure.savefig(path, dpi=120)


COSTS = Benchmark(measure, told, draw)
