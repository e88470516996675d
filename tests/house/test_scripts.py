"""The shell scripts: free of what shellcheck knows to be wrong, and clear about what they lack."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.house.source import ROOT

BUILD = ROOT / "scripts" / "build_gpu_host.sh"
FILES = (
    "megatron_core-0.16.1.tar.gz",
    "transformer_engine-2.9.0-py3-none-any.whl",
    "transformer_engine_cu13-2.9.0-py3-none-manylinux_2_28_x86_64.whl",
    "transformer_engine_torch-2.9.0-cp311-cp311-linux_x86_64.whl",
)


def run(*arguments: object, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(BUILD), *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=folder,
        env={**os.environ, "PYTHON": sys.executable, **environment},
        timeout=120,
        check=False,
    )


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """Everything that the script asks for, by name."""
    folder = tmp_path / "files"
    folder.mkdir()
    for name in FILES:
        (folder / name).touch()
    return folder


@pytest.fixture
def torch_for_cuda(tmp_path: Path) -> str:
    """A PYTHONPATH with the two facts of a torch for CUDA 13 that the script asks of it."""
    package = tmp_path / "stands_in" / "torch"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("__version__ = '2.13.0+cu130'\nclass version:\n    cuda = '13.0'\n")
    return str(package.parent)


@pytest.mark.parametrize("script", sorted((ROOT / "scripts").glob("*.sh")), ids=lambda script: script.name)
def test_a_script_is_clean(script: Path) -> None:
    found = shutil.which("shellcheck", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if found is None:
        pytest.skip("shellcheck isn't installed")
    done = subprocess.run([found, str(script)], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout


def test_a_folder_that_lacks_files_is_told_all_of_them(tmp_path: Path, files: Path) -> None:
    (files / FILES[0]).unlink()
    (files / FILES[3]).unlink()
    done = run(files, folder=tmp_path)
    assert done.returncode == 2
    assert f"{files} lacks megatron_core-0.16.* transformer_engine_torch-2.*" in done.stderr


def test_a_torch_without_cuda_is_not_built_against(tmp_path: Path, files: Path) -> None:
    package = tmp_path / "without" / "torch"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("class version:\n    cuda = None\n")
    done = run("--dry-run", files, folder=tmp_path, PYTHONPATH=str(package.parent))
    assert done.returncode == 2
    assert "has no torch that was built for CUDA" in done.stderr


def test_a_dry_run_says_what_it_would_do_and_does_nothing(tmp_path: Path, files: Path, torch_for_cuda: str) -> None:
    done = run("--dry-run", files, tmp_path / "made", folder=tmp_path, PYTHONPATH=torch_for_cuda)
    assert done.returncode == 0, done.stderr
    steps = [line for line in done.stderr.splitlines() if line.startswith("+ ")]
    assert "--system-site-packages" in steps[0]
    installed = [line for line in steps if " install " in line]
    assert all(f"--no-index --find-links {files}" in line for line in installed)
    assert "--no-deps" in installed[2] and "transformer-engine-cu13>=2.9,<2.12" in installed[2]
    assert not (tmp_path / "made").exists()
