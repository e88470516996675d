"""`python -m benchmarks.quality [rows]`: what each quality pass costs, in processor seconds of all processes.

Rows are problems of 20 to 120 words; one in twenty nearly repeats another, and one in a thousand an evaluation problem.
What is found is counted as well: it must be all of them. `results/quality.json` has seconds by pass, and what 136,000
rows, the paper's data, would take at that rate.
"""

from __future__ import annotations

import json
import random
import sys
from collections import Counter
from typing import Any

from benchmarks.machine import machine
from benchmarks.measure import now
from benchmarks.results import FOLDER, table
from nemo_prorl.data.prompt import Row
from nemo_prorl.data.quality.answers import OwnReference, Verifiable
from nemo_prorl.data.quality.contamination import Contamination
from nemo_prorl.data.quality.duplicates import ExactDuplicates, NearDuplicates
from nemo_prorl.data.quality.length import PromptLength
from nemo_prorl.data.tokenizer import Tokenizer
from nemo_prorl.quickstart.tiny_model import make_tokenizer
from nemo_prorl.verifiers.pool import VerifierPool
from nemo_prorl.verifiers.rows import RowJudge

PAPER_ROWS = 136_000
EVALUATION_PROBLEMS = 3_500  # of all published sets together
ASKED_ROWS = 2_000  # that verifiers are asked about


def main() -> None:
    count = int(sys.argv[1]) if sys.argv[1:] else 20_000
    rng = random.Random(0)
    evaluation = [_row(rng, f"asked-{i}") for i in range(EVALUATION_PROBLEMS)]
    rows = _rows(rng, count, evaluation)
    backend = make_tokenizer()
    tokenizer = Tokenizer(backend, [backend.eos_token_id])
    with VerifierPool(workers=2, deadline_seconds=10.0, max_error_rate=1.0, min_verdicts_to_judge=1) as pool:
        judge = RowJudge(pool)
        begun = now()
        contamination = Contamination(("set", row) for row in evaluation)
        knowing = now() - begun
        passes: list[tuple[Any, list[Row]]] = [
            (ExactDuplicates(), rows),
            (NearDuplicates(), rows),
            (contamination, rows),
            (PromptLength(lambda row: len(tokenizer.render(row.messages)), max_prompt_tokens=8192), rows),
            (Verifiable(judge.objection), rows[:ASKED_ROWS]),
            (OwnReference(judge), rows[:ASKED_ROWS]),
        ]
        found = [_measured(one, given) for one, given in passes]
    told = [(one["name"], one["rows"], one["found"], one["cpu_us_a_row"], one["cpu_s_for_paper"]) for one in found]
    print(table(("pass", "rows", "rejected", "CPU us a row", "CPU s for 136k rows"), told))
    print(f"\nknowing {EVALUATION_PROBLEMS:,} evaluation problems: {knowing.cpu_seconds:.1f} CPU s")
    FOLDER.mkdir(exist_ok=True)
    record = {"passes": found, "evaluation_cpu_s": knowing.cpu_seconds, "machine": machine()}
    (FOLDER / "quality.json").write_text(json.dumps(record, indent=1) + "\n")


def _measured(one: Any, rows: list[Row]) -> dict[str, Any]:
    begun = now()
    if hasattr(one, "prepare"):
        one.prepare(iter(rows))
    reasons = Counter(reason.partition(":")[0] for row in rows if (reason := one.judge(row)) is not None)
    cost = (now() - begun).cpu_seconds
    return {
        "name": one.name,
        "rows": len(rows),
        "found": reasons.total(),
        "cpu_us_a_row": cost / len(rows) * 1e6,
        "cpu_s_for_paper": cost / len(rows) * PAPER_ROWS,
    }


def _rows(rng: random.Random, count: int, evaluation: list[Row]) -> list[Row]:
    rows: list[Row] = []
    for number in range(count):
        row = _row(rng, f"row-{number}")
        if number % 20 == 19:
            row = _with(row, rows[-7].messages[0]["content"] + " Justify the answer.")
        if number % 1000 == 999:
            row = _with(row, "In other words: " + rng.choice(evaluation).messages[0]["content"])
        rows.append(row)
    return rows


_WORDS = [
    f"{a}{b}{c}" for a in "bdfgklmnprst" for b in ("a", "e", "i", "o", "u") for c in ("l", "n", "r", "s", "st", "m")
]


def _row(rng: random.Random, uid: str) -> Row:
    words = rng.choices(_WORDS, k=rng.randint(20, 120))
    return _with(
        Row(uid, "math", "task", "source", (), "math", {"answer": f"{rng.randrange(10**6)}/7"}), " ".join(words)
    )


def _with(row: Row, question: str) -> Row:
    messages = ({"role": "user", "content": question},)
    return Row(row.uid, row.domain, row.task, row.source, messages, row.verifier, row.reference)


if __name__ == "__main__":
    main()
