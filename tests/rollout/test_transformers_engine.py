"""What the transformers engine does beyond what every engine with a model does (test_model_engines.py)."""

import pytest
import torch

from nemo_prorl.data.sampling import SamplingParams
from nemo_prorl.errors import WeightsError
from nemo_prorl.rollout.transformers_engine import TransformersEngine
from tests.rollout.stand_ins import by_place, prompt
from tests.tiny_models import tiny_hf_folder

SAMPLING = SamplingParams(3, max_response_tokens=24, context_tokens=64, temperature=1.2, seed=5)
PROMPTS = [prompt("a", length=4), prompt("b", length=9), prompt("c", length=4), prompt("d", length=15)]


def test_a_prompt_is_computed_once_for_all_its_samples(engine):
    read = []
    engine._model.register_forward_pre_hook(
        lambda _, args, kwargs: read.append(kwargs["input_ids"].shape), with_kwargs=True
    )
    by_place(engine, PROMPTS, SAMPLING)
    assert read[0] == (4, 15)
    assert max(rows for rows, columns in read[1:]) == 12


def test_building_the_model_leaves_torch_random_numbers_alone(folder, tokenizer):
    before = torch.random.get_rng_state()
    TransformersEngine(folder, tokenizer, "cpu")
    assert torch.equal(torch.random.get_rng_state(), before)


def test_a_folder_without_a_config_is_refused(tmp_path, tokenizer):
    with pytest.raises(WeightsError, match=r"model\.path must be a folder with the config\.json"):
        TransformersEngine(tmp_path, tokenizer, "cpu")


def test_sliding_windows_are_refused(tmp_path, tokenizer):
    folder = tiny_hf_folder(tmp_path, "qwen2", use_sliding_window=True, sliding_window=16, max_window_layers=0)
    with pytest.raises(WeightsError, match="sliding-window"):
        TransformersEngine(folder, tokenizer, "cpu")
