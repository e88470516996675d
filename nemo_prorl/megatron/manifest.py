"""The list of a checkpoint's files, by which a whole one is told from a torn one.

manifest.json       {"common.pt": {"bytes": 1024, "crc32": 305419896}, ...}, written when all else is on the disk
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from isal import isal_zlib

MANIFEST = "manifest.json"
_BLOCK_BYTES = 1 << 24


def files_of(folder: Path) -> list[str]:
    """Names of all files that a manifest of `folder` must list."""
    return sorted(path.name for path in folder.iterdir() if path.is_file() and path.name != MANIFEST)


def fingerprint(path: Path) -> dict[str, int]:
    """Size and checksum of a file."""
    checksum = size = 0
    with path.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            checksum, size = isal_zlib.crc32(block, checksum), size + len(block)
    return {"bytes": size, "crc32": checksum}


def difference(path: Path, wanted: Mapping[str, int]) -> str | None:
    """What is wrong with a file that should have the fingerprint `wanted`, or None."""
    try:
        found = path.stat().st_size
        if found != wanted["bytes"]:
            return f"has {found} bytes instead of {wanted['bytes']}"
        return None if fingerprint(path) == wanted else "has other contents than were written (checksum)"
    except OSError as error:
        return "is missing" if isinstance(error, FileNotFoundError) else f"can't be read ({error})"


def read(folder: Path) -> dict[str, Any] | None:
    """The manifest of `folder`; None when there is none that can be read, or it lists something else than files."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if not isinstance(manifest, dict):
        return None
    lists_files = all(isinstance(file, dict) and file.keys() == {"bytes", "crc32"} for file in manifest.values())
    return manifest if lists_files else None


def write(folder: Path, manifest: Mapping[str, Any]) -> None:
    """Get all files of `folder` onto the disk, then the manifest."""
    for name in manifest:
        sync(folder / name)
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=1), encoding="utf-8")
    sync(folder / MANIFEST)
    sync(folder)


def sync(path: Path) -> None:
    """Return when a file or folder is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
