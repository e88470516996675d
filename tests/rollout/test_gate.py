"""The gate: an engine that samples another policy than the trainer's is found out, whichever tensor is to blame."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from nemo_prorl.config.gate import GateConfig
from nemo_prorl.data.batch import RolloutBatch
from nemo_prorl.data.sampling import SamplingParams
from nemo_prorl.data.tokenizer import Tokenizer
from nemo_prorl.errors import RolloutError
from nemo_prorl.rollout.gate import MismatchGate
from nemo_prorl.rollout.transformers_engine import TransformersEngine
from nemo_prorl.world import LocalWorld
from tests.rollout.stand_ins import NumberedPrompts, on_ranks, scored, scripted, stage
from tests.tiny_models import tiny_hf_folder

STAGE = replace(stage(), sampling=SamplingParams(4, max_response_tokens=32, context_tokens=64, temperature=1.2))
TENSORS = (
    *("model.embed_tokens.weight", "model.norm.weight", "lm_head.weight"),
    *("model.layers.1.self_attn.q_proj.weight", "model.layers.0.self_attn.o_proj.weight"),
    *("model.layers.0.self_attn.v_proj.bias", "model.layers.1.mlp.down_proj.weight"),
    *("model.layers.1.input_layernorm.weight", "model.layers.0.self_attn.k_proj.weight"),
)


@pytest.fixture(scope="module")
def policy(tmp_path_factory):
    """A model as decided as a trained one, and the weights that another such model has."""
    folders = [tiny_hf_folder(tmp_path_factory.mktemp("model"), tied=False, seed=seed, scale=0.3) for seed in range(2)]
    return folders[0], *(load_file(folder / "model.safetensors") for folder in folders)


class Trainer:
    """Scores a batch with plain transformers, a row at a time."""

    def __init__(self, folder):
        self.model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)

    def __call__(self, batch: RolloutBatch) -> torch.Tensor:
        logprobs_BT = torch.zeros(len(batch), batch.tokens_BS.shape[1] - 1)
        for row in range(len(batch)):
            start, end = int(batch.prompt_lengths_B[row]), int(batch.lengths_B[row])
            ids = batch.tokens_BS[row].tolist()
            logprobs_BT[row, start - 1 : end - 1] = scored(self.model, ids[:start], ids[start:end], batch.temperature)
        return logprobs_BT


def engine_of(folder, weights) -> TransformersEngine:
    engine = TransformersEngine(folder, Tokenizer.load(folder))
    engine.load_weights(weights.items())
    return engine


def gate(folder, weights, *, world=None, prompts=None, engine=None, trainer=None, **settings) -> MismatchGate:
    engine = engine or engine_of(folder, weights)
    return MismatchGate(
        engine=engine,
        engine_name="transformers",
        refitted=lambda work: work(),
        score=trainer or Trainer(folder),
        prompts=prompts or NumberedPrompts(),
        world=world or LocalWorld(),
        config=GateConfig(**settings),
        run_seed=0,
    )


def test_the_trainers_own_policy_passes_with_figures_of_rounding(policy):
    folder, weights, _ = policy
    mismatch = gate(folder, weights).check(STAGE, 0)
    assert mismatch.tokens > 100
    assert mismatch.multiplicative_error < 1.0001


@pytest.mark.parametrize("name", TENSORS)
def test_one_stale_tensor_is_caught(policy, name):
    """All the others are the policy's."""
    folder, weights, other = policy
    with pytest.raises(RolloutError, match=r"'transformers' \(rank 0\) does not sample the policy that is trained"):
        gate(folder, {**weights, name: other[name]}).check(STAGE, 0)


def test_two_layers_in_each_others_place_are_caught(policy):
    folder, weights, _ = policy
    first, second = (f"model.layers.{layer}.mlp.up_proj.weight" for layer in range(2))
    with pytest.raises(RolloutError, match="in another's place"):
        gate(folder, {**weights, first: weights[second], second: weights[first]}).check(STAGE, 0)


def test_logprobs_of_another_temperature_are_caught(policy):
    folder, weights, _ = policy

    class Raw(TransformersEngine):
        """Samples at the temperature and reports raw logprobs, as TensorRT-LLM does unless it is told otherwise."""

        def generate(self, prompts, sampling):
            for sampled in super().generate(prompts, sampling):
                prompt_ids, completion = prompts[sampled.prompt].token_ids, sampled.completion
                raw = scored(self._model, prompt_ids, completion.token_ids, 1.0).numpy().astype(np.float32)
                yield sampled._replace(completion=replace(completion, logprobs=raw))

    engine = Raw(folder, Tokenizer.load(folder))
    engine.load_weights(weights.items())
    with pytest.raises(RolloutError, match="another temperature"):
        gate(folder, weights, engine=engine).check(STAGE, 0)


