"""`prorl doctor rollout`: an engine that is right passes; one that isn't fails with what to do."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from nemo_prorl.cli import main
from nemo_prorl.data.sampling import SamplingParams
from nemo_prorl.errors import ConfigError, RolloutError
from nemo_prorl.rollout.checkup import Checkup, Trainer
from nemo_prorl.rollout.copies import IMPROBABLE, log_chance_of_copies
from nemo_prorl.rollout.findings import memory_finding
from nemo_prorl.rollout.scripted_engine import ScriptedEngine
from tests.end_to_end.conftest import make_babbler
from tests.end_to_end.forked import Forked
from tests.rollout.completions_server import completions_server
from tests.rollout.stand_ins import byte_tokenizer, on_ranks, prompt
from tests.rollout.trtllm_double import doubled
from tests.rollout.trtllm_double.asked import events

FAILED = RolloutError.exit_code
EVERYTHING = ["refit", "speed", "logprobs", "greedy", "seeds", "repeats", "end token", "long prompt", "memory", "wake"]
EVERYTHING += ["sleep", "stale weights", "second refit", "after refit"]
ON_THE_DOUBLE = ("rollout=tensorrt_llm", "rollout.dtype=fp32", "rollout.max_sequence_tokens=256")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_babbler(tmp_path_factory.mktemp("model") / "babbler")


def arguments(model: Path, *more: str) -> list[str]:
    return ["doctor", "rollout", "recipe=quickstart", f"model.path={model}", *more, "--response-tokens", "24"]


def looked_over(capsys: pytest.CaptureFixture[str], model: Path, *more: str) -> tuple[int, dict[str, dict[str, str]]]:
    """The exit code, and findings by name."""
    exit_code = main([*arguments(model, *more), "--json"])
    said = json.loads(capsys.readouterr().out)
    assert said["good"] == (exit_code == 0)
    return exit_code, {finding["name"]: finding for finding in said["findings"]}


def failed(findings: dict[str, dict[str, str]]) -> list[str]:
    return [name for name, finding in findings.items() if finding["state"] == "failed"]


def test_the_default_engine_passes_every_check(model, capsys):
    assert main(arguments(model)) == 0
    told = capsys.readouterr().out
    lines = [line[:13].strip() for line in told.splitlines() if line[15:21].strip() in ("good", "unseen")]
    assert lines == EVERYTHING
    assert "token mult. prob. error 1.0000" in told and "tokens/s" in told
    assert "samples the policy that would be trained" in told


def test_tensorrt_llm_on_the_double_passes_and_lends_its_memory(model, capsys):
    with doubled():
        exit_code, findings = looked_over(capsys, model, *ON_THE_DOUBLE)
        happened = [event for event in events() if "kv_cache" in event]
        assert happened == ["free kv_cache", "take kv_cache"] * 2  # until its first weights come, too
    assert exit_code == 0 and list(findings) == EVERYTHING
    assert all(findings[name]["state"] == "good" for name in EVERYTHING if name != "memory")


def test_an_engine_that_knows_logprobs_at_temperature_1_alone_is_compared_there(model, capsys):
    """TorchSampler of 1.2, which knows none at the recipe's temperature, 1.2."""
    with doubled():
        sampler = ("rollout.sampler=TorchSampler", "recipe.stages.quickstart.temperature=1.2")
        exit_code, findings = looked_over(capsys, model, *ON_THE_DOUBLE, *sampler)
    assert exit_code == 0
    for name in ("logprobs", "long prompt", "stale weights", "after refit"):
        assert findings[name]["state"] == "good"
    assert "at temperature 1, for want of logprobs at the run's" in findings["logprobs"]["said"]
    assert findings["greedy"]["state"] == "good"
    assert findings["repeats"]["state"] == "unseen"  # it draws from one stream for all


def test_an_engine_without_logprobs_on_one_rank_is_told_as_unseen_on_all():
    """Scoring is collective: a rank that went there alone would wait for the others."""
    trainer = Trainer(
        score=lambda batch: torch.zeros(batch.tokens_BS[:, 1:].shape), weights=dict, change=lambda by: None
    )
    sampling = SamplingParams(2, max_response_tokens=4, context_tokens=64, temperature=1.2)

    class Told(ScriptedEngine):
        def generate(self, prompts, sampling):
            for given in super().generate(prompts, sampling):
                logprobs = np.full(given.completion.length, -1.0, dtype=np.float32)
                yield given._replace(completion=replace(given.completion, logprobs=logprobs))

    def found(world):
        engine = (ScriptedEngine if world.rank else Told)(None, byte_tokenizer(), answer=lambda *_: "1")
        checkup = Checkup(
            engine,
            trainer,
            world,
            prompts=[prompt("0")],
            sampling=sampling,
            stop_ids=byte_tokenizer().stop_ids,
            limit=2,
        )
        return {finding.name: finding.state for finding in checkup.run()}

    of_ranks = on_ranks(2, found)
    assert of_ranks[0] == of_ranks[1]
    assert of_ranks[0]["logprobs"] == of_ranks[0]["long prompt"] == "unseen"


