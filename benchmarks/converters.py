"""The converters against `cp`: a random model from Hugging Face's format to Megatron's and back, bit for bit."""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.apart import apart
from benchmarks.measure import forget_peak, now, peak_bytes, resident_bytes
from benchmarks.results import Benchmark, Row, Selection, table
from nemo_prorl.weights.architecture import Architecture
from nemo_prorl.weights.families import weight_map
from nemo_prorl.weights.hf_config import hf_config_of
from nemo_prorl.weights.hf_writer import write_hf_folder
from nemo_prorl.weights.mapping import hf_parts

SHARD_BYTES = 1_000_000_000


def architecture(*, quick: bool, tied: bool) -> Architecture:
    """Qwen2.5-1.5B's shape (tied) or DeepSeek-R1-Distill-Qwen-1.5B's (untied), bf16; `quick`: a small one."""
    sizes = (
        {"hidden_size": 256, "intermediate_size": 768, "num_hidden_layers": 6, "num_attention_heads": 4}
        if quick
        else {"hidden_size": 1536, "intermediate_size": 8960, "num_hidden_layers": 28, "num_attention_heads": 12}
    )
    config = {
        "model_type": "qwen2",
        "num_key_value_heads": 2,
        "vocab_size": 4096 if quick else 151_936,
        "max_position_embeddings": 131_072,
        "tie_word_embeddings": tied,
        "dtype": "bfloat16",
    }
    return Architecture.from_hf_config(config | sizes, "the benchmark's")


def write_random(model: Architecture, folder: Path, shard_bytes: int) -> None:
    """A model folder of random weights, made tensor by tensor."""
    folder.mkdir(parents=True)
    like = folder.with_name(folder.name + "-config")
    like.mkdir()
    (like / "config.json").write_text(json.dumps(hf_config_of(model)))
    write_hf_folder(folder, _random(model), like=like, max_shard_bytes=shard_bytes)


def _random(model: Architecture) -> Iterator[tuple[str, Tensor]]:
    generator = torch.Generator().manual_seed(0)
    for part in hf_parts(weight_map(model)):
        yield part.name, torch.empty(part.shape, dtype=torch.bfloat16).normal_(std=0.02, generator=generator)


def to_megatron(source: str, destination: str, shard_bytes: int) -> dict[str, float]:
    """Runs in its own process."""
    from nemo_prorl.commands.conversions import MegatronLayout, to_megatron

    layout = MegatronLayout(max_file_bytes=shard_bytes)
    return _cost(lambda: to_megatron(Path(source), Path(destination), layout, like=None, watch=_unwatched))


def to_hf(source: str, destination: str, shard_bytes: int) -> dict[str, float]:
    """Runs in its own process."""
    from nemo_prorl.commands.conversions import to_hugging_face

    return _cost(
        lambda: to_hugging_face(
            Path(source),
            Path(destination),
            like=None,
            dtype=None,
            max_shard_bytes=shard_bytes,
            overwrite=False,
            watch=_unwatched,
        )
    )


def _unwatched(names: Iterator[str], what: str) -> Iterator[str]:
    return names


def copied(source: str, destination: str, *, flushed: bool) -> dict[str, float]:
    def work() -> None:
        subprocess.run(["cp", "-r", source, destination], check=True)
        for file in Path(destination).iterdir() if flushed else ():
            with file.open("rb") as written:
                os.fsync(written.fileno())

    return _cost(work)


def _cost(work: Callable[[], object]) -> dict[str, float]:
    """Of one call, with every library it needs loaded before."""
    bare = resident_bytes()
    forget_peak()
    begun, helped = now(), _children_seconds()
    work()
    took = now() - begun
    return {
        "wall_seconds": took.wall_seconds,
        "cpu_seconds": took.cpu_seconds + _children_seconds() - helped,
        "extra_bytes": float(peak_bytes() - bare),
    }


