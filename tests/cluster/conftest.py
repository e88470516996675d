from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.jobs import unbroken_run
from tests.cluster.local_slurm import LocalSlurm, missing
from tests.end_to_end.conftest import model, problems

__all__ = ["model", "problems", "slurm", "unbroken"]


def or_skip() -> None:
    """Without Slurm its tests are skipped, unless somebody has promised that there is one."""
    if why := missing():
        if os.environ.get("PRORL_REQUIRE_SLURM") == "1":
            pytest.fail(f"PRORL_REQUIRE_SLURM=1, but {why}")
        pytest.skip(why)


@pytest.fixture(scope="session")
def slurm() -> Iterator[LocalSlurm]:
    """Two nodes."""
    or_skip()
    with LocalSlurm(nodes=2) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def unbroken(model: Path, problems: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that nothing has befallen."""
    return unbroken_run(model, problems, tmp_path_factory.mktemp("unbroken"), "megatron.tensor_parallel_size=2")
