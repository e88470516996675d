"""`python -m benchmarks.mixture [rows]`: what it costs to start and to draw from a large file of problems.

Writes a file of short problems, has it indexed once, and measures in fresh processes what every later start costs: the
time until the mixture stands, its memory beyond that of the loaded libraries, and how long a training step waits for
its prompts, on the wall and in processor time of the thread that waits; `results/mixture.json`.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from benchmarks.machine import machine
from benchmarks.measure import MEBIBYTE, resident_bytes
from benchmarks.results import FOLDER
from nemo_prorl.data.mixture import Avoidance, Mixture
from nemo_prorl.data.sources.jsonl import JsonlSource
from nemo_prorl.data.tokenizer import Tokenizer
from nemo_prorl.quickstart.tiny_model import make_tokenizer

PROMPTS = 256  # the paper's step
STEPS = 20


def main() -> None:
    if sys.argv[1:2] == ["--open"]:
        print(json.dumps(opened(sys.argv[2])))
        return
    rows = int(sys.argv[1]) if sys.argv[1:] else 1_000_000
    with TemporaryDirectory() as folder:
        path = str(Path(folder) / "problems.jsonl")
        write(path, rows)
        began = time.perf_counter()
        JsonlSource("file", path=path, domain="math")
        indexing = time.perf_counter() - began
        command = [sys.executable, "-m", "benchmarks.mixture", "--open", path]
        starts = [json.loads(subprocess.run(command, check=True, capture_output=True).stdout) for _ in range(3)]
        size = Path(path).stat().st_size
    found = {name: median(start[name] for start in starts) for name in starts[0]}
    record = {"rows": rows, "file_mib": size / MEBIBYTE, "indexing_seconds": indexing, **found, "machine": machine()}
    FOLDER.mkdir(exist_ok=True)
    (FOLDER / "mixture.json").write_text(json.dumps(record, indent=1) + "\n")
    for name, value in record.items():
        if name != "machine":
            print(f"{name:>28}  {value:,.2f}")


def write(path: str, rows: int) -> None:
    """Problems of some forty words, of three domains."""
    rng = random.Random(0)
    words = [f"word{i}" for i in range(2000)]
    with open(path, "w") as file:
        for number in range(rows):
            problem = " ".join(rng.choices(words, k=40))
            domain = ("math", "stem", "code")[number % 3]
            row = {"uid": f"row-{number}", "problem": problem, "answer": str(number), "domain": domain}
            file.write(json.dumps(row) + "\n")


def opened(path: str) -> dict[str, float]:
    """Start as a run does, draw, and observe; half of what is observed is solved and avoided from then on."""
    backend = make_tokenizer()
    tokenizer = Tokenizer(backend, [backend.eos_token_id])
    tokenizer.render([{"role": "user", "content": "the first time a template is used, it is compiled"}])
    before = resident_bytes()
    began = time.perf_counter()
    with ThreadPoolExecutor(1) as executor:
        settings: dict[str, Any] = {"avoidance": Avoidance(solved_at=1.0, min_samples=16), "executor": executor}
        source = JsonlSource("file", path=path)
        mixture = Mixture({"file": (source, 1.0)}, tokenizer, seed=0, max_prompt_tokens=4096, **settings)
        start = time.perf_counter() - began
        first = _timed(lambda: mixture.draw(PROMPTS))
        waits, busy = [], []
        for _ in range(STEPS):
            mixture.ahead.wait()  # as sampling and training take far longer than reading ahead
            drawn: list[Any] = []
            waits.append(_timed(lambda drawn=drawn: drawn.extend(mixture.draw(PROMPTS))))
            mixture.observe((prompt.uid, [float(i % 2)] * 16) for i, prompt in enumerate(drawn))
        for _ in range(STEPS):
            busy.append(_timed(lambda: mixture.draw(PROMPTS)))
        saving = _timed(mixture.state_dict)
    return {
        "start_seconds": start,
        "memory_mib": (resident_bytes() - before) / MEBIBYTE,
        "first_draw_ms": first.wall_ms,
        "next_draw_ms": median(wait.wall_ms for wait in waits),
        "next_draw_cpu_ms": median(wait.cpu_ms for wait in waits),
        "draw_without_pause_ms": median(wait.wall_ms for wait in busy),
        "draw_without_pause_cpu_ms": median(wait.cpu_ms for wait in busy),
        "state_dict_ms": saving.wall_ms,
    }


class Timed(NamedTuple):
    wall_ms: float
    cpu_ms: float


def _timed(work: Callable[[], Any]) -> Timed:
    wall, cpu = time.perf_counter(), time.thread_time()
    work()
    return Timed((time.perf_counter() - wall) * 1e3, (time.thread_time() - cpu) * 1e3)


if __name__ == "__main__":
    main()