def _children_seconds() -> float:
    """CPU seconds of processes that this one started and that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def measure(selection: Selection) -> list[Row]:
    """A row for every conversion and copy of each round (at most `--steps`), of a tied model and of an untied one."""
    rows: list[Row] = []
    shard_bytes = SHARD_BYTES // 100 if selection.quick else SHARD_BYTES
    with tempfile.TemporaryDirectory() as scratch:
        for tied in (True,) if selection.quick else (True, False):
            model = architecture(quick=selection.quick, tied=tied)
            folder = Path(scratch) / ("tied" if tied else "untied")
            write_random(model, folder / "hf", shard_bytes)
            sizes = [file.stat().st_size for file in (folder / "hf").glob("*.safetensors")]
            facts = {
                "model": f"{model.parameter_count / 1e9:.2g}B, {'tied' if tied else 'untied'}",
                "model_bytes": sum(sizes),
                "allowed_bytes": 1.5 * max(sizes) + 2 * model.layer_parameter_count,
            }
            for number in range(1 if selection.quick else min(3, selection.steps)):
                rows += [{**facts, "round": number, **row} for row in _round(folder, shard_bytes)]
            shutil.rmtree(folder)
    return rows


def _round(folder: Path, shard_bytes: int) -> list[dict[str, object]]:
    made = ("megatron", "back", "copy", "flushed")
    hf, megatron, back, copy, flushed = (str(folder / name) for name in ("hf", *made))
    costs: dict[str, dict[str, float]] = {
        "cp": copied(hf, copy, flushed=False),
        "cp, flushed": copied(hf, flushed, flushed=True),
        "hf -> megatron": apart(to_megatron, source=hf, destination=megatron, shard_bytes=shard_bytes),
        "megatron -> hf": apart(to_hf, source=megatron, destination=back, shard_bytes=shard_bytes),
    }
    for path in sorted(Path(hf).glob("*.safetensors")):
        subprocess.run(["cmp", str(path), str(Path(back) / path.name)], check=True)
    for name in made:
        shutil.rmtree(folder / name)
    return [{"what": what, **cost} for what, cost in costs.items()]


def told(rows: Sequence[Row]) -> str:
    lines = []
    for model in dict.fromkeys(row["model"] for row in rows):
        best = _fastest([row for row in rows if row["model"] == model])
        for what, row in best.items():
            speeds = [best[cp]["wall_seconds"] / row["wall_seconds"] for cp in ("cp", "cp, flushed")]
            peak, allowed = row["extra_bytes"] / 1e6, row["allowed_bytes"] / 1e6
            lines.append(
                [f"{model}: {what}", row["model_bytes"] / 1e6, row["wall_seconds"], row["cpu_seconds"], *speeds]
                + ([peak, allowed] if "->" in what else ["", ""])
            )
    header = ["", "MB", "wall s", "CPU s", "speed / cp", "speed / cp, flushed", "peak MB", "allowed MB"]
    return table(header, lines)


def draw(rows: Sequence[Row], path: Path) -> None:
    from matplotlib.figure import Figure

    model = rows[0]["model"]
    best = _fastest([row for row in rows if row["model"] == model])
    ours = {what: row for what, row in best.items() if "->" in what}
    figure = Figure(figsize=(9, 2.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    speeds = [row["model_bytes"] / 1e6 / row["wall_seconds"] for row in best.values()]
    left.bar_label(left.barh(list(best), speeds, color="#4477aa"), fmt="{:,.3g}", padding=3)
    left.set_title(f"MB/s, {model}", fontsize=10)
    peaks = [row["extra_bytes"] / 1e6 for row in ours.values()]
    right.bar_label(right.barh(list(ours), peaks, color="#4477aa"), fmt="{:,.4g}", padding=3)
    right.axvline(next(iter(ours.values()))["allowed_bytes"] / 1e6, color="#cc3311", linestyle="--")
    right.set_title("peak memory in MB; dashed: 1.5 shards and a layer", fontsize=10)
    for axes in (left, right):
        axes.margins(x=0.15)
        axes.spines[["top", "right"]].set_visible(False)
        axes.invert_yaxis()
    figure.savefig(path, dpi=120)


def _fastest(rows: Sequence[Row]) -> dict[str, Row]:
    by_what = {
        what: [row for row in rows if row["what"] == what] for what in dict.fromkeys(row["what"] for row in rows)
    }
    return {what: min(own, key=lambda row: row["wall_seconds"]) for what, own in by_what.items()}


CONVERTERS = Benchmark(measure, told, draw)
