"""What docs/metrics.md says that there is."""

from __future__ import annotations

import re

from tests.house.source import ROOT


def described_names() -> list[str]:
    """Names in the first column of its tables, as they stand there."""
    lines = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8").splitlines()
    cells = [line.split("|")[1] for line in lines if line.startswith("| `")]
    return [name for cell in cells for name in re.findall(r"`([^`]+)`", cell)]


def described() -> list[re.Pattern[str]]:
    """The names as patterns: <...> stands for anything."""
    return [re.compile("[^ ]+".join(map(re.escape, re.split(r"<[^>]+>", name)))) for name in described_names()]
