import pytest

from tests.tiny_models import tiny_hf_folder

KINDS = [("qwen2", True), ("qwen2", False), ("qwen3", True), ("llama", False)]


@pytest.fixture(scope="session", params=KINDS, ids=lambda kind: f"{kind[0]}-{'tied' if kind[1] else 'untied'}")
def model_folder(request, tmp_path_factory):
    """A tiny model of every kind, with 4 query groups so that 4 tensor-parallel ranks can share it."""
    family, tied = request.param
    return tiny_hf_folder(tmp_path_factory.mktemp("model") / family, family, tied, heads=8, kv_heads=4)


@pytest.fixture(scope="session")
def qwen2_folder(tmp_path_factory):
    return tiny_hf_folder(tmp_path_factory.mktemp("model") / "qwen2", "qwen2", tied=False)
