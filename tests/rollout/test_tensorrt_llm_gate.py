"""The gate before training, with the TensorRT-LLM engine on the double: one stale tensor, and one wrong temperature."""

from dataclasses import replace

import pytest
from safetensors.torch import load_file

from nemo_prorl.errors import RolloutError
from tests.rollout.test_gate import STAGE, gate
from tests.tiny_models import tiny_hf_folder


@pytest.fixture
def policy(library, tmp_path):
    """A model as decided as a trained one, and the weights that another such model has."""
    folders = [tiny_hf_folder(tmp_path / str(seed), tied=False, seed=seed, scale=0.3) for seed in range(2)]
    return folders[0], *(load_file(folder / "model.safetensors") for folder in folders)


def test_the_engine_with_all_weights_passes(policy, start):
    folder, weights, _ = policy
    engine = start(folder, load=False)
    engine.load_weights(weights.items())
    assert gate(folder, None, engine=engine).check(STAGE, 0).multiplicative_error < 1.0001


@pytest.mark.parametrize("stale", ["model.layers.1.self_attn.q_proj.weight", "model.norm.weight", "lm_head.weight"])
def test_one_stale_tensor_is_caught(policy, start, stale):
    """The engine's loader skips it without a word, as it does with a name that it doesn't know."""
    folder, weights, other = policy
    engine = start(folder, load=False)
    engine.load_weights(other.items())
    loader = engine._llm._executor.engine.model_engine.model_loader
    reload = loader.reload

    def skipping(model, bucket, allow_partial_loading=False):
        reload(model, {name: w for name, w in bucket.items() if name != stale}, allow_partial_loading)

    loader.reload = skipping
    engine.load_weights(weights.items())
    with pytest.raises(RolloutError, match="does not sample the policy that is trained"):
        gate(folder, None, engine=engine).check(STAGE, 0)


def test_raw_logprobs_would_be_caught(policy, start, monkeypatch):
    """TorchSampler's own, at the recipe's temperature of 1.2: why the engine gives none rather than these."""
    from nemo_prorl.rollout.tensorrt_llm import engine as module

    folder, weights, _ = policy
    monkeypatch.setattr(module, "logprobs_mode", lambda *arguments: "plain")
    engine = start(folder, load=False, sampler="TorchSampler")
    engine.load_weights(weights.items())
    with pytest.raises(RolloutError, match="another temperature"):
        gate(folder, None, engine=engine).check(replace(STAGE, sampling=replace(STAGE.sampling, temperature=1.2)), 0)
