"""A manifest tells a whole folder from a torn one, and a torn manifest is none."""

import zlib

import pytest

from nemo_prorl.megatron import manifest


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "common.pt").write_bytes(b"weights")
    manifest.write(tmp_path, {"common.pt": manifest.fingerprint(tmp_path / "common.pt")})
    return tmp_path


def test_what_was_written_is_read_and_fits(folder):
    """The checksum of b"weights" by another's CRC-32."""
    listed = manifest.read(folder)
    assert listed == {"common.pt": {"bytes": 7, "crc32": zlib.crc32(b"weights")}}
    assert manifest.files_of(folder) == ["common.pt"]
    assert manifest.difference(folder / "common.pt", listed["common.pt"]) is None


@pytest.mark.parametrize(
    "content",
    ["", "[]", '{"common.pt": 7}', '{"common.pt": {"fytes": 7, "crc32": 1}}', '{"common.pt": {"bytes": 7}}', "\x80"],
)
def test_a_manifest_that_lists_no_files_is_none(folder, content):
    """One flipped bit of a key, say: the checkpoint is broken, and the one before it has to do."""
    (folder / manifest.MANIFEST).write_text(content, encoding="latin-1")
    assert manifest.read(folder) is None


def test_what_is_wrong_with_a_file_is_told(folder):
    wanted, file = manifest.read(folder)["common.pt"], folder / "common.pt"
    file.write_bytes(b"weighty")
    assert manifest.difference(file, wanted) == "has other contents than were written (checksum)"
    file.write_bytes(b"weight")
    assert manifest.difference(file, wanted) == "has 6 bytes instead of 7"
    file.unlink()
    assert manifest.difference(file, wanted) == "is missing"
