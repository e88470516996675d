"""`python -m benchmarks.studies [kl resets rules clip]`: trains what is missing, then writes figures and pictures."""

from __future__ import annotations

import argparse
import json
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.machine import in_a_line, machine
from benchmarks.results import FOLDER
from benchmarks.studies import told
from benchmarks.studies.arms import STUDIES
from benchmarks.studies.runs import history, train


def main() -> None:
    options = _options()
    chosen = options.names or list(STUDIES)
    seeds = range(options.seeds)
    arms = {arm.folder: arm for name in chosen for arm in STUDIES[name].arms}
    train(options.folder, arms.values(), seeds, processes=options.processes)
    for name in chosen:
        study = STUDIES[name]
        runs = {arm.name: [history(options.folder, arm, seed) for seed in seeds] for arm in study.arms}
        rows = told.figures(runs)
        record = {
            "measured": datetime.now(UTC).isoformat(timespec="seconds"),
            "machine": machine(),
            "question": study.question,
            "overrides": {arm.name: arm.overrides for arm in study.arms},
            "rows": rows,
        }
        path = FOLDER / f"study_{name}.json"
        path.write_text(json.dumps(record, indent=1) + "\n")
        told.draw(path.with_suffix(".png"), study, runs)
        text = f"{study.question} {len(seeds)} seeds, on {in_a_line(machine())}\n\n{told.table(rows)}\n"
        path.with_suffix(".txt").write_text(text)
        print(text, flush=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.studies", description=__doc__)
    parser.add_argument("names", nargs="*", choices=[*STUDIES, []], metavar="STUDY", help=", ".join(STUDIES))
    parser.add_argument("--seeds", type=int, default=3, metavar="N", help="0 to N-1; 3")
    parser.add_argument("--processes", type=int, default=2, metavar="N", help="runs at once, one core each; 2")
    parser.add_argument("--folder", type=Path, default=Path("runs/studies"), help="where runs lie; runs/studies")
    return parser.parse_args()


if __name__ == "__main__":
    main()
