"""What an attempt ran with: versions, hosts, command line, revision of the source."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import time
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import nemo_prorl

PACKAGES = ("torch", "megatron-core", "transformer-engine", "transformers", "tensorrt-llm", "numpy", "nemo-aligner")
# Environment variables that may be kept. What looks like a secret never is.
_PREFIXES = ("SLURM_", "NCCL_", "CUDA_", "NVTE_", "OMP_", "TORCH_", "PYTORCH_", "MASTER_", "WORLD_SIZE", "PYTHONHASH")
_SECRETS = ("TOKEN", "KEY", "SECRET", "PASSW", "JWT", "CREDENTIAL")


def environment_of_attempt(environment: Mapping[str, str] = os.environ) -> dict[str, Any]:
    """As attempt.json has it."""
    return {
        "started_unix_seconds": time.time(),
        "started": time.strftime("%Y-%m-%d %H:%M:%S %z"),
        "command_line": [Path(sys.argv[0]).name, *sys.argv[1:]],
        "folder": os.getcwd(),
        "host": platform.node(),
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
        "python": platform.python_version(),
        "versions": package_versions(),
        "source_revision": source_revision(Path(nemo_prorl.__file__).parent),
        "environment": {
            name: value
            for name, value in sorted(environment.items())
            if name.startswith(_PREFIXES) and not any(word in name.upper() for word in _SECRETS)
        },
    }


def source_revision(folder: Path) -> str | None:
    """The git commit that `folder` is of, "+ changes" after it where files differ from it; None: it is under no git.

    A package that is installed somewhere below somebody's repository isn't of that repository.
    """
    if _git(folder, "ls-files", "--error-unmatch", "__init__.py") is None:
        return None
    revision = _git(folder, "rev-parse", "HEAD")
    changed = _git(folder, "status", "--porcelain", "--untracked-files=no")
    return f"{revision} + changes" if revision and changed else revision


def package_versions() -> dict[str, str]:
    """Of this package and those that make a difference to what it computes."""
    found = {"nemo_prorl": nemo_prorl.__version__}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
