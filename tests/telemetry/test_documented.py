"""docs/metrics.md lists every metric that the code names, and every alarm with the limits that it has."""

from __future__ import annotations

import ast
import re

import pytest

from nemo_prorl.config.alarms import AlarmsConfig
from nemo_prorl.telemetry.watch import KINDS
from tests.house.source import PACKAGE, ROOT, place, python_files, tree
from tests.telemetry.documented import described, described_names

PLACES = (
    *("alarm", "data", "kl", "optimizer", "policy", "reset", "reset_effect", "reward", "rollout", "sft", "shaping"),
    *("stage", "time", "validation", "verifier"),
)
NO_METRICS = tuple(
    f"nemo_prorl/{folder}/" for folder in ("commands", "config", "data", "megatron/interop", "verifiers/sandbox")
)
METRIC = re.compile(rf"({'|'.join(PLACES)})/[\w/*]*[a-z\d*]")


def named_metrics() -> dict[str, str]:
    """String literals that look like a metric, and phases that are timed, with where each stands.

    A * is what the code fills in.
    """
    found = {}
    for file in python_files(PACKAGE):
        if place(file).startswith(NO_METRICS) and not place(file).startswith("nemo_prorl/data/mixture"):
            continue
        for node in ast.walk(tree(file)):
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("timer"):
                found[f"time/{ast.literal_eval(node.args[0])}_seconds"] = f"{place(file)}:{node.lineno}"
            parts = node.values if isinstance(node, ast.JoinedStr) else [node]
            text = "".join(
                str(part.value) if isinstance(part, ast.Constant) else "*"
                for part in parts
                if isinstance(part, ast.Constant | ast.FormattedValue)
            )
            if METRIC.fullmatch(text):
                found[text] = f"{place(file)}:{node.lineno}"
    return found


def is_described(name: str) -> bool:
    """By a name of the page; or, where the code fills something in, by a name that it could become."""
    could_become, filled_in = re.compile(name.replace("*", ".+")), name.replace("*", "x")
    return any(p.fullmatch(filled_in) for p in described()) or any(could_become.fullmatch(n) for n in described_names())


def test_every_metric_that_the_code_names_is_described():
    named = named_metrics()
    assert len(named) > 60, "the search finds too little to prove anything"
    missing = {name: where for name, where in named.items() if not is_described(name)}
    assert not missing, f"describe them in docs/metrics.md: {missing}"


@pytest.mark.parametrize("alarm", KINDS)
def test_every_alarm_is_described_with_its_limits(alarm):
    lines = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8").splitlines()
    (row,) = [line for line in lines if line.startswith(f"| {alarm} |")]
    limits = getattr(AlarmsConfig(), alarm).model_dump()
    said = set(re.findall(r"\d+(?:\.\d+)?", row))
    assert KINDS[alarm].metric in row
    wanted = {f"{value:g}" for name, value in limits.items() if value and not (name == "steps" and value == 1)}
    assert wanted <= said, f"{alarm}: {wanted - said}"


def test_every_row_says_unit_meaning_what_is_healthy_and_what_to_do():
    lines = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8").splitlines()
    rows = [re.split(r"(?<!\\)\|", line)[1:-1] for line in lines if line.startswith("| `")]
    assert len(rows) > 60
    assert not [row[0].strip() for row in rows if len(row) != 5 or not all(cell.strip() for cell in row)]
