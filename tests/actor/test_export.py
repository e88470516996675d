"""Writing a model whose ranks hold parts of it: what stops the writer stops all."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from nemo_prorl.actor.export import Export
from nemo_prorl.config.schema import ExportConfig
from nemo_prorl.errors import WeightsError
from nemo_prorl.weights.hf_folder import stream
from tests.megatron.scenarios import engine
from tests.processes import run_ranks
from tests.tiny_models import tiny_hf_folder


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
