"""The yardstick itself: clocks, memory, turns, and what is told of raw rows."""

import json
import mmap
import os
import subprocess
import sys
from argparse import Namespace
from importlib import import_module

import pytest

from benchmarks import gpu, measure, ours, step, turns, workload
from benchmarks.__main__ import BENCHMARKS
from benchmarks.results import FOLDER, table
from benchmarks.turns import Trainer
from tests.processes import run_ranks
from tests.published_shapes import QWEN_1_5B, QWEN_7B

KEPT = [name for name in BENCHMARKS if (FOLDER / f"{name}.json").is_file()]

# A trainer whose rollout takes 0.2 s and whose update takes 0.1 s of a processor.
TOY = """
import time
from benchmarks.turns import Turns

def busy(seconds):
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass

turns = Turns()
turns.ready(built=7)
while True:
    begun = turns.now()
    busy(0.2)
    turns.add("rollout", turns.now() - begun)
    busy(0.1)
    turns.step_done()
"""


def benchmark(name):
    module, _, attribute = BENCHMARKS[name].partition(":")
    return getattr(import_module(module), attribute)


def test_what_is_added_to_no_phase_is_the_update(tmp_path):
    with Trainer([sys.executable, "-c", TOY], threads=1, log=tmp_path / "log") as trainer:
        took = trainer.step()
        assert trainer.built["built"] == 7
    assert took["rollout_cpu"] == pytest.approx(0.2, abs=0.02)
    assert took["update_cpu"] == pytest.approx(0.1, abs=0.02)
    assert took["rollout_cpu"] + took["update_cpu"] == pytest.approx(took["step_cpu"])
    assert took["step_wall"] > 0.29


def test_a_trainer_that_fails_is_quoted(tmp_path):
    with pytest.raises(RuntimeError, match=r"ended; its last words are\s.*no such thing"):
        Trainer([sys.executable, "-c", "raise SystemExit('no such thing')"], threads=1, log=tmp_path / "log")


def test_a_trainer_that_says_nothing_is_ended(tmp_path, monkeypatch):
    monkeypatch.setattr(turns, "MOST_SECONDS", 5)
    program = f"import os, sys; open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid())); sys.stdin.read()"
    with pytest.raises(RuntimeError, match="has been silent for 5 seconds"):
        Trainer([sys.executable, "-c", program], threads=1, log=tmp_path / "log")
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


def test_processor_time_of_children_counts():
    """The child uses 0.2 s before it speaks; it is read in steps of 10 ms."""
    burn = "import time\nwhile time.process_time() < 0.2: pass\nprint(flush=True)\ninput()"
    before = measure.now()
    with subprocess.Popen([sys.executable, "-c", burn], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        child.stdout.readline()
        used = (measure.now() - before).cpu_seconds
        child.stdin.close()
    assert 0.19 <= used < 0.5


def test_a_peak_is_remembered_until_it_is_forgotten():
    """The block is mapped, since `malloc` may well have 64 MiB at hand that an earlier test has freed."""
    measure.forget_peak()
    before = measure.peak_bytes()
    with mmap.mmap(-1, 64 << 20) as block:
        block.write(b"\1" * len(block))
    assert measure.peak_bytes() - before >= 60 << 20
    measure.forget_peak()
    assert measure.peak_bytes() - before < 30 << 20


def test_spread_is_the_quartile_range_over_the_median():
    assert measure.spread([1.0, 2.0, 3.0, 4.0, 5.0]) == pytest.approx((4 - 2) / 3)
    assert measure.spread([7.0]) == 0


def test_a_figure_is_the_ratio_of_medians():
    """Ours 2, 3, 100 CPU s -> 3; TRL's 5, 6, 7 -> 6: half."""
    rows = [
        {"model": "m", "threads": 1, "side": side, "step_cpu": seconds}
        for side, taken in (("ours", (2.0, 100.0, 3.0)), ("trl", (7.0, 5.0, 6.0)))
        for seconds in taken
    ]
    found = step.figure_of(rows, "m", 1, "step CPU s")
    assert (found.ours, found.trl, found.ratio) == (3.0, 6.0, 0.5)


def test_a_table_is_aligned():
    assert table(["a", "n"], [["row", 1.5], ["b", 12345.6]]) == "a         n\nrow     1.5\nb    12,346"


@pytest.mark.parametrize("name", BENCHMARKS)
def test_every_benchmark_of_the_table_is_there(name):
    assert benchmark(name).measure


@pytest.mark.parametrize("name", KEPT)
def test_what_was_kept_can_be_told_and_drawn(name, tmp_path):
    rows = json.loads((FOLDER / f"{name}.json").read_text())["rows"]
    assert benchmark(name).told(rows) in (FOLDER / f"{name}.txt").read_text()
    benchmark(name).draw(rows, tmp_path / "plot.png")
    assert (tmp_path / "plot.png").stat().st_size > 5000


@pytest.mark.processes
def test_our_side_is_a_run_of_prorl_train_with_every_phase_in_it(tmp_path):
    small = workload.Workload(workload.MODELS["tiny"], prompts=2, samples=2, new_tokens=4)
    folder = workload.write(small, tmp_path / "work")
    sizes = Namespace(folder=folder, prompts=2, samples=2, new_tokens=4, threads=1, megatron={})
    assert ours.config_of(sizes, str(tmp_path)).sampling.drop_equal_groups is False
    selection = step.Selection(quick=True, steps=1, threads=(1,), megatron={}, peer_python=tmp_path)
    rows = step.in_turns("tiny", small, 1, selection, steps=0, sides=["ours"])
    assert rows[0]["response_tokens"] == 16
    assert all(rows[0][f"{phase}_cpu"] > 0 for phase in ("rollout", "logprobs", "update"))


def test_the_floor_of_logprobs_is_four_products_or_the_weights_traffic():
    """10 tokens x 4 x 100 numbers: 4 x 2 x 4,000 = 32,000 operations, and 400 x 14 = 5,600 bytes."""
    assert gpu.logprob_floor(10, 4, 100, flops=1000.0, bytes_a_second=1e9) == 32.0
    assert gpu.logprob_floor(10, 4, 100, flops=1e9, bytes_a_second=100.0) == 56.0


def test_the_shapes_that_gpus_are_measured_with_are_those_of_the_models():
    for shape, published in (("1.5b", QWEN_1_5B), ("7b", QWEN_7B)):
        assert gpu.SHAPES[shape].items() <= published.items()


@pytest.mark.processes
def test_what_is_measured_on_a_gpu_runs_on_a_cpu_in_small_and_is_told(tmp_path):
    rows = []
    for function, arguments in gpu.cases(quick=True):
        small = {**arguments, "device": "cpu", "tokens": 64, "repeats": 1}
        if "row_tokens" in small:
            small["row_tokens"] = min(small["row_tokens"], 64)
        (found,) = run_ranks(by_name, 1, function, small)
        rows.append({"case": function.__name__, **small, **found})
    assert all(0 < row["mfu"] < 1.5 and row["peak_bytes"] > 0 for row in rows[:-1])
    assert rows[-1]["seconds"] > rows[-1]["floor_seconds"] / 2
    assert "tiny, rows of 32" in gpu.told(rows)
    gpu.draw(rows, tmp_path / "plot.png")
    assert (tmp_path / "plot.png").stat().st_size > 5000


def by_name(function, arguments):
    return function(**arguments)
