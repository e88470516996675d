"""A run's folder as a training leaves it: small numbers that tests can say by heart."""

import json
import time
from pathlib import Path

from nemo_prorl.data.prompt import DOMAINS

STARTED = 1_795_000_000.0
HOSTILE = (
    "</script><script>window.hacked = 1</script><img src=x onerror='window.hacked = 2'>",
    "\u202eright to left\u202c \u05e9\u05dc\u05d5\u05dd \u0645\u0631\u062d\u0628\u0627",
    "<!-- <script> --> ]]> ${7*7} \x00\x07\x1b[31m \u2028 \ud800",
    "&lt;b&gt; is not <b>bold</b>",
)


def write_run(folder: Path, *, steps: int = 40, state: str = "finished", samples: int = 90) -> Path:
    """Two stages of half the steps each, a reset between them, an alarm at step 7, a restart at step 31 of 40."""
    folder.mkdir(parents=True, exist_ok=True)
    records = [record for step in range(steps + 1) for record in records_of(step, steps)]
    _write_lines(folder / "metrics.jsonl", records)
    _write_lines(folder / "samples.jsonl", [sample(number, steps, samples) for number in range(samples)])
    _write_lines(folder / "validation_samples.jsonl", [{**sample(0, steps, 1), "step": 10, "set": "exam"}])
    write_status(folder, step=steps, steps=steps, state=state)
    for number, (start, how) in enumerate(((0, "lost"), (30, state)), start=1):
        attempt = folder / "attempts" / f"{number:04d}"
        attempt.mkdir(parents=True, exist_ok=True)
        told = {"state": how, "host": f"node{number}", "started_unix_seconds": STARTED + 10 * start + 5}
        (attempt / "attempt.json").write_text(json.dumps(told))
    (folder / "config.yaml").write_text("optimizer:\n  lr: 2.0e-06\n")
    return folder


def write_status(folder: Path, *, step: int, steps: int, state: str) -> None:
    told = {
        "state": state,
        "phase": "rollout",
        "step": step,
        "steps": steps,
        "stage": "second",
        "reason": "all steps are done",
    }
    (folder / "status.json").write_text(json.dumps({**told, "heartbeat_unix_seconds": time.time()}))


def records_of(step: int, steps: int) -> list[dict]:
    clock = {"time/unix_seconds": STARTED + 10 * step}
    found: list[dict] = []
    if step:
        domains = {f"reward/{name}/sampled_mean": (step + place) / (steps + 5) for place, name in enumerate(DOMAINS)}
        found.append({
            "step": step, "kind": "train", "note": "first" if step <= steps // 2 else "second", **clock, **domains,
            "reward/sampled_mean": step / steps, "policy/entropy": 1.0 / step, "kl/reference": 0.01 * (step % 20),
            "rollout/response_tokens_mean": 100.0 + step, "time/step_seconds": 5.0, "verifier/math/verdicts": 8.0,
            "strange/metric": -step / 4,
        })  # fmt: skip
    if step % 10 == 0:
        places = ("all", "sets/exam", "sets/other", "domains/logic", "domains/math", "lcm", "bits")
        scores = {f"validation/{place}/{name}": value for place in places for name, value in scores_at(step).items()}
        found.append({"step": step, "kind": "validation", **clock, **scores})
    if step == 7:
        alarm = {"alarm/entropy_collapse/value": 0.04, "alarm/entropy_collapse/limit": 0.05}
        found.append(
            {"step": 7, "kind": "alarm", "name": "entropy_collapse", "note": "raise clip_high", **clock, **alarm}
        )
    if step == steps // 2:
        found.append({"step": step, "kind": "reset", "note": "a stage begins", **clock, "reset/kl_before": 0.19})
    return found


def scores_at(step: int) -> dict[str, float]:
    known = {"score": 0.1 + step / 100, "pass_at_1": 0.1 + step / 100, "pass_at_16": 0.5}
    return known | {f"{name}_standard_error": 0.02 for name in known}


def sample(number: int, steps: int, samples: int) -> dict:
    """The first ones are hostile; then domains in turn, every third one right."""
    text = HOSTILE[number] if number < len(HOSTILE) else f"answer {number}, I think"
    right = number % 3 == 0
    return {
        "step": 1 + number * steps // samples,
        "uid": f"problem-{number}",
        "domain": DOMAINS[number % 5],
        "task": "sums",
        "prompt": f"question {number}: {text}",
        "response": text,
        "reward": float(right),
        "shaped_reward": float(right),
        "outcome": "no_answer" if number % 10 == 1 else "scored",
        "reason": text,
        "finish_reason": "stop",
        "prompt_tokens": 5,
        "response_tokens": 10 + number,
    }


def _write_lines(path: Path, records: list[dict]) -> None:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
