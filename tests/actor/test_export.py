"""Writing a model whose ranks hold parts of it: what stops the writer stops all."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from nemo_prorl.actor.export import Export
from nemo_prorl.config.kept import ExportConfig
from nemo_prorl.errors import WeightsError
from nemo_prorl.weights.hf_folder import stream
from tests.megatron.scenarios import engine
from tests.processes import run_ranks
from tests.tiny_models import tiny_hf_folder


def exported_as(like: Path, folder: Path) -> None:
    """A policy in fp32 and one in bf16, each written in both dtypes."""
    for precision in ("fp32", "bf16"):
        with engine(like, {"precision": precision}) as mine:
            for dtype in ("fp32", "bf16"):
                Export(ExportConfig(dtype=dtype), like, mine.runtime.world)(
                    mine.model, folder / f"{precision} as {dtype}"
                )


@pytest.mark.processes
def test_an_export_is_in_the_dtype_asked_for_whatever_the_policy_computes_in(tmp_path: Path) -> None:
    """bf16 is fp32 rounded to the nearest; a bf16 policy in fp32 has the same numbers, and no more of them."""
    model = tiny_hf_folder(tmp_path / "model", "qwen2", tied=True)
    run_ranks(exported_as, 1, model, tmp_path)
    source = dict(stream(model))
    found = {name: dict(stream(tmp_path / name)) for name in ("fp32 as fp32", "fp32 as bf16", "bf16 as fp32")}
    found["bf16 as bf16"] = dict(stream(tmp_path / "bf16 as bf16"))
    for name, tensors in found.items():
        dtype = torch.float32 if name.endswith("fp32") else torch.bfloat16
        assert {tensor.dtype for tensor in tensors.values()} == {dtype}
        spelled = json.loads((tmp_path / name / "config.json").read_text())["dtype"]
        assert spelled == str(dtype).removeprefix("torch.")
    for name, tensor in source.items():
        rounded = tensor.to(torch.bfloat16)
        assert torch.equal(found["fp32 as fp32"][name], tensor)
        assert torch.equal(found["fp32 as bf16"][name], rounded)
        assert torch.equal(found["bf16 as bf16"][name], rounded)
        assert torch.equal(found["bf16 as fp32"][name], rounded.float())


def exported(like: Path, folders: list[Path]) -> list[str]:
    """What a rank of two is told when the model is written to each of the folders; "" when it was written."""
    told = []
    with engine(like, {"tensor_parallel_size": 2}) as mine:
        for folder in folders:
            export = Export(ExportConfig(dtype="fp32"), like, mine.runtime.world)
            for attempt in (lambda: export.check(folder), lambda: export(mine.model, folder)):  # noqa: B023
                try:
                    attempt()
                    told.append("")
                except WeightsError as error:
                    told.append(str(error))
    return told


@pytest.mark.processes
def test_a_folder_that_cannot_be_written_is_told_to_every_rank_and_a_good_one_is_written(tmp_path: Path) -> None:
    model = tiny_hf_folder(tmp_path / "model", "qwen2", tied=True)
    foreign, good = tmp_path / "foreign", tmp_path / "good"
    foreign.mkdir()
    (foreign / "thesis.tex").touch()
    for rank, told in enumerate(run_ranks(exported, 2, model, [foreign, good])):
        checked, written, *others = told
        assert others == ["", ""]
        for message, doing in ((checked, "looking at the folder to export to"), (written, "exporting")):
            assert "holds thesis.tex but no config.json" in message
            assert message.startswith(f"rank 0 failed while {doing}") == (rank == 1)
    tensors = dict(stream(good))
    assert all(torch.equal(tensor, tensors[name]) for name, tensor in stream(model))
