import subprocess
import sys
from dataclasses import replace

import pytest

from nemo_prorl.weights.architecture import Architecture
from nemo_prorl.weights.estimate import estimate_memory, rank_parameter_count, training_cost
from nemo_prorl.weights.families import weight_map
from nemo_prorl.weights.hf_folder import TensorReader

TINY = {
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": 4,
    "intermediate_size": 6,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "vocab_size": 10,
    "max_position_embeddings": 64,
}


def test_a_tiny_model_by_hand():
    """Untied, vocabulary padded to 12: embeddings 2 x 12 x 4 = 96, final norm 4, a layer: q 16, k 8, v 8, o 16, MLP
    3 x 24 = 72, norms 8, together 128; 356 parameters. bf16: 2 bytes a weight, 4 a gradient, 12 for the optimizer.
    A token keeps 5 x 4 + 3 x 4 + 3 x 2 + 4 x 6 = 62 numbers in a layer; of 3 tokens at a time there are 12 logits and
    as many gradients, in fp32."""
    architecture = Architecture.from_hf_config(TINY, "here")
    settings = {"tokens_per_microbatch": 10, "precision": "bf16", "vocabulary_multiple": 4, "logit_rows": 3}
    estimate = estimate_memory(architecture, **settings)
    assert (estimate.parameters, estimate.reference) == (2 * 356, 2 * 356)
    assert (estimate.gradients, estimate.optimizer) == (4 * 356, 12 * 356)
    assert estimate.activations == 10 * 2 * 62 * 2
    assert estimate.logits == 3 * 12 * 2 * 4
    assert estimate.total == (2 + 2 + 4 + 12) * 356 + 2480 + 288
    # Recomputed, each of the two layers keeps 4 numbers a token, and one of them all 62 while it is computed again.
    assert estimate_memory(architecture, **settings, recompute="full").activations == 10 * (2 * 4 + 62) * 2


def test_a_plan_is_made_without_loading_torch():
    """`prorl train --dry-run` answers at once; torch alone takes seconds to load."""
    program = "import sys, nemo_prorl.weights.estimate; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_the_distributed_optimizer_is_shared_out_and_the_reference_may_be_absent():
    """fp32: two moments, 8 bytes for each of 356 parameters = 2848; over 4 ranks 712."""
    architecture = Architecture.from_hf_config(TINY, "here")
    settings = {"tokens_per_microbatch": 1, "vocabulary_multiple": 4, "data_parallel_size": 4, "reference": False}
    assert estimate_memory(architecture, **settings).optimizer == 2848
    assert estimate_memory(architecture, **settings, distributed_optimizer=True).optimizer == 712
    assert estimate_memory(architecture, **settings).reference == 0


@pytest.mark.parametrize("tp_size", [1, 2, 4])
def test_a_ranks_parameters_are_those_of_its_shards(model_folder, tp_size):
    architecture = Architecture.read(model_folder)
    held = 0
    with TensorReader(model_folder) as reader:
        for operation in weight_map(architecture).values():
            if operation.exported:
                tensors = [reader.get(name) for name in operation.hf_names]
                held += operation.to_megatron(tensors, 0, tp_size, 384).numel()
    counted = rank_parameter_count(
        architecture, tensor_parallel_size=tp_size, pipeline_parallel_size=1, padded_vocab=384
    )
    assert counted == held


def test_a_pipeline_stage_holds_its_layers_and_one_end():
    """Two stages: 128 for a layer, embeddings 48, and the final norm's 4 on the last."""
    architecture = Architecture.from_hf_config(TINY, "here")
    counted = rank_parameter_count(architecture, tensor_parallel_size=1, pipeline_parallel_size=2, padded_vocab=12)
    assert counted == 128 + 48 + 4


def test_the_cost_of_a_token_and_of_a_pair_by_hand():
    """Two layers of 128 weights and an output layer of 10 x 4; queries of 2 heads x 2 in each layer."""
    cost = training_cost(Architecture.from_hf_config(TINY, "here"))
    assert (cost.a_token, cost.a_pair) == (2 * (2 * 128 + 40), 2 * 2 * 4)


def test_an_operation_of_attention_counts_as_much_as_was_measured():
    architecture = Architecture.from_hf_config(TINY, "here")
    assert training_cost(architecture, 2.5) == replace(training_cost(architecture), a_pair=2.5 * 2 * 2 * 4)
