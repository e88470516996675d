import pytest
import torch
from safetensors.torch import load_file

from nemo_prorl.data.tokenizer import Tokenizer
from nemo_prorl.rollout.transformers_engine import TransformersEngine
from tests.tiny_models import tiny_hf_folder


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """A random Qwen2 model."""
    return tiny_hf_folder(tmp_path_factory.mktemp("models") / "qwen2", "qwen2", tied=True)


@pytest.fixture(scope="session")
def tokenizer(folder) -> Tokenizer:
    return Tokenizer.load(folder)


@pytest.fixture(scope="session")
def weights(folder) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


@pytest.fixture
def engine(folder, tokenizer, weights) -> TransformersEngine:
    loaded = TransformersEngine(folder, tokenizer, "cpu")
    loaded.load_weights(weights.items())
    return loaded
