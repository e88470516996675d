"""Logprobs and entropy from hidden states, forward and backward: ours against log_softmax over whole logits.

Each case runs in a process of its own. The naive form is kept as lean as it can be written: the entropy is taken
without gradients, since the objective has none through it, and logits are freed as soon as autograd allows. Megatron's
two cross entropies take whole logits as well, and give no entropy; the fused one is compiled, by torch.compile.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from shutil import which

import torch
from torch import Tensor

from benchmarks.apart import apart, costs
from benchmarks.measure import MEBIBYTE
from benchmarks.results import Benchmark, Row, Selection, table
from nemo_prorl.config.schema import MegatronConfig
from nemo_prorl.megatron.runtime import Runtime
from nemo_prorl.megatron.vocab_parallel import logprobs_and_entropies

HIDDEN = 256
CASES = [(512, 4096), (2048, 4096), (512, 32_768), (2048, 32_768), (512, 151_936)]  # tokens x vocabulary
MADE_FOR = (2048, 32_768)  # the case that the goals speak of
Scores = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]


def ours(hidden_NH: Tensor, weight_VH: Tensor, targets_N: Tensor) -> tuple[Tensor, Tensor]:
    return logprobs_and_entropies(
        hidden_NH, weight_VH, targets_N, temperature=1.0, vocab_size=len(weight_VH), group=None
    )


def naive(hidden_NH: Tensor, weight_VH: Tensor, targets_N: Tensor) -> tuple[Tensor, Tensor]:
    log_p_NV = torch.log_softmax(hidden_NH @ weight_VH.t(), dim=-1)
    with torch.no_grad():
        entropies_N = -torch.linalg.vecdot(log_p_NV.exp(), log_p_NV)
    return log_p_NV.gather(1, targets_N[:, None])[:, 0], entropies_N


def megatron(hidden_NH: Tensor, weight_VH: Tensor, targets_N: Tensor) -> tuple[Tensor, Tensor]:
    from megatron.core.tensor_parallel import vocab_parallel_cross_entropy

    losses_N1 = vocab_parallel_cross_entropy((hidden_NH @ weight_VH.t())[:, None], targets_N[:, None])
    return -losses_N1[:, 0], torch.zeros(())


def megatron_fused(hidden_NH: Tensor, weight_VH: Tensor, targets_N: Tensor) -> tuple[Tensor, Tensor]:
    from megatron.core import parallel_state
    from megatron.core.fusions.fused_cross_entropy import fused_vocab_parallel_cross_entropy

    losses_N1 = fused_vocab_parallel_cross_entropy(
        (hidden_NH @ weight_VH.t())[:, None], targets_N[:, None], parallel_state.get_tensor_model_parallel_group()
    )
    return -losses_N1[:, 0], torch.zeros(())


FORMS: dict[str, Scores] = {"ours": ours, "naive": naive, "Megatron's": megatron, "Megatron's, fused": megatron_fused}


def forward_and_backward(form: str, tokens: int, vocabulary: int, repeats: int) -> dict[str, float]:
    """Runs in its own process."""
    with Runtime.start(MegatronConfig(device="cpu"), seed=0, torch_threads=1):
        work = _problem(form, tokens, vocabulary)
        work()  # what libraries need for themselves, and what is compiled for these sizes
        found = costs(work, repeats=repeats)
        mean_logprob, mean_entropy = work()
    return {**found, "mean_logprob": mean_logprob, "mean_entropy": mean_entropy}


def _problem(form: str, tokens: int, vocabulary: int) -> Callable[[], tuple[float, float]]:
    """Gradients have their places already, as in training: ours are added to Megatron's `main_grad`."""
    generator = torch.Generator().manual_seed(0)
    hidden_NH = torch.randn(tokens, HIDDEN, generator=generator).requires_grad_()
    weight_VH = (torch.randn(vocabulary, HIDDEN, generator=generator) * 0.05).requires_grad_()
    targets_N = torch.randint(vocabulary, (tokens,), generator=generator)
    hidden_NH.grad = torch.zeros_like(hidden_NH)
    setattr(weight_VH, "main_grad" if form == "ours" else "grad", torch.zeros_like(weight_VH))

    def work() -> tuple[float, float]:
        logprobs_N, entropies_N = FORMS[form](hidden_NH, weight_VH, targets_N)
        logprobs_N.sum().backward()
        return float(logprobs_N.detach().mean()), float(entropies_N.detach().mean())

    return work


def measure(selection: Selection) -> list[Row]:
    """A row for each form of each case: the extra memory of a call, and the fastest of a few."""
    cases = CASES[:2] if selection.quick else CASES
    return [
        {"tokens": tokens, "vocabulary": vocabulary, "form": form, **found}
        for tokens, vocabulary in cases
        for form in FORMS
        if form != "Megatron's, fused" or which("g++")
        for found in [apart(forward_and_backward, form=form, tokens=tokens, vocabulary=vocabulary, repeats=4)]
    ]


def told(rows: Sequence[Row]) -> str:
    lines = []
    for case, by_form in _cases(rows).items():
        other = by_form["naive"]
        for form, own in by_form.items():
            memory, seconds = own["extra_bytes"] / other["extra_bytes"], own["cpu_seconds"] / other["cpu_seconds"]
            goal = "memory <= 0.15, time <= 1.3" if (case, form) == (MADE_FOR, "ours") else ""
            size = f"{case[0]:,} x {case[1]:,}"
            lines.append([size, form, own["extra_bytes"] / MEBIBYTE, memory, own["cpu_seconds"], seconds, goal])
    header = ["tokens x vocabulary", "form", "extra MiB", "of naive's", "CPU s", "of naive's", "goal"]
    return table(header, lines)


def draw(rows: Sequence[Row], path: Path) -> None:
    from matplotlib.figure import Figure

    cases = _cases(rows)
    labels = [f"{tokens:,} x\n{vocabulary:,}" for tokens, vocabulary in cases]
    colours = dict(zip(FORMS, ("#4477aa", "#999999", "#ddaa33", "#bb5566"), strict=True))
    figure = Figure(figsize=(9, 3.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    for axes, key, scale, title in (
        (left, "extra_bytes", MEBIBYTE, "peak extra memory, MiB"),
        (right, "cpu_seconds", 1.0, "CPU seconds, forward and backward"),
    ):
        for form in next(iter(cases.values())):
            values = [by_form[form][key] / scale for by_form in cases.values()]
            axes.plot(range(len(cases)), values, "o", color=colours[form], label=form)
        axes.set_yscale("log")
        axes.grid(axis="y", alpha=0.3)
        axes.set_xticks(range(len(cases)), labels, fontsize=8)
        axes.set_title(title, fontsize=10)
        axes.spines[["top", "right"]].set_visible(False)
    left.set_xlabel("tokens x vocabulary")
    left.legend(frameon=False)
    figure.savefig(path, dpi=120)


def _cases(rows: Sequence[Row]) -> dict[tuple[int, int], dict[str, Row]]:
    """By (tokens, vocabulary), and by form."""
    found: dict[tuple[int, int], dict[str, Row]] = {}
    for row in rows:
        found.setdefault((row["tokens"], row["vocabulary"]), {})[row["form"]] = row
    return found


LOGPROBS = Benchmark(measure, told, draw)
