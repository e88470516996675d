"""A run with everything that can be measured in it: sets, domains, shaping, a base model, alarms. Two data ranks."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.end_to_end.runs import finish, has_done, kill_when, records, settings, write_rows
from tests.telemetry.documented import described

pytestmark = [pytest.mark.end_to_end, pytest.mark.processes]

STAGE = "recipe.stages.quickstart"
EVERYTHING = (
    # Of the two ranks one may hold a step's only answers of a domain, and the other none.
    "+data.sources.digits={name: jsonl, path: '%s', weight: 0.3}",
    "+data.held_out.digits={name: jsonl, path: '%s', every_validations: 2, samples_per_prompt: 3, weight: 2.0}",
    "loss.advantage.name=group_mean_global_std",
    "loss.kl.base_every_steps=2",
    f"+{STAGE}.shaping.cut={{name: termination_penalty, penalty: 0.2}}",
    f"+{STAGE}.shaping.long={{name: soft_overlong, buffer_tokens: 6}}",
    f"+{STAGE}.shaping.cosine={{name: cosine_length, eta_min: 0.5, on_steps: 2, off_steps: 2}}",
    "alarms.missing_end.limit=0.01",
    "alarms.missing_end.steps=2",
)


def everything(model: Path, problems: Path, run_dir: Path) -> list[str]:
    train = write_rows(problems.with_name("digits.jsonl"), range(200, 203), domain="math", task="digits")
    held_out = write_rows(problems.with_name("digits_held_out.jsonl"), range(300, 303), domain="math", task="digits")
    return settings(model, problems, run_dir, EVERYTHING[0] % train, EVERYTHING[1] % held_out, *EVERYTHING[2:], steps=6)


def test_killed_and_resumed_everything_measured_is_the_same_and_described(
    model: Path, problems: Path, tmp_path: Path
) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    finish(everything(model, problems, whole), tmp_path / "logs_whole", ranks=2)
    arguments = everything(model, problems, broken)
    kill_when(arguments, tmp_path / "logs_broken", has_done(broken, 5), ranks=2)
    finish(arguments, tmp_path / "logs_resumed", ranks=2)
    for file in ("metrics.jsonl", "samples.jsonl", "validation_samples.jsonl"):
        assert records(broken, None, file) == records(whole, None, file), file

    steps = records(whole)
    # The reference is the base model up to the reset at step 3; measured is in steps 1, 3 and 5.
    assert [("kl/base" in step) for step in steps] == [True, False] * 3
    assert [step["kl/base"] == step["kl/reference"] for step in steps if "kl/base" in step] == [True, True, False]
    for step in steps:  # of two domains the mean lies between theirs; a domain that a step lacks isn't there
        parts = [value for name, value in step.items() if name.startswith("policy/") and name.endswith("/entropy")]
        parts.remove(step["policy/entropy"])
        assert parts and min(parts) - 1e-6 <= step["policy/entropy"] <= max(parts) + 1e-6
    assert {"policy/math/entropy", "kl/math/base", "shaping/cut/math/change_mean"} <= set().union(*steps)
    assert [step["shaping/cosine/change_mean"] > 0 for step in steps] == [True, True, False, False, True, True]
    assert all(step["shaping/cut/change_mean"] < 0 for step in steps)
    assert [record["name"] for record in records(whole, "alarm")] == ["missing_end"]
    ages = [record.get("validation/sets/digits/steps_old", 0) for record in records(whole, "validation")]
    assert ages == [0, 2, 0, 0]  # every second one, and the last

    unknown = set().union(*records(whole, None)) - {"step", "kind", "note", "name"}
    timings = set().union(*(json.loads(line) for line in (whole / "metrics.jsonl").read_text().splitlines()))
    unknown |= {name for name in timings if name.startswith("time/")}
    patterns = described()
    assert not sorted(name for name in unknown if not any(p.fullmatch(name) for p in patterns)), "see docs/metrics.md"
