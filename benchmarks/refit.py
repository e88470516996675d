"""Refitting a rollout engine from a model that ranks share: a bucket at a time, against copying and sending alone.

`python -m benchmarks.refit JSON` is one rank of it, as torchrun starts it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from benchmarks.apart import ROOT
from benchmarks.converters import architecture
from benchmarks.measure import Cost, forget_peak, give_back_freed, now, peak_bytes, resident_bytes
from benchmarks.results import Benchmark, Row, Selection, table
from nemo_prorl.config.schema import MegatronConfig
from nemo_prorl.megatron.buckets import BUCKET_BYTES
from nemo_prorl.megatron.model import build_model
from nemo_prorl.megatron.runtime import Runtime
from nemo_prorl.megatron.weights import export_weights
from nemo_prorl.rollout.refit import refit
from nemo_prorl.weights.architecture import Architecture
from nemo_prorl.weights.families import weight_map
from nemo_prorl.weights.mapping import hf_parts

LAYOUTS = {"one rank": {}, "TP2": {"tensor_parallel_size": 2}, "PP2": {"pipeline_parallel_size": 2}}
WHAT = {
    "copy": "copying from memory",
    "send": "sending what a rank lacks, then copying",
    "refit": "refit",
}


def model_of(*, quick: bool) -> Architecture:
    """Qwen2.5-0.5B's shape; `quick`: a small one."""
    if quick:
        return architecture(quick=True, tied=True)
    sizes = {"hidden_size": 896, "intermediate_size": 4864, "num_hidden_layers": 24, "num_attention_heads": 14}
    config = {"model_type": "qwen2", "num_key_value_heads": 2, "vocab_size": 151_936, "tie_word_embeddings": True}
    more = {"max_position_embeddings": 32_768, "dtype": "bfloat16"}
    return Architecture.from_hf_config(config | sizes | more, "the benchmark's")


