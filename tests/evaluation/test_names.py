from pathlib import Path

import pytest

from nemo_prorl.build.evaluating import name_of


@pytest.mark.parametrize(
    ("path", "step", "name"),
    [
        ("models/Qwen", None, "Qwen"),
        ("runs/first/checkpoints", 50, "first, step 50"),
        ("runs/first/checkpoints/iter_0000200", 200, "first, step 200"),
        ("runs/first/export", None, "first"),
    ],
)
def test_a_model_without_a_name_is_called_as_its_folder_or_its_run(path, step, name):
    assert name_of(Path(path), step) == name
