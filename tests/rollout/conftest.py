from contextlib import ExitStack

import pytest
import torch
from safetensors.torch import load_file

from nemo_prorl.data.tokenizer import Tokenizer
from nemo_prorl.rollout.engine import closed_at_end
from nemo_prorl.rollout.tensorrt_llm.engine import TensorRTLLMEngine
from nemo_prorl.rollout.transformers_engine import TransformersEngine
from tests.rollout.trtllm_double import doubled
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


@pytest.fixture
def library():
    """The contract double of TensorRT-LLM 1.2.1 as `tensorrt_llm`."""
    with doubled() as module:
        yield module


@pytest.fixture
def start(folder, tokenizer, weights):
    """Makes engines on the version that is doubled, with the folder's weights; they are closed at the end."""
    with ExitStack() as stack:

        def started(path=folder, load=True, **knobs):
            engine = TensorRTLLMEngine(path, tokenizer, **{"dtype": "fp32", "refit_bucket_mib": 1, **knobs})
            stack.enter_context(closed_at_end(engine))
            if load:
                engine.load_weights(weights.items())
            return engine

        yield started