def rank(settings: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Each kind of work in turns, on this rank; all ranks begin each together."""
    model_shape = model_of(quick=settings["quick"])
    config = MegatronConfig(precision="bf16", **settings["megatron"])
    parts = list(hf_parts(weight_map(model_shape)))
    with Runtime.start(config, seed=0, torch_threads=1) as runtime:
        model = build_model(model_shape, config, runtime)
        places = {part.name: torch.zeros(part.shape, dtype=torch.bfloat16) for part in parts}
        size = sum(tensor.nbytes for tensor in places.values())
        sent = torch.zeros(size, dtype=torch.uint8)
        others = _views(sent, places)
        work: dict[str, Callable[[], None]] = {
            "copy": lambda: _copy(places, others),
            "send": lambda: _send(sent, runtime.world.size, places, others),
            "refit": lambda: refit(places, export_weights(model)),
        }
        facts = {"model_bytes": size, "bucket_bytes": _bucket(model_shape)}
        extra = {what: max(runtime.world.gather(_extra_bytes(do))) for what, do in work.items()}  # this also warms up
        rows = []
        for _ in range(settings["rounds"]):
            for what, do in work.items():
                costs = runtime.world.gather(_cost(do))
                rows.append(
                    {
                        "what": what,
                        **facts,
                        "wall_seconds": max(cost.wall_seconds for cost in costs),
                        "cpu_seconds": fmean(cost.cpu_seconds for cost in costs),
                        "extra_bytes": extra[what],
                    }
                )
        return rows


def _bucket(model_shape: Architecture) -> int:
    """The largest there is: of the usual size, or of the largest parameter."""
    largest = max(torch.Size(part.shape).numel() for part in hf_parts(weight_map(model_shape)))
    return max(BUCKET_BYTES, 2 * largest)


def _copy(places: Mapping[str, Tensor], others: Mapping[str, Tensor]) -> None:
    for name, place in places.items():
        place.copy_(others[name])


def _views(whole: Tensor, like: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors as in `like`, one after another in `whole`."""
    parts = whole.split([tensor.nbytes for tensor in like.values()])
    return {
        name: part.view(tensor.dtype).view(tensor.shape)
        for (name, tensor), part in zip(like.items(), parts, strict=True)
    }


def _send(sent: Tensor, ranks: int, places: Mapping[str, Tensor], others: Mapping[str, Tensor]) -> None:
    """Every rank's part of the model to all others in messages of a bucket, to where it is copied from then."""
    if ranks > 1:
        for source, part in enumerate(sent.chunk(ranks)):
            for message in part.split(BUCKET_BYTES):
                dist.broadcast(message, src=source)
    _copy(places, others)


def _extra_bytes(work: Callable[[], None]) -> int:
    give_back_freed()
    dist.barrier()
    before = resident_bytes()
    forget_peak()
    work()
    return peak_bytes() - before


def _cost(work: Callable[[], None]) -> Cost:
    dist.barrier()
    begun = now()
    work()
    return now() - begun


def measure(selection: Selection) -> list[Row]:
    """A row for each layout, round and kind of work: CPU seconds of a rank in the mean, the slowest's time."""
    rows: list[Row] = []
    for layout, megatron in LAYOUTS.items():
        settings = {"quick": selection.quick, "megatron": megatron, "rounds": selection.steps}
        with tempfile.TemporaryDirectory() as scratch:
            result = Path(scratch) / "rows.json"
            launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2" if megatron else "1"]
            command = [sys.executable, *launcher, "-m", "benchmarks.refit", json.dumps(settings), str(result)]
            done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
            if done.returncode:
                raise RuntimeError(f"{layout} failed:\n{done.stderr[-3000:]}")
            rows += [{"layout": layout, **row} for row in json.loads(result.read_text())]
    return rows


def told(rows: Sequence[Row]) -> str:
    lines = []
    for (layout, what), row in _fastest(rows).items():
        copy = _fastest(rows)[layout, "copy"]
        send = _fastest(rows)[layout, "send"]
        speeds = [other["cpu_seconds"] / row["cpu_seconds"] for other in (copy, send)]
        extra = row["extra_bytes"] / row["bucket_bytes"]
        rate = row["model_bytes"] / 1e6 / row["cpu_seconds"]
        lines.append([f"{layout}: {WHAT[what]}", row["wall_seconds"], row["cpu_seconds"], rate, *speeds, extra])
    header = ["", "wall s", "CPU s", "MB / CPU s", "speed / copying", "speed / sending", "extra memory, buckets"]
    size, bucket = rows[0]["model_bytes"] / 1e6, rows[0]["bucket_bytes"] / 1e6
    return f"a model of {size:,.0f} MB, its largest bucket {bucket:,.0f} MB\n\n{table(header, lines)}"


def draw(rows: Sequence[Row], path: Path) -> None:
    from matplotlib.figure import Figure

    best = _fastest(rows)
    figure = Figure(figsize=(9, 2.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    names = [f"{layout}: {what}" for layout, what in best]
    colours = ["#4477aa" if what == "refit" else "#bbbbbb" for _, what in best]
    rates = [row["model_bytes"] / 1e6 / row["cpu_seconds"] for row in best.values()]
    left.bar_label(left.barh(names, rates, color=colours), fmt="{:,.3g}", padding=3)
    left.set_title("MB a CPU second of a rank", fontsize=10)
    refits = {
        layout: row["extra_bytes"] / row["bucket_bytes"] for (layout, what), row in best.items() if what == "refit"
    }
    right.bar_label(right.barh(list(refits), list(refits.values()), color="#4477aa"), fmt="{:.2f}", padding=3)
    right.axvline(2, color="#cc3311", linestyle="--")
    right.set_title("extra memory of a refit, in its largest bucket", fontsize=10)
    for axes in (left, right):
        axes.margins(x=0.2)
        axes.spines[["top", "right"]].set_visible(False)
        axes.invert_yaxis()
    figure.savefig(path, dpi=120)


def _fastest(rows: Sequence[Row]) -> dict[tuple[str, str], Row]:
    """By layout and kind of work the round of fewest CPU seconds."""
    ordered = sorted(rows, key=lambda row: row["cpu_seconds"], reverse=True)
    best = {(row["layout"], row["what"]): row for row in ordered}
    return {(layout, what): best[layout, what] for layout in LAYOUTS for what in WHAT}


REFIT = Benchmark(measure, told, draw)


if __name__ == "__main__":
    found = rank(json.loads(sys.argv[1]))
    if os.environ["RANK"] == "0":
        Path(sys.argv[2]).write_text(json.dumps(found))