def test_the_message_has_figures_causes_and_what_to_do(policy):
    folder, _, other = policy
    with pytest.raises(RolloutError) as refused:
        gate(folder, other, limit=1.03).check(STAGE, 7)
    said = str(refused.value)
    for part in ("before step 8", "token mult. prob. error", "gate.limit=1.03", "prorl doctor rollout", "FP8"):
        assert part in said


def test_the_sick_rank_is_named_on_every_rank(policy):
    """Of four ranks, whose answers two data ranks score, the second has a stale tensor."""
    folder, weights, other = policy
    stale, trainer = {**weights, "lm_head.weight": other["lm_head.weight"]}, Trainer(folder)
    engines = [engine_of(folder, stale if rank == 1 else weights) for rank in range(4)]  # not in threads

    def check(world):
        return gate(folder, {}, world=world, engine=engines[world.rank], trainer=trainer).check(STAGE, 0)

    for error in on_ranks(4, check, data_size=2):
        assert isinstance(error, RolloutError)
        assert "(rank 1) does not sample" in str(error)


def test_it_draws_what_comes_next_and_puts_it_back(policy):
    folder, weights, _ = policy
    prompts = NumberedPrompts()
    prompts.position = 5
    gate(folder, weights, prompts=prompts).check(STAGE, 0)
    assert prompts.position == 5


def test_its_turn_comes_every_so_many_steps_and_its_figures_are_metrics(policy):
    folder, weights, _ = policy
    looking = gate(folder, weights, every_steps=3)
    turns = [step for step in range(8) if looking.look(STAGE, step)]
    assert turns == [3, 6]
    assert looking.look(STAGE, 3) == looking.look(STAGE, 3)
    assert looking.look(STAGE, 3)["rollout/gate_multiplicative_error"] < 1.0001
    assert not gate(folder, weights, every_steps=None).look(STAGE, 3)


def test_it_can_be_switched_off(policy):
    folder, _, other = policy
    closed = gate(folder, other, enabled=False, every_steps=1)
    closed.at_start(STAGE, 0)
    assert closed.look(STAGE, 1) == {}


def test_an_engine_without_logprobs_has_nothing_to_compare_and_the_log_warns(policy, caplog):
    folder, _, _ = policy
    assert gate(folder, {}, engine=scripted(lambda *_: "1")).check(STAGE, 0) is None
    (record,) = (record for record in caplog.records if "knows no logprobs" in record.message)
    assert record.levelname == "WARNING"


class Plain(TransformersEngine):
    """Knows logprobs at temperature 1 alone."""

    def generate(self, prompts, sampling):
        for sampled in super().generate(prompts, sampling):
            known = sampled.completion.logprobs if sampling.temperature == 1 else None
            yield sampled._replace(completion=replace(sampled.completion, logprobs=known))


def test_an_engine_that_knows_logprobs_at_temperature_1_alone_is_asked_there(policy):
    folder, weights, other = policy
    engine = Plain(folder, Tokenizer.load(folder))
    engine.load_weights(weights.items())
    assert gate(folder, None, engine=engine).check(STAGE, 0).multiplicative_error < 1.0001
    engine.load_weights({**weights, "lm_head.weight": other["lm_head.weight"]}.items())
    with pytest.raises(RolloutError, match="does not sample the policy"):
        gate(folder, None, engine=engine).check(STAGE, 0)


def test_a_completion_that_an_engine_leaves_out_is_told_as_its_bug(policy):
    class Forgetful:
        def generate(self, prompts, sampling):
            return (one for one in scripted(lambda *_: "1").generate(prompts, sampling) if one.sample != 1)

    with pytest.raises(RolloutError, match=r"gave samples \[0\] of prompt '0', expected each of 0 to 1.*Forgetful"):
        gate(policy[0], {}, engine=Forgetful()).check(STAGE, 0)


def test_an_engine_that_fails_on_one_rank_stops_all(policy):
    folder, trainer = policy[0], Trainer(policy[0])

    def check(world):
        def answer(prompt, sample):
            if world.rank == 1:
                raise ZeroDivisionError("boom")
            return "1"

        return gate(folder, {}, world=world, engine=scripted(answer), trainer=trainer).check(STAGE, 0)

    first, second = on_ranks(2, check)
    assert isinstance(second, ZeroDivisionError)
    assert "rank 1 failed while asking the rollout engine" in str(first)
