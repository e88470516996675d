"""`make bench`: what a step costs, phase by phase.

One process, one torch thread, models of random weights. CPU seconds are of this process alone and say more than wall
seconds on a machine that does other things too; compare figures of one run with each other, not across machines.
"""

from __future__ import annotations

import json
import platform
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import torch

from nemo_prorl.algorithm.reduction import Mean, Metric, token_mean
from nemo_prorl.config.schema import MegatronConfig, OptimizerConfig
from nemo_prorl.data.prompt import Prompt
from nemo_prorl.data.sampling import SamplingParams
from nemo_prorl.data.tokenizer import Tokenizer
from nemo_prorl.megatron.model import build_model
from nemo_prorl.megatron.optimizer import PolicyOptimizer
from nemo_prorl.megatron.runtime import Runtime
from nemo_prorl.megatron.schedule import Schedule, TokenRows, TokenScores
from nemo_prorl.megatron.weights import export_weights, load_weights
from nemo_prorl.quickstart.tiny_model import make_tiny_model
from nemo_prorl.rollout.transformers_engine import TransformersEngine
from nemo_prorl.weights.architecture import Architecture
from nemo_prorl.weights.hf_folder import TensorReader

SIZES = {
    "tiny": {"hidden_size": 96, "layers": 4, "heads": 4, "kv_heads": 2, "ffn_size": 288},
    "small": {"hidden_size": 256, "layers": 6, "heads": 8, "kv_heads": 4, "ffn_size": 768},
}
PROMPTS, SAMPLES, RESPONSE_TOKENS, REPEATS = 8, 8, 96, 5
RESULTS = Path(__file__).parent / "results" / "step.json"


def main() -> None:
    results = {name: phases_of(sizes) for name, sizes in SIZES.items()}
    print(f"{'model':8}{'phase':12}{'CPU s':>9}{'wall s':>9}{'tokens/CPU s':>15}")
    for name, phases in results.items():
        for phase, figures in phases.items():
            print(
                f"{name:8}{phase:12}{figures['cpu_seconds']:9.3f}{figures['wall_seconds']:9.3f}"
                f"{figures['tokens_per_cpu_second']:15,.0f}"
            )
    RESULTS.parent.mkdir(exist_ok=True)
    machine = {"machine": platform.machine(), "python": platform.python_version(), "torch": torch.__version__}
    RESULTS.write_text(json.dumps({"machine": machine, "results": results}, indent=1) + "\n")
    print(f"written to {RESULTS}")


def phases_of(sizes: dict[str, int]) -> dict[str, dict[str, float]]:
    """Medians over `REPEATS`, after one run to warm up, of a step with `PROMPTS` x `SAMPLES` responses."""
    with tempfile.TemporaryDirectory() as name:
        folder = make_tiny_model(Path(name) / "model", seed=0, **sizes)
        tokenizer, architecture = Tokenizer.load(folder), Architecture.read(folder)
        config = MegatronConfig(device="auto", sequences_per_microbatch=16)
        with Runtime.start(config, seed=0, torch_threads=1) as runtime:
            model = build_model(architecture, config, runtime)
            with TensorReader(folder) as reader:
                load_weights(model, reader)
            schedule = Schedule(model, runtime)
            optimizer = PolicyOptimizer(model, OptimizerConfig(lr=1e-6), total_steps=1000)
            engine = TransformersEngine(folder, tokenizer, runtime.device)
            prompts = _prompts(tokenizer)
            prompt_tokens = len(prompts[0].token_ids)
            rows = _rows(architecture, prompt_tokens)
            scored_BT = rows.scored_BT

            def loss(scores: TokenScores, indices: torch.Tensor) -> tuple[Mean, dict[str, Metric]]:
                return token_mean(-scores.logprobs_BT, scored_BT[indices, : scores.logprobs_BT.shape[1]]), {}

            def update() -> int:
                optimizer.zero_grad()
                schedule.train(rows, 1.2, loss)
                optimizer.step()
                return int(rows.lengths_B.sum())

            def refit() -> int:
                engine.load_weights(export_weights(model))
                return architecture.parameter_count

            def rollout() -> int:
                sampling = SamplingParams(SAMPLES, RESPONSE_TOKENS, 1024, temperature=1.2, seed=1)
                return sum(len(found.completion.token_ids) for found in engine.generate(prompts, sampling))

            def score() -> int:
                schedule.score(rows, 1.2)
                return int(rows.lengths_B.sum())

            phases: dict[str, Callable[[], int]] = {
                "refit": refit,
                "rollout": rollout,
                "logprobs": score,
                "update": update,
            }
            return {phase: _timed(work) for phase, work in phases.items()}


def _prompts(tokenizer: Tokenizer) -> list[Prompt]:
    messages = ({"role": "user", "content": "Find the Least Common Multiple (LCM) of these numbers: 8, 12"},)
    tokens = tuple(tokenizer.render(messages))
    return [
        Prompt(f"prompt-{number}", "logic", "lcm", "benchmark", messages, tokens, "logic", {})
        for number in range(PROMPTS)
    ]


def _rows(architecture: Architecture, prompt_tokens: int) -> TokenRows:
    """Responses of uneven length, as real ones are: uniform from an eighth of the limit to the limit."""
    generator = torch.Generator().manual_seed(0)
    count = PROMPTS * SAMPLES
    responses_B = torch.randint(RESPONSE_TOKENS // 8, RESPONSE_TOKENS + 1, (count,), generator=generator)
    lengths_B = responses_B + prompt_tokens
    tokens_BS = torch.randint(0, architecture.vocab_size, (count, int(lengths_B.max())), generator=generator)
    return TokenRows(tokens_BS, lengths_B, torch.full((count,), prompt_tokens))


def _timed(work: Callable[[], int]) -> dict[str, Any]:
    work()
    cpu, wall = [], []
    for _ in range(REPEATS):
        before = time.process_time(), time.perf_counter()
        tokens = work()
        cpu.append(time.process_time() - before[0])
        wall.append(time.perf_counter() - before[1])
    return {
        "cpu_seconds": median(cpu),
        "wall_seconds": median(wall),
        "tokens_per_cpu_second": tokens / median(cpu),
    }


if __name__ == "__main__":
    main()
