"""Parameters gathered a bucket at a time: the same whatever the bucket, in their order, and cut as told."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from nemo_prorl.megatron.buckets import Gathering, Held, _cut
from nemo_prorl.megatron.model import named_parameters
from tests.megatron import scenarios
from tests.processes import run_ranks
from tests.tiny_models import tiny_hf_folder


def held(name: str, rows: int, stage: int = 0) -> Held:
    """A matrix of `rows` rows of 4 float32: 16 bytes a row."""
    return Held(name, stage, (rows, 4), torch.float32)


def test_a_bucket_is_full_or_ends_with_its_stage_or_is_one_large_parameter():
    """At most 64 bytes: a 32 and b 32; c 16, then d 160, larger than any bucket; e 16; f is of the next stage."""
    parameters = [held("a", 2), held("b", 2), held("c", 1), held("d", 10), held("e", 1), held("f", 1, stage=1)]
    assert [[one.name for one in bucket] for bucket in _cut(parameters, 64)] == [["a", "b"], ["c"], ["d"], ["e"], ["f"]]


def test_every_shard_begins_where_any_dtype_may():
    """3 bf16 numbers are 6 bytes, and 16 with what is left free."""
    assert Held("norm", 0, (3,), torch.bfloat16).bytes == 16
    assert Held("scalar", 0, (), torch.float32).bytes == 16


def gathered(folder: Path, settings: Mapping[str, Any]) -> list[list[tuple[str, list[torch.Tensor]]]]:
    """In a rank: all parameters by buckets of several sizes."""
    with scenarios.engine(folder, settings) as run:
        gathering = Gathering(dict(named_parameters(run.model)))
        names = sorted(gathering.held)
        return [list(gathering.shards(names, size)) for size in (1, 4096, 1 << 30)]


@pytest.mark.processes
@pytest.mark.parametrize("layout", ["tensor_parallel_size", "pipeline_parallel_size"])
def test_the_size_of_a_bucket_changes_nothing_and_ranks_get_the_same(layout: str, tmp_path: Path) -> None:
    """Also to those who keep everything to the end: no bucket's memory is used again."""
    ranks = run_ranks(gathered, 2, tiny_hf_folder(tmp_path / "model"), {layout: 2})
    (reference, *_), _ = ranks
    assert len(reference) > 10 and len(reference[0][1]) == (2 if layout == "tensor_parallel_size" else 1)
    for told in (stream for rank in ranks for stream in rank):
        for (name, shards), (expected_name, expected) in zip(told, reference, strict=True):
            assert name == expected_name
            assert all(torch.equal(one, other) for one, other in zip(shards, expected, strict=True))