def test_memory_that_does_not_come_back_is_told_with_what_to_lower():
    assert memory_finding(3 << 30, 2 << 30).said == "3.0 GiB of the GPU in use, 2.0 GiB after a release"
    assert memory_finding(3 << 30, 2 << 30).state == "good"
    kept = memory_finding(3 << 30, 3 << 30)
    assert kept.state == "unseen" and "rollout.kv_cache_tokens" in kept.said


def test_a_tensor_that_never_arrives_fails_with_advice(model, capsys):
    """A model that babbles hardly notices it, so the limit is a strict one."""
    forgetful = ("rollout.name=tests.end_to_end.plugins:Forgetful", "gate.limit=1.001")
    exit_code, findings = looked_over(capsys, model, *forgetful)
    assert exit_code == FAILED
    assert failed(findings) == ["after refit"]  # it takes the tensor at its first refit, and never again
    assert "weights or positions differ" in findings["after refit"]["advice"]


def test_samples_that_are_copies_fail_with_advice(model, capsys):
    exit_code, findings = looked_over(capsys, model, "rollout.name=tests.end_to_end.plugins:Copying")
    assert exit_code == FAILED and failed(findings) == ["seeds"]
    assert "4 of 32 samples differ" in findings["seeds"]["said"]
    assert "share a random stream" in findings["seeds"]["advice"]


def test_a_server_is_compared_with_the_folder_that_it_should_serve(model, tmp_path, capsys):
    """The second one serves other weights under the same name."""
    weights = load_file(model / "model.safetensors")
    other = make_babbler(tmp_path / "babbler")
    save_file({name: 3 * tensor for name, tensor in weights.items()}, other / "model.safetensors", {"format": "pt"})
    one = ["rollout=openai", "recipe.stages.quickstart.temperature=1"]
    with doubled():
        with completions_server(model) as server:
            exit_code, findings = looked_over(capsys, model, *one, f"rollout.base_url={server.url}")
        assert exit_code == 0 and findings["refit"]["state"] == "unseen" and findings["logprobs"]["state"] == "good"
        with completions_server(other) as server:
            exit_code, findings = looked_over(capsys, model, *one, f"rollout.base_url={server.url}")
        assert exit_code == FAILED and {"logprobs", "greedy", "long prompt"} <= set(failed(findings))


@pytest.mark.processes
def test_a_trainer_of_two_tensor_parallel_ranks_is_looked_over_as_one(model, tmp_path):
    with Forked(arguments(model, "megatron.tensor_parallel_size=2"), tmp_path, ranks=2) as run:
        assert run.wait() == [0, 0], run.output()
        assert run.output().count("token mult. prob. error 1.0000") == 3  # told once, by the main rank


def test_what_cannot_be_asked_is_refused(model, capsys):
    assert main([*arguments(model), "--samples", "1"]) == ConfigError.exit_code
    assert main(arguments(model, "rollout=tensorrt_llm")) == FAILED  # it isn't installed
    assert "can't be imported" in capsys.readouterr().err


def test_a_dry_run_builds_nothing(capsys):
    assert main(["doctor", "--dry-run", "rollout", "model.path=nowhere"]) == 0
    assert "would build trainer and rollout engine" in capsys.readouterr().out


def test_the_chance_of_copies_is_bounded_by_their_number_and_probability():
    """Three of four equal, p = e^-10 each: C(4, 3) p^2, so log 4 - 20."""
    copy, other = ((1, 2), -10.0), ((3,), -1.0)
    assert log_chance_of_copies([copy, copy, copy, other]) == pytest.approx(math.log(4) - 20)
    assert log_chance_of_copies([copy, copy, copy, other]) < IMPROBABLE
    assert log_chance_of_copies([copy, other]) == 0.0


def test_likely_answers_may_well_be_equal():
    """p = 0.9 each: two of two are equal more often than not, log 1 + log 0.9."""
    likely = ((7,), math.log(0.9))
    assert log_chance_of_copies([likely, likely]) == pytest.approx(math.log(0.9))
