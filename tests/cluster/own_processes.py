"""The processes that a Slurm of the tests' own has started, told from all others by their environment."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path


def environment_of(pid: int) -> dict[str, str]:
    try:
        parts = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return {}
    return dict(part.decode(errors="replace").partition("=")[::2] for part in parts)


def processes_of(root: Path) -> Iterator[int]:
    """Every process that was started with our configuration, but this one."""
    for entry in Path("/proc").iterdir():
        is_other = entry.name.isdecimal() and int(entry.name) != os.getpid()
        if is_other and environment_of(int(entry.name)).get("SLURM_CONF") == str(root / "slurm.conf"):
            yield int(entry.name)


def tasks_of(root: Path, number: str, words: str) -> Iterator[tuple[int, int]]:
    """(rank, process id) of each task of a job whose command line has `words`."""
    for pid in processes_of(root):
        environment = environment_of(pid)
        with suppress(OSError):
            line = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            parent = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
            name = Path(f"/proc/{parent}/comm").read_text()
            is_task = environment.get("SLURM_JOB_ID") == number and "SLURM_PROCID" in environment
            if is_task and name.startswith("slurmstepd") and words in line:
                yield int(environment["SLURM_PROCID"]), pid
