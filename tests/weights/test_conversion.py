"""The conversion itself, on the one pair of formats that needs no Megatron: a Hugging Face folder written anew."""

import pytest
import torch

from nemo_prorl.errors import WeightsError
from nemo_prorl.weights.architecture import Architecture
from nemo_prorl.weights.conversion import checksum, convert, verify
from nemo_prorl.weights.hf_folder import TensorReader, stream
from nemo_prorl.weights.hf_writer import SafetensorsSink, write_config
from nemo_prorl.weights.work_folder import work_folder


class Counting:
    """A reader that knows what it was asked for, and fails when it has given enough."""

    def __init__(self, reader, most=1_000):
        self.reader, self.most, self.asked = reader, most, []

    def read(self, name, operation, empty):
        if len(self.asked) == self.most:
            raise InterruptedError("the machine went down")
        self.asked.append(name)
        return self.reader.read(name, operation, empty)


def plain(names):
    return names


def copied(folder, to, dtype="fp32", most=1_000, spoil=lambda path: None):
    """The folder written anew; what was read of it."""
    architecture = Architecture.read(folder)
    with TensorReader(folder) as reader, work_folder(to, job={"from": str(folder)}, needs_bytes=0) as work:
        counting = Counting(reader, most)
        sink = SafetensorsSink(work.path, architecture, dtype, max_shard_bytes=20_000)
        checksums = convert(counting, sink, architecture, dtype, work, plain)
        write_config(work.path, {"model_type": architecture.family, "dtype": "float32"}, dtype)
        spoil(work.path)
        with TensorReader(work.path) as written:
            verify(written, architecture, checksums, work, plain)
    return counting.asked


def test_every_tensor_arrives_bit_for_bit(model_folder, tmp_path):
    asked = copied(model_folder, tmp_path / "copy")
    assert len(asked) == len(set(asked))
    with TensorReader(tmp_path / "copy") as reader:
        for name, tensor in stream(model_folder):
            assert torch.equal(reader.get(name), tensor)


def test_what_is_done_is_not_read_again_after_the_process_was_killed(qwen2_folder, tmp_path):
    with pytest.raises(WeightsError, match="start the same conversion again"):
        copied(qwen2_folder, tmp_path / "copy", most=7)
    rest = copied(qwen2_folder, tmp_path / "copy")
    whole = copied(qwen2_folder, tmp_path / "other")
    assert len(whole) - len(rest) in (6, 7)  # one of the two threads may have been on its way
    assert set(rest) <= set(whole)
    with TensorReader(tmp_path / "copy") as reader:
        assert all(torch.equal(reader.get(name), tensor) for name, tensor in stream(qwen2_folder))


def test_a_tensor_that_the_disk_has_changed_is_found_and_nothing_is_left(qwen2_folder, tmp_path):
    def flip_a_bit(folder):
        path = sorted(folder.glob("*.safetensors"))[-1]
        content = bytearray(path.read_bytes())
        content[-1] ^= 1
        path.write_bytes(content)

    with pytest.raises(WeightsError, match="1 tensors are not what was written"):
        copied(qwen2_folder, tmp_path / "copy", spoil=flip_a_bit)
    assert not list(tmp_path.iterdir())


def test_another_dtype_is_what_is_looked_for(qwen2_folder, tmp_path):
    copied(qwen2_folder, tmp_path / "half", dtype="bf16")
    with TensorReader(tmp_path / "half") as reader:
        assert all(torch.equal(reader.get(name), tensor.bfloat16()) for name, tensor in stream(qwen2_folder))


def test_a_checksum_is_that_of_the_bytes_in_order():
    """CRC-32 of b"12345678" is 0x9AE0DAAF; a transposed tensor's bytes are those of the copy that it looks like."""
    assert checksum(torch.frombuffer(bytearray(b"12345678"), dtype=torch.float32)) == 0x9AE0DAAF
    tensor = torch.arange(6.0).reshape(2, 3)
    assert checksum(tensor.t()) == checksum(tensor.t().clone(memory_format=torch.contiguous_format)) != checksum(tensor)
