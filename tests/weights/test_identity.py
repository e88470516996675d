"""Whether two folders hold the same model."""

import shutil

from nemo_prorl.weights.identity import model_identity
from tests.tiny_models import tiny_hf_folder


def test_a_copy_elsewhere_is_the_same_model_and_a_changed_weight_is_not(tmp_path):
    folder = tiny_hf_folder(tmp_path / "model", "qwen2", True)
    shutil.copytree(folder, tmp_path / "elsewhere")
    assert model_identity(folder) == model_identity(tmp_path / "elsewhere")
    path = tmp_path / "elsewhere" / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    assert model_identity(folder) != model_identity(tmp_path / "elsewhere")
