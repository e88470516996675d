"""docs/extending.md and docs/quickstart.md: what they say how to add is added, and does what they say."""

import re
import sys
from importlib import import_module

import numpy as np
import pytest
import torch
from transformers import MistralConfig, MistralForCausalLM

from nemo_prorl.algorithm.objective import OBJECTIVES
from nemo_prorl.algorithm.shaping import SHAPINGS, Responses
from nemo_prorl.config.load import load_config
from nemo_prorl.data.prompt import Prompt
from nemo_prorl.data.sampling import SamplingParams
from nemo_prorl.data.sources import SOURCES
from nemo_prorl.data.tokenizer import Tokenizer
from nemo_prorl.errors import SettingsError
from nemo_prorl.plugins import configured
from nemo_prorl.recipe import TrainingState
from nemo_prorl.rollout.engine import ROLLOUT_ENGINES
from nemo_prorl.verifiers.base import VERIFIERS
from nemo_prorl.verifiers.math import MathVerifier
from nemo_prorl.weights import architecture, families
from nemo_prorl.weights.hf_folder import TensorReader
from nemo_prorl.weights.mapping import hf_parts
from tests.docs.pages import blocks_of
from tests.house.source import ROOT
from tests.tiny_models import tiny_hf_folder

PAGE = ROOT / "docs" / "extending.md"


@pytest.fixture(autouse=True)
def files(tmp_path, monkeypatch):
    """The page's files, where one works."""
    for page in (PAGE, ROOT / "docs" / "quickstart.md"):
        for block in blocks_of(page):
            if found := re.match(r"# (\w+\.py)$", block.text.partition("\n")[0]):
                (tmp_path / found[1]).write_text(block.text)
            elif found := re.search(r"^# conf/(\w+)/(\w+\.yaml)$", block.text, re.MULTILINE):
                (tmp_path / "my_conf" / found[1]).mkdir(parents=True, exist_ok=True)
                (tmp_path / "my_conf" / found[1] / found[2]).write_text(block.text)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    for file in tmp_path.glob("*.py"):
        sys.modules.pop(file.stem, None)


def test_a_verifier():
    check = configured({"name": "chess:BestMove"}, VERIFIERS, "verifier")().check
    reference = {"answer": "Qh5"}
    texts = ["<answer>Qh5</answer>", "<answer>Qh4</answer>", "<answer>Nf3</answer>", "Qh5", "", "\x00<answer>" * 99]
    assert [check(reference, text).reward for text in texts] == [1.0, 0.5, 0.0, 0.0, 0.0, 0.0]
    assert check(reference, "Qh5").outcome == "no_answer"
    even = configured({"name": "even:Even"}, VERIFIERS, "verifier")()
    assert [even.check({}, text).reward for text in ("12", "It is 7.", "none")] == [1.0, 0.0, 0.0]


def test_a_rollout_engine(tmp_path):
    tokenizer = Tokenizer.load(tiny_hf_folder(tmp_path / "model"))
    made = configured({"name": "parrot:Parrot", "times": 2}, ROLLOUT_ENGINES, "rollout")
    engine = made(model_path=tmp_path / "model", tokenizer=tokenizer, device="cpu")
    engine.load_weights(iter([("a", torch.zeros(1))]))
    asked = [Prompt(str(n), "math", "t", "s", (), tuple(range(20, 20 + n)), "math", {}) for n in (3, 9)]
    sampling = SamplingParams(2, max_response_tokens=10, context_tokens=64)
    sampled = list(engine.generate(asked, sampling))
    assert [(one.prompt, one.sample) for one in sampled] == [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert np.array_equal(sampled[0].completion.token_ids, [20, 21, 22, 20, 21, 22, tokenizer.stop_ids[0]])
    assert [one.completion.finish_reason for one in sampled] == ["stop", "stop", "length", "length"]
    with pytest.raises(SettingsError, match="greater than or equal to 1"):
        configured({"name": "parrot:Parrot", "times": 0}, ROLLOUT_ENGINES, "rollout")


def test_an_objective():
    """Ratios e^0.5 = 1.649 and 3 (cut to 2), advantage 1 and -1, logp -1 and -2: 1.649 x 1 and -(2 x 1 x 2) = -4."""
    objective = configured({"name": "cispo:cispo", "cap": 2.0}, OBJECTIVES, "loss.objective")
    logp = torch.tensor([[-1.0, -2.0]], requires_grad=True)
    old = torch.tensor([[-1.5, -2.0 - np.log(3.0)]], dtype=torch.float32)
    loss = objective(logp, old, torch.tensor([[1.0, -1.0]]))
    torch.testing.assert_close(loss, torch.tensor([[np.exp(0.5), -4.0]], dtype=torch.float32))
    loss.sum().backward()
    torch.testing.assert_close(logp.grad, torch.tensor([[-np.exp(0.5), 2.0]], dtype=torch.float32))


def test_a_shaping():
    shaping = configured({"name": "brevity:brevity", "weight": 0.2}, SHAPINGS, "shaping")
    responses = Responses(torch.tensor([5, 10]), torch.tensor([10, 10]), torch.tensor([False, True]), 0)
    torch.testing.assert_close(shaping(torch.tensor([1.0, 1.0]), responses), torch.tensor([0.9, 0.8]))


def test_a_stage(files):
    overrides = [f"hydra.searchpath=[{files / 'my_conf'}]", "recipe=patience", "model.path=given"]
    stages = load_config("train", overrides).recipe.stages
    assert list(stages) == ["run1", "patient"]
    patient = stages["patient"]
    assert (patient.steps, patient.temperature, patient.prompts_per_step) == (100, 1.0, 128)
    assert patient.reset.at_entry and patient.reset.plateau.patience == 6
    assert patient.end == stages["run1"].end


def test_a_reset_rule():
    rule = import_module("entropy_rule").LongSince(2.0)
    assert rule.reason(TrainingState(5, 5, response_tokens=(100, 150))) is None
    assert rule.reason(TrainingState(5, 5)) is None
    assert rule.reason(TrainingState(5, 5, response_tokens=(100, 250))) == "responses have grown from 100 to 250 tokens"


def test_a_model_family(files, monkeypatch):
    """Its tensors are those of transformers, and go to Megatron's form and back bit for bit."""
    monkeypatch.setitem(families.FAMILIES, "mistral", "mistral:table")
    monkeypatch.setitem(architecture.MODEL_CLASSES, "MistralForCausalLM", "mistral")
    config = MistralConfig(
        vocab_size=64, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, head_dim=8, max_position_embeddings=64, sliding_window=None, dtype="float32",
    )  # fmt: skip
    model = MistralForCausalLM(config)
    model.save_pretrained(files / "model")
    read = architecture.Architecture.read(files / "model")
    expected = {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}
    operations = families.weight_map(read)
    assert dict(hf_parts(operations)) == expected
    with TensorReader(files / "model") as reader:
        for operation in operations.values():
            tensors = [reader.get(name) for name in operation.hf_names]
            back = operation.to_hf([operation.to_megatron(tensors, rank, 2, 128) for rank in range(2)])
            assert all(torch.equal(before, after) for before, after in zip(tensors, back, strict=True))


def test_a_source_of_problems():
    source = configured({"name": "sums:Sums"}, SOURCES, "data.sources.sums")("sums")
    row = source.row(1234)
    assert row.uid == "sums-1234" and row.messages[0]["content"].startswith("What is 12 + 34?")
    assert MathVerifier().check(row.reference, r"\boxed{46}").reward == 1.0
